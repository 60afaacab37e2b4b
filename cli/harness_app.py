"""The ``harness`` command."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli import detections_command
from cli.printing import Format, new_app, progress, run, show

if TYPE_CHECKING:
    from harness.experiment.plan import Plan
    from harness.experiment.run import Context
    from harness.experiment.store import Store
    from zoo.home import Home

app = new_app(
    "What a defense against one risk does to all the others, measured over many seeds.\n\n"
    "Examples:\n\n"
    "  harness eval --model digits-cnn --defense dpsgd --risk extraction\n\n"
    "  harness plan --model digits-cnn --defense dpsgd --risk all\n\n"
    "  harness compare --risk evasion --format json"
)


class Executor(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


class Kind(StrEnum):
    """What can be listed."""

    RISKS = "risks"
    ATTACKS = "attacks"
    DEFENSES = "defenses"
    METRICS = "metrics"
    DATASETS = "datasets"


Models = Annotated[list[str] | None, typer.Option("--model", help="Names, with commas between.")]
Where = Annotated[str | None, typer.Option(help="Models by a SQL expression over the catalog.")]
Defenses = Annotated[
    list[str],
    typer.Option("--defense", help="Stacks, with commas between: none, dpsgd, a+b."),
]
Risks = Annotated[list[str], typer.Option("--risk", help="Risks, with commas between, or all.")]
Attacks = Annotated[
    list[str] | None,
    typer.Option("--attack", help="Attacks, or all; the standard ones if not given."),
]
AccessOption = Annotated[
    str | None, typer.Option("--access", help="Most that is granted: labels, scores or weights.")
]
AuxOption = Annotated[
    str | None,
    typer.Option("--aux", help="Attacker's data: none, shadow, partial, ood or ood:DATASET."),
]
Queries = Annotated[
    list[str] | None,
    typer.Option("--queries", help="Query budgets of black-box attacks, with commas between."),
]
Adversary = Annotated[
    list[str],
    typer.Option(
        "--adversary",
        help="Whether shadow models are trained with the target's defenses (adaptive) or without "
        "(naive); both if not given. Other attacks do not differ.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="Settings of a paper: securitynet, ml-doctor or de-et-al."),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        help="Seeds, from 0. If not given: 12, and 1 for published models as downloaded, which "
        "are judged on their whole test data at once.",
        min=1,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="field=value of a method, or method.field=value; recipe.epochs=5."),
]
TuningOption = Annotated[
    str,
    typer.Option(
        "--tuning",
        help="Settings tried for every training, with a defense and without, on data that the "
        "owner trusts: none, standard (12) or a number.",
    ),
]
Mirror = Annotated[Path | None, typer.Option(help="Folder of public datasets and checkpoints.")]
DataDir = Annotated[Path | None, typer.Option(help="Datasets: torchvision's formats, tables.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores if not given.", min=1)]


@app.command(name="eval")
def evaluate(
    risk: Risks,
    model: Models = None,
    where: Where = None,
    defense: Defenses = ["none"],  # noqa: B006 - typer wants a list
    attack: Attacks = None,
    access: AccessOption = None,
    aux: AuxOption = None,
    queries: Queries = None,
    adversary: Adversary = ["adaptive,naive"],  # noqa: B006 - typer wants a list
    preset: Preset = None,
    seeds: Seeds = None,
    settings: Settings = None,
    tuning: TuningOption = "standard",
    mirror: Mirror = None,
    data_dir: DataDir = None,
    device: Device = "cpu",
    workers: Workers = None,
    executor: Executor = Executor.LOCAL,
    format: FormatOption = Format.TABLE,
) -> None:
    """Measure every risk of every model under every stack; only what is missing is done.

    The undefended model of the same regime is always measured too. The same command again does
    nothing; a killed one goes on where it was.

    Examples:
      harness eval --model digits-cnn --defense dpsgd --risk extraction

      harness eval --model digits-cnn --defense dpsgd --risk all --set dp_epsilon=3

      harness eval --where "dataset = 'mnist'" --risk evasion --set epsilon=0.1 --seeds 3
    """
    from harness.analysis import summary
    from harness.experiment import run as runner
    from harness.experiment.executors import local, ray_cluster
    from harness.experiment.store import Store
    from harness.experiment.tuning_run import tune

    home, planned, context = _plan(
        model, where, defense, risk, attack, access, aux, queries, adversary, preset, seeds,
        settings, tuning, mirror, data_dir, device, fetching=True,
    )  # fmt: skip
    begin = time.perf_counter()
    counts: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    pool = local.pool if executor is Executor.LOCAL else ray_cluster.pool
    made = planned()
    try:
        with progress() as bars:
            if made.tunings:
                trying = bars.add_task("trying settings", total=len(made.tuning_jobs))
                for event in tune(made, context, pool, workers=_workers(workers, device)):
                    counts["tried" if event.kind == "trained" else event.kind] += event.count
                    bars.advance(trying, event.count if event.kind == "trained" else 0)
                made = planned()
            training = bars.add_task("training models", total=len(made.jobs))
            measuring = bars.add_task("measuring cells", total=len(made.missing))
            for event in runner.run(made, context, pool, workers=_workers(workers, device)):
                counts[event.kind] += event.count
                bars.advance(training if event.kind == "trained" else measuring, event.count)
                if event.kind in ("failed", "not applicable"):
                    problems[f"{event.kind}: {event.text}"] += event.count
    finally:
        # Whatever ended the run, what it finished is found by the next command.
        store = Store(home)
        store.sync()
    found = [store.get(item.cell.key) for item in made.wanted]
    header, rows = summary.rows(found)
    reasons = Counter(reason for row in rows for reason in row[-1] or ())
    if format is Format.TABLE:  # whole sentences stand below it
        header, rows = header[:-1], [row[:-1] for row in rows]
    show(header, rows, format)
    _say_budgets((e.cell.model, e.cell.defense, e.evidence) for e in found if e is not None)
    _say_outdated(store)
    done = len(made.wanted) - len(made.missing)
    words = [f"{counts['measured']} cells measured", f"{counts['trained']} models trained"]
    if not made.missing:
        words = [f"nothing to do: all {done} cells are there already"]
    elif done:
        words.append(f"{done} cells were there already")
    if counts["tuned"]:
        words.append(f"{counts['tuned']} choices of settings made in {counts['tried']} trainings")
    for kind in ("skipped", "failed", "not applicable"):
        if counts[kind]:
            words.append(f"{counts[kind]} {kind}")
    typer.echo(f"{', '.join(words)} ({time.perf_counter() - begin:.1f} s)", err=True)
    for text, count in sorted(problems.items()):
        typer.echo(f"{count} x {text}", err=True)
    for text, count in sorted(reasons.items()):
        if not any(text in problem for problem in problems):
            typer.echo(f"{count} rows: {text}", err=True)
    if counts["failed"]:
        raise typer.Exit(1)


@app.command()
def plan(
    risk: Risks,
    model: Models = None,
    where: Where = None,
    defense: Defenses = ["none"],  # noqa: B006 - typer wants a list
    attack: Attacks = None,
    access: AccessOption = None,
    aux: AuxOption = None,
    queries: Queries = None,
    adversary: Adversary = ["adaptive,naive"],  # noqa: B006 - typer wants a list
    preset: Preset = None,
    seeds: Seeds = None,
    settings: Settings = None,
    tuning: TuningOption = "standard",
    mirror: Mirror = None,
    data_dir: DataDir = None,
    device: Device = "cpu",
    workers: Workers = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Say what `harness eval` with the same options would do, and do nothing.

    The estimate is made from earlier runs in the same store; where there are none, it is missing.
    """
    from harness.experiment.estimate import estimate

    home, planned, context = _plan(
        model, where, defense, risk, attack, access, aux, queries, adversary, preset, seeds,
        settings, tuning, mirror, data_dir, device, fetching=False,
    )  # fmt: skip
    made = planned()
    processes = _workers(workers, device)
    guess = estimate(made, home, workers=processes)
    missing = {item.cell.key for item in made.missing}
    groups: dict[tuple[str | None, ...], list[bool]] = {}
    for item in made.wanted:
        cell = item.cell
        key = (cell.model, str(cell.regime), cell.defense, str(cell.risk), str(cell.attack),
               str(cell.threat), item.refused)  # fmt: skip
        groups.setdefault(key, []).append(cell.key in missing)
    header = ["model", "regime", "defense", "risk", "attack", "threat_model", "refused", "cells",
              "missing"]  # fmt: skip
    rows = [(*key, len(flags), sum(flags)) for key, flags in groups.items()]
    unfetched = sorted(
        {
            i.entry.name
            for i in made.wanted
            if context.weights.get(i.entry.name, "").startswith("to ")
        }
    )
    summary = {
        "cells": len(made.wanted),
        "cells_missing": len(made.missing),
        "trainings_missing": len(made.jobs),
        "tunings_missing": [tuning.subject for tuning in made.tunings],
        "tuning_trainings_missing": len(made.tuning_jobs),
        "models_to_fetch": unfetched,
        "workers": processes,
        "estimated_seconds": guess.seconds,
        "without_estimate": guess.unknown,
    }
    if format is Format.JSON:
        records = [dict(zip(header, row, strict=True)) for row in rows]
        print(json.dumps({**summary, "groups": records}, indent=1))
        return
    show(header, rows, format)
    time_text = "nothing to do" if not made.missing else (
        "no earlier runs to estimate from" if guess.seconds is None
        else f"about {guess.seconds:.0f} s on {processes} workers"
    )  # fmt: skip
    if guess.seconds is not None and guess.unknown:
        time_text += f", not counting {guess.unseen}: nothing like them was run in this store yet"
    before = ""
    if made.tunings:
        before = (
            f", and {len(made.tuning_jobs)} before them to choose settings for "
            f"{', '.join(tuning.subject for tuning in made.tunings)}, after which the cells are "
            f"those of the chosen settings"
        )
    typer.echo(
        f"{len(made.wanted)} cells, {len(made.missing)} missing; {len(made.jobs)} trainings "
        f"needed{before}; {time_text}"
        + (f"; to fetch first: {', '.join(unfetched)}" if unfetched else ""),
        err=True,
    )


