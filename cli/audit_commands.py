"""``harness audit``: what is known of a model from its answers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import FormatOption
from cli.printing import Format, show

app = typer.Typer(help="What a model's answers say of it where nobody has the model.")


@app.command()
def scores(
    members: Annotated[
        Path, typer.Argument(help="Answers about the training data: a CSV or Parquet.")
    ],
    others: Annotated[Path, typer.Argument(help="Answers about data that it was not trained on.")],
    label: Annotated[str, typer.Option(help="The column with the true labels.")] = "label",
    group: Annotated[
        list[str] | None, typer.Option(help="A column that says who is in which group.")
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Membership, accuracy, calibration and fairness from two files of probabilities.

    A row of a file is what the model answered about one example: a probability for each class (one
    column alone is that of the second of two classes), and, if they are there, the true label and
    groups. Labels are the names of these columns, or their numbers from 0.

    Intervals are of 95 %. "reference" is what a model would show that remembers nothing, is
    calibrated, or treats groups alike, and "shown" whether chance is ruled out. What can be doubted
    is told on stderr. Two files of one kind differ in nothing but membership: if the others are of
    another year, that year is what the attacks see.

    Examples:
      harness audit scores members.csv nonmembers.csv

      harness audit scores train.parquet test.parquet --label approved --group sex --format json
    """
    from harness.score_audit.audit import audit, rows
    from harness.score_audit.read import check_alike, read

    groups = group or []
    first, second = (read(path, label=label, groups=groups) for path in (members, others))
    found = audit(first, check_alike(first, second))
    header, table = rows(found)
    show(header, table, format)
    for flag in found.flags:
        typer.echo(f"note: {flag}", err=True)
