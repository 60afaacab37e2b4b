"""``harness doctor``: whether every registered method does what is expected of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli.options import DataDir, FormatOption, Mirror, bar
from cli.printing import Format, show

app = typer.Typer()


class Tried(StrEnum):
    """What can be tried."""

    ATTACK = "attack"
    DEFENSE = "defense"
    METRIC = "metric"
    DATASET = "dataset"
    NETWORK = "network"


@app.command()
def doctor(
    names: Annotated[list[str] | None, typer.Argument(help="Only these; all if none.")] = None,
    kind: Annotated[list[Tried] | None, typer.Option(help="Only of this kind.")] = None,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Try every registered method on a tiny model and say what is wrong with each.

    Those of installed packages, too: for whoever writes one. A method is wrong if its class does
    not say what it has to, if it fails, if its result is not finite or depends on anything but its
    seed, or if it changes the model or the data that it is handed. Datasets are read where they are
    here; large networks are built without numbers. Nothing is stored. Ends with 1 if anything is
    wrong.

    Examples:
      harness doctor --kind attack

      harness doctor pgd rounding --format json
    """
    from harness.data.dataset import DataLocation
    from harness.doctor.examine import KINDS, Doctor, Kind

    kinds: list[Kind] = [one for one in KINDS if not kind or Tried(one) in kind]
    with bar("trying") as progress:
        found = Doctor(DataLocation.resolve(data_dir, mirror)).examine(kinds, names or (), progress)
    header = ["name", "kind", "ok", "what", "seconds"]
    rows = [(one.name, one.kind, one.ok, one.what, round(one.seconds, 2)) for one in found]
    show(header, rows, format)
    wrong = sum(not one.ok for one in found)
    typer.echo(f"{len(found)} tried, {wrong} of them wrong", err=True)
    if wrong:
        raise typer.Exit(1)
