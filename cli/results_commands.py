"""The commands of ``harness`` that read what was measured."""

from typing import Annotated

import typer

from cli.footnotes import say_budgets, say_outdated
from cli.options import FormatOption
from cli.printing import Format, show

app = typer.Typer()


@app.command()
def compare(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    regime: Annotated[str | None, typer.Option(help="Only this regime.")] = None,
    defense: Annotated[str | None, typer.Option(help="Only stacks with this defense.")] = None,
    risk: Annotated[str | None, typer.Option(help="Only this risk.")] = None,
    attack: Annotated[str | None, typer.Option(help="Only this attack.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of the table, with commas between: any field of --format json."),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """What every stack does to every risk: paired effects with intervals and verdicts.

    Effects are changes in susceptibility (0 chance, 1 total): above 0, the risk gets worse. q is
    corrected over everything in the store, whatever is shown. Under some rows stand other measures
    of the risk: their effect is the raw change in points, and p is not corrected. Numbers in
    brackets are notes below the table: why a row has its verdict, and reasons to doubt it.

    Examples:
      harness compare --defense dpsgd --format json

      harness compare --risk evasion --columns defense,attack,effect,verdict
    """
    from dataclasses import asdict

    from harness.experiment.interactions import compared
    from harness.experiment.store import EvaluationStore
    from zoo.home import Home

    home = Home.open()
    say_outdated(EvaluationStore(home))
    wanted = {
        "model": model, "dataset": dataset, "regime": regime, "defense": defense, "risk": risk,
        "attack": attack,
    }  # fmt: skip
    kept = compared(home, {key: (one,) for key, one in wanted.items() if one is not None})
    if format is Format.TABLE:
        from cli.interaction_table import show_interactions

        show_interactions(kept, columns)
        say_budgets((row.model, row.defense, row.evidence) for row in kept)
        return
    header = list(asdict(kept[0]))
    show(header, [list(asdict(row).values()) for row in kept], format)


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
    from harness.experiment.store import EvaluationStore
    from harness.types import Part, Risk
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
    evaluations = EvaluationStore(home).evaluations()
    backdoored = {name for (name,) in listed}
    if not judge.rows(evaluations, detectors=names, backdoored=backdoored)[1]:
        raise ZooError(
            "No detector was measured yet; run `harness eval --risk poisoning --attack badnets "
            f"--defense {','.join(sorted(names))} …` first."
        )
    header, rows = judge.rows(
        [e for e in evaluations if dataset in (None, e.cell.dataset)],
        detectors=names if detector is None else {detector},
        backdoored=backdoored,
    )
    if not rows:
        measured = {
            (method.name, e.cell.dataset)
            for e in evaluations
            for method in e.cell.stack
            if method.name in names and e.cell.risk is Risk.POISONING
        }
        raise ZooError(
            "No detector matches. There are: "
            + ", ".join(f"{name} on {of}" for name, of in sorted(measured))
            + "."
        )
    show(header, rows, format)
