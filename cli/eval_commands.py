"""The commands of ``harness`` that plan and measure."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

import typer

from cli.footnotes import say_budgets, say_outdated
from cli.options import Asked, FormatOption, takes_request
from cli.printing import Format, progress, show

if TYPE_CHECKING:
    from harness.experiment.experiment import Ran

app = typer.Typer()


@app.command(name="eval")
@takes_request
def evaluate(asked: Asked, format: FormatOption = Format.TABLE) -> None:
    """Measure every risk of every model under every stack; only what is missing is done.

    The undefended model of the same regime is always measured too. The same command again does
    nothing; a killed one goes on where it was. Without a model, all fetched ones are measured, or
    digits-cnn, which needs no file.

    Examples:
      harness eval --defense dpsgd --risk extraction

      harness eval --model digits-cnn --defense dpsgd --risk all --set dp_epsilon=1,3,8

      harness eval --where "dataset = 'mnist'" --risk evasion --seeds 3 --save request.toml

      harness eval request.toml --seeds 12
    """
    from harness.analysis import summary
    from harness.experiment.store import EvaluationStore
    from zoo.home import Home

    home = Home.open()
    experiment = asked.open(home, fetching=True)
    if not asked.options.model and not asked.options.where:
        names = [entry.name for entry in experiment.request.models]
        typer.echo(f"models: {', '.join(names)}", err=True)
    begin = time.perf_counter()
    with progress() as bars:
        tasks = {}

        def advance(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        ran = experiment.run(advance)
    header, rows = summary.summary_table(ran.evaluations)
    reasons = Counter(reason for row in rows for reason in row[-1] or ())
    if format is Format.TABLE:  # whole sentences stand below it
        header, rows = header[:-1], [row[:-1] for row in rows]
    show(header, rows, format)
    say_budgets((e.cell.model_label, e.cell.defense, e.evidence) for e in ran.evaluations if e)
    say_outdated(EvaluationStore(home))
    typer.echo(f"{_done(ran)} ({time.perf_counter() - begin:.1f} s)", err=True)
    for text, count in sorted(ran.problems.items()):
        typer.echo(f"{count} x {text}", err=True)
    for text, count in sorted(reasons.items()):
        if not any(text in problem for problem in ran.problems):
            typer.echo(f"{count} rows: {text}", err=True)
    if ran.counts["failed"]:
        raise typer.Exit(1)


@app.command()
@takes_request
def plan(asked: Asked, format: FormatOption = Format.TABLE) -> None:
    """Say what `harness eval` with the same options would do, and do nothing.

    The estimate is made from earlier runs in the same store; where there are none, it is missing.

    Example:
      harness plan --model digits-cnn --defense dpsgd --risk all
    """
    from harness.experiment.estimate import estimate
    from harness.experiment.experiment import plan_rows, summary_of
    from zoo.home import Home

    home = Home.open()
    experiment = asked.open(home, fetching=False)
    made = experiment.plan()
    guess = estimate(made, home, workers=experiment.workers)
    header, rows = plan_rows(made)
    summary = {
        **summary_of(made, experiment.loaded),
        "workers": experiment.workers,
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
        else f"about {guess.seconds:.0f} s on {experiment.workers} workers"
    )  # fmt: skip
    parts = len(made.jobs) + len(made.missing)
    if guess.seconds is not None and 4 * guess.unknown > 3 * parts:
        time_text = f"too little was run in this store to tell how long {guess.unseen} take"
    elif guess.seconds is not None and guess.unknown:
        time_text += f", not counting {guess.unseen}: nothing like them was run in this store yet"
    before = ""
    if made.tunings:
        before = (
            f", and {len(made.tuning_jobs)} before them to choose settings for "
            f"{', '.join(tuning.subject for tuning in made.tunings)}, after which the cells are "
            f"those of the chosen settings"
        )
    unfetched = summary["models_to_fetch"]
    typer.echo(
        f"{len(made.cells)} cells, {len(made.missing)} missing; {len(made.jobs)} trainings "
        f"needed{before}; {time_text}"
        + (f"; to fetch first: {', '.join(unfetched)}" if unfetched else ""),
        err=True,
    )


@app.command()
def schema() -> None:
    """Print the JSON schema of request files, for editors.

    Example:
      harness schema > request.schema.json
    """
    from harness.experiment.options import schema as of_requests
    from harness.experiment.presets import PRESETS

    print(json.dumps(of_requests(PRESETS), indent=1))


def _done(ran: Ran) -> str:
    """What a run did, in words."""
    counts = ran.counts
    done = len(ran.plan.cells) - len(ran.plan.missing)
    words = [f"{counts['measured']} cells measured", f"{counts['trained']} models trained"]
    if not ran.plan.missing:
        words = [f"nothing to do: all {done} cells are there already"]
    elif done:
        words.append(f"{done} cells were there already")
    if counts["tuned"]:
        words.append(f"{counts['tuned']} choices of settings made in {counts['tried']} trainings")
    for kind in ("skipped", "failed", "not applicable"):
        if counts[kind]:
            words.append(f"{counts[kind]} {kind}")
    return ", ".join(words)
