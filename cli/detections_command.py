"""The command of ``harness`` that judges detectors of backdoors."""

from typing import Annotated

import typer

from cli.printing import Format, show

app = typer.Typer()


@app.command()
def detections(
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="Only stacks with this detector, such as neural-cleanse.")
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
) -> None:
    """How often detectors of backdoors are right: false alarms and hits over what was measured.

    fpr and tpr are shares of models, with 95 % intervals, of detectors that inspect models;
    filter_fpr and filter_tpr are shares of inputs, of detectors that filter them. Clean models are
    those that nobody poisoned; backdoored ones those that were poisoned and answer at least half of
    the triggered inputs as the attacker wants, or that the catalog lists as backdoored.

    Examples:
      harness eval --where "dataset = 'cifar10'" --defense neural-cleanse,strip,neo
      --risk poisoning --attack badnets --seeds 1

      harness detections --dataset cifar10 --format csv
    """
    from harness import registry
    from harness.analysis import detections as judge
    from harness.experiment.store import Store
    from harness.types import Part
    from zoo.catalog import open_catalog
    from zoo.errors import ZooError, unknown
    from zoo.home import Home

    names = {
        name for name, kind in registry.known("defense").items() if Part.INSPECTION in kind.acts_on
    }
    if detector is not None and detector not in names:
        raise unknown("detector", detector, names)
    home = Home.open()
    _, listed = open_catalog(home).sql("SELECT name FROM models WHERE backdoored")
    evaluations = [
        e for e in Store(home).evaluations() if dataset is None or e.cell.dataset == dataset
    ]
    header, rows = judge.rows(
        evaluations,
        detectors=names if detector is None else {detector},
        backdoored={name for (name,) in listed},
    )
    if not rows:
        raise ZooError(
            "No detector was measured yet; run `harness eval --risk poisoning --attack badnets "
            f"--defense {','.join(sorted(names))} …` first."
        )
    show(header, rows, format)