@app.command()
def compare(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    regime: Annotated[str | None, typer.Option(help="Only this regime.")] = None,
    defense: Annotated[str | None, typer.Option(help="Only stacks with this defense.")] = None,
    risk: Annotated[str | None, typer.Option(help="Only this risk.")] = None,
    attack: Annotated[str | None, typer.Option(help="Only this attack.")] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """What every stack does to every risk: paired effects with intervals and verdicts.

    Effects are changes in susceptibility (0 chance, 1 total): above 0, the risk gets worse. q is
    corrected over everything in the store, whatever is shown. Under some rows stand other measures
    of the risk: their effect is the raw change in points, and p is not corrected. Numbers in
    brackets are notes below the table: why a row has its verdict, and reasons to doubt it.

    Example:
      harness compare --defense dpsgd --format json
    """
    from harness.experiment.interactions import load
    from harness.experiment.store import Store
    from zoo.errors import ZooError
    from zoo.home import Home

    home = Home.open()
    rows, _ = load(home)
    _say_outdated(Store(home))
    if not rows:
        old = len(Store(home).outdated())
        raise ZooError(
            f"Nothing to compare: all {old} stored cells are of an earlier version."
            if old
            else "Nothing to compare yet; run `harness eval --defense …` first."
        )
    wanted = {"model": model, "dataset": dataset, "regime": regime, "risk": risk}
    kept = [
        row
        for row in rows
        if all(
            # A changed recipe and tuning stand behind a model's name: digits-cnn(tuned).
            value in (None, str(getattr(row, key)), str(getattr(row, key)).partition("(")[0])
            for key, value in wanted.items()
        )
        and (defense is None or defense in (row.defense, *row.defense_params))
        and (attack is None or attack in (row.attack, row.attack.partition("(")[0]))
    ]
    if not kept:
        shown = {k: sorted({str(getattr(r, k)) for r in rows}) for k in wanted}
        raise ZooError(
            "No interaction matches. There are: "
            + "; ".join(f"{k} {', '.join(values)}" for k, values in shown.items())
            + "."
        )
    if format is Format.TABLE:
        from cli.interaction_table import show_interactions

        show_interactions(kept)
        _say_budgets((row.model, row.defense, row.evidence) for row in kept)
        return
    from dataclasses import asdict

    header = list(asdict(kept[0]))
    show(header, [list(asdict(row).values()) for row in kept], format)


@app.command(name="list")
def list_(
    kind: Kind,
    long: Annotated[bool, typer.Option("--long", help="With the whole description.")] = False,
    data_dir: DataDir = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """What there is: risks, attacks, defenses, metrics or datasets.

    Example:
      harness list attacks --long
    """
    from harness import listing
    from harness.data.dataset import Source

    source = Source.resolve(data_dir)
    if long and kind is Kind.DATASETS:
        show(*listing.described_datasets(source), format)
        return
    header, rows = listing.rows(kind, source)
    if long and kind in (Kind.ATTACKS, Kind.DEFENSES):
        from harness import registry

        single = "attack" if kind is Kind.ATTACKS else "defense"
        for name in registry.known(single):
            typer.echo(f"{name}\n{listing.description(single, name)}\n")
        return
    show(header, rows, format)


def _plan(
    model: list[str] | None,
    where: str | None,
    defense: list[str],
    risk: list[str],
    attack: list[str] | None,
    access: str | None,
    aux: str | None,
    queries: list[str] | None,
    adversary: list[str],
    preset: str | None,
    seeds: int | None,
    settings: list[str] | None,
    tuning: str,
    mirror: Path | None,
    data_dir: Path | None,
    device: str,
    *,
    fetching: bool,
) -> tuple[Home, Callable[[], Plan], Context]:
    """The store, what is to do as it is then, and where and with what."""
    from harness import registry
    from harness.data.dataset import Source
    from harness.experiment import request
    from harness.experiment.plan import plan as make_plan
    from harness.experiment.request import ALL, Request
    from harness.experiment.run import Context, code_version
    from harness.experiment.store import Store
    from harness.experiment.tuning_run import Tunings
    from harness.training.artifacts import Artifacts, check_device
    from harness.types import Access
    from zoo.errors import unknown
    from zoo.home import Home

    home = Home.open()
    check_device(device)
    if access is not None and access not in set(Access):
        raise unknown("access", access, list(Access))
    kind, ood = request.auxiliary(aux)
    attacks = request.words(attack or [])
    for name in attacks:
        if name != ALL:
            registry.get("attack", name)
    asked = Request(
        models=request.models(model or [], where, home),
        stacks=request.stacks(defense),
        risks=request.risks(risk),
        attacks=tuple(attacks),
        access=Access(access) if access else None,
        aux=kind,
        ood=ood,
        queries=request.budgets(queries or []),
        adversaries=request.adversaries(adversary),
        preset=preset,
        seeds=seeds,
        settings=registry.settings(settings or []),
        tuning=request.tuning(tuning),
    )
    source = Source.resolve(data_dir, mirror)
    loaded = request.load(asked, home, source, mirror, fetching=fetching)
    planned = partial(
        make_plan,
        asked,
        loaded.datasets,
        loaded.bases,
        is_done=Store(home).is_done,
        is_trained=Artifacts(home).has,
        tuned=Tunings(home).get,
    )
    context = Context(home, source, device, loaded.bases, code_version())
    return home, planned, context


def _workers(workers: int | None, device: str) -> int:
    import os

    if workers is not None:
        return workers
    if device != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):  # only what this process may use; not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say_budgets(measured: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Say on stderr what each private stack of a model spent, and what that is without."""
    from harness.games.privacy import stated

    lines = {
        f"{defense} on {model}: "
        + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in said.items())
        for model, defense, evidence in measured
        if (said := stated(evidence))
    }
    for line in sorted(lines):
        typer.echo(line, err=True)


def _say_outdated(store: Store) -> None:
    """Say on stderr how many stored cells are not shown because their numbers are old."""
    from leaderboard.command import commands

    cells = store.outdated()
    if cells:
        first, *others = commands(cells)
        typer.echo(
            f"{len(cells)} stored cells are old and not shown: their numbers were made when they "
            f"meant something else. To measure them again: {first}"
            + (f" (and {len(others)} more, listed by `leaderboard build`)" if others else ""),
            err=True,
        )


app.add_typer(detections_command.app)


def main() -> NoReturn:
    """Entry point of the console script."""
    run(app)
