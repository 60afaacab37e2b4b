"""The ``harness`` command."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from cli import audit_commands, doctor_command, eval_commands, results_commands
from cli.options import DataDir, FormatOption
from cli.printing import Format, new_app, run, show

app = new_app(
    "What a defense against one risk does to all the others, measured over many seeds.\n\n"
    "Examples:\n\n"
    "  harness eval --defense dpsgd --risk extraction\n\n"
    "  harness plan --model digits-cnn --defense dpsgd --risk all\n\n"
    "  harness compare --risk evasion --format json"
)
app.add_typer(eval_commands.app)
app.add_typer(results_commands.app)
app.add_typer(doctor_command.app)
app.add_typer(audit_commands.app, name="audit")


class Kind(StrEnum):
    """What can be listed."""

    RISKS = "risks"
    ATTACKS = "attacks"
    DEFENSES = "defenses"
    METRICS = "metrics"
    DATASETS = "datasets"


@app.command(name="list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    long: Annotated[bool, typer.Option("--long", help="With the whole description.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash the files of photographs again, first.")
    ] = False,
    data_dir: DataDir = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """What there is: risks, attacks, defenses, metrics or datasets.

    Examples:
      harness list attacks --long

      harness list datasets --verify
    """
    from harness import listing
    from harness.data.dataset import DataLocation

    source = DataLocation.resolve(data_dir)
    if verify:
        from harness.data import datasets

        for folder in datasets.verify(source):
            typer.echo(f"all files of {folder} are what was recorded", err=True)
    if long and format is Format.TABLE and kind in (Kind.ATTACKS, Kind.DEFENSES):
        from harness import registry

        single = "attack" if kind is Kind.ATTACKS else "defense"
        for name in registry.known(single):
            print(f"{name}\n{listing.description(single, name)}\n")
        return
    show(*(listing.long_rows if long else listing.rows)(kind, source), format)


def main() -> NoReturn:
    """Entry point of the console script."""
    run(app)
