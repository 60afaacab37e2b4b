"""Measuring models from Python: what the command ``harness`` does, as functions.

For example:

    >>> import harness
    >>> found = harness.measure(
    ...     "digits-mlp", risks="evasion", attacks="fgsm", seeds=2, tuning="none"
    ... )
    >>> list(found.status)
    ['ok', 'ok']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiment.experiment import Experiment, Progress, plan_rows, summary_of
from harness.experiment.interactions import compared
from harness.experiment.options import Options, words
from zoo.errors import ZooError
from zoo.home import Home

if TYPE_CHECKING:
    import pandas as pd

    from harness.results import Evaluation

Names = str | Sequence[str]
"""One name, several in a list, or several with commas between."""

_SINGULAR = {
    "defenses": "defense", "risks": "risk", "attacks": "attack", "adversaries": "adversary",
    "settings": "set", "data": "data_dir",
}  # fmt: skip
"""Options of the command line by what Python calls them, where that is otherwise."""


def measure(
    model: Names = (),
    *,
    where: str | None = None,
    defenses: Names = "none",
    regime: str | None = None,
    risks: Names = (),
    attacks: Names = (),
    access: str | None = None,
    aux: str | None = None,
    queries: int | Sequence[int] = (),
    adversaries: Names = ("adaptive", "naive"),
    preset: str | None = None,
    seeds: int | None = None,
    examples: int | str | None = None,
    settings: Mapping[str, Any] | None = None,
    tuning: str | int = "standard",
    data: str | Path | None = None,
    mirror: str | Path | None = None,
    unreadable: str = "refuse",
    device: str = "cpu",
    workers: int | None = None,
    executor: str = "local",
    home: Home | Path | None = None,
    progress: Progress = lambda step, done, total: None,
) -> pd.DataFrame:
    """Measure every risk of every model under every stack; only what is missing is done.

    The undefended model of the same regime is always measured too. A call that is interrupted goes
    on where it was when it is made again.

    Args:
        model: Names of the catalog; every fetched model, or digits-cnn, if neither this nor
            ``where`` is given.
        where: Models by a SQL expression over the catalog.
        defenses: Stacks: ``none``, ``dpsgd``, ``a+b``.
        regime: ``fine-tuned`` to fine-tune published models also where no defense needs it.
        risks: Names, or ``all``.
        attacks: Names, or ``all``; the standard ones if not given.
        access: Most that is granted: ``labels``, ``scores`` or ``weights``.
        aux: The attacker's data: ``none``, ``shadow``, ``partial``, ``partial:SHARE``, ``ood`` or
            ``ood:DATASET``.
        queries: Query budgets, each measured by itself.
        adversaries: ``adaptive``, ``naive`` or both: whether shadow models have the defenses.
        preset: Settings of a paper: ``securitynet``, ``ml-doctor`` or ``de-et-al``.
        seeds: Number of seeds; by default 12, and 1 for published models as downloaded.
        examples: How many examples each quarter of the data has at most, or ``all``; by default
            1,000 of photographs, and all of other data.
        settings: By ``field`` or ``method.field`` a value, or several in a list to measure one by
            one.
        tuning: ``none``, ``standard`` or how many settings are tried for every training.
        data: Folder of datasets; by default ``$ZOO_DATA_DIR``.
        mirror: Folder of public datasets and checkpoints; by default ``$ZOO_MIRROR``.
        unreadable: What is done with images that cannot be decoded: ``refuse`` or ``skip``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        workers: Processes; by default one for every core.
        executor: ``local`` or ``ray``.
        home: The store; by default ``$ZOO_HOME``, or the platform's folder for user data.
        progress: Called with the step of the work, how many parts of it are done, and of how many.

    Returns:
        A row for each cell, in the order of the plan: ``model``, ``dataset``, ``regime``,
        ``defense``, ``risk``, ``attack``, ``threat_model``, ``seed``, ``status`` (``ok``,
        ``failed`` or ``not applicable``), ``reason``, ``metric`` (the primary one), ``value``,
        ``susceptibility`` (0 what an attacker has without the model, 1 total), ``utility``
        (accuracy), ``flags`` (reasons to doubt it), ``key``, and every metric in a column
        ``metrics.NAME``.

    Raises:
        ZooError: A name or a value is wrong; nothing was started.
    """
    options = _options(
        model=model, where=where, defenses=defenses, regime=regime, risks=risks, attacks=attacks,
        access=access, aux=aux, queries=queries, adversaries=adversaries, preset=preset,
        seeds=seeds, examples=examples, settings=settings, tuning=tuning, data=data,
        mirror=mirror, unreadable=unreadable, device=device, workers=workers, executor=executor,
    )  # fmt: skip
    made = Experiment.open(options, _home(home), fetching=True)
    return evaluations_frame(made.run(progress).evaluations)


def plan(
    model: Names = (),
    *,
    where: str | None = None,
    defenses: Names = "none",
    regime: str | None = None,
    risks: Names = (),
    attacks: Names = (),
    access: str | None = None,
    aux: str | None = None,
    queries: int | Sequence[int] = (),
    adversaries: Names = ("adaptive", "naive"),
    preset: str | None = None,
    seeds: int | None = None,
    examples: int | str | None = None,
    settings: Mapping[str, Any] | None = None,
    tuning: str | int = "standard",
    data: str | Path | None = None,
    mirror: str | Path | None = None,
    unreadable: str = "refuse",
    home: Home | Path | None = None,
) -> pd.DataFrame:
    """What `measure` with the same arguments would do.

    Returns:
        A row for each group of cells that differ in their seeds only: ``model``, ``regime``,
        ``defense``, ``risk``, ``attack``, ``threat_model``, ``refused`` (why they do not apply),
        ``cells`` and ``missing``. Its ``attrs`` have the totals.

    Raises:
        ZooError: A name or a value is wrong.
    """
    import pandas as pd

    options = _options(
        model=model, where=where, defenses=defenses, regime=regime, risks=risks, attacks=attacks,
        access=access, aux=aux, queries=queries, adversaries=adversaries, preset=preset,
        seeds=seeds, examples=examples, settings=settings, tuning=tuning, data=data, mirror=mirror,
        unreadable=unreadable,
    )  # fmt: skip
    experiment = Experiment.open(options, _home(home), fetching=False)
    made = experiment.plan()
    header, rows = plan_rows(made)
    frame = pd.DataFrame(rows, columns=header)
    frame.attrs.update(summary_of(made, experiment.loaded))
    return frame


def compare(
    *,
    model: Names = (),
    dataset: Names = (),
    regime: Names = (),
    defense: Names = (),
    risk: Names = (),
    attack: Names = (),
    home: Home | Path | None = None,
) -> pd.DataFrame:
    """What every stack in the store does to every risk: paired effects, intervals and verdicts.

    Args:
        model: Only these models; all if not given, like the others.
        dataset: Only these datasets.
        regime: Only ``from-scratch``, ``fine-tuned`` or ``published``.
        defense: Only stacks with one of these defenses.
        risk: Only these risks.
        attack: Only these attacks.
        home: The store; by default ``$ZOO_HOME``, or the platform's folder for user data.

    Returns:
        A row for each `harness.results.Interaction`, its fields the columns.

    Raises:
        ZooError: The store has none, or none of these.
    """
    import pandas as pd

    wanted = {
        "model": model, "dataset": dataset, "regime": regime, "defense": defense, "risk": risk,
        "attack": attack,
    }  # fmt: skip
    named = {k: words([some] if isinstance(some, str) else some) for k, some in wanted.items()}
    rows = compared(_home(home), named)
    return pd.DataFrame([asdict(row) for row in rows])


def audit_scores(
    members: str | Path, others: str | Path, *, label: str = "label", groups: Names = ()
) -> pd.DataFrame:
    """What two files of a model's answers say of it: see ``harness audit scores``.

    Args:
        members: A CSV or Parquet with the answers about the training data: a probability for each
            class, and, if they are there, the true label and groups.
        others: The same about data of the same kind that the model was not trained on.
        label: The column with the true labels.
        groups: Columns that say who is in which group.

    Returns:
        A row for each `harness.score_audit.audit.Finding`, its fields the columns; ``attrs`` has
        ``flags``, reasons to doubt some of them.

    Raises:
        ZooError: A file is not there, or holds something else.
    """
    import pandas as pd

    from harness.score_audit.audit import audit, rows
    from harness.score_audit.read import check_alike, read

    columns = words([groups] if isinstance(groups, str) else groups)
    first, second = (read(Path(one), label=label, groups=columns) for one in (members, others))
    found = audit(first, check_alike(first, second))
    header, table = rows(found)
    frame = pd.DataFrame(table, columns=header)
    frame.attrs["flags"] = list(found.flags)
    return frame


def list_methods(kind: str = "attacks", *, data: str | Path | None = None) -> pd.DataFrame:
    """What there is, one in a row.

    Args:
        kind: ``risks``, ``attacks``, ``defenses``, ``metrics`` or ``datasets``.
        data: Folder of datasets; by default ``$ZOO_DATA_DIR``.

    Raises:
        ZooError: There is no such kind.
    """
    import pandas as pd

    from harness import listing
    from harness.data.dataset import DataLocation

    header, rows = listing.rows(kind, DataLocation.resolve(Path(data) if data else None))
    return pd.DataFrame(rows, columns=header)


def evaluations_frame(evaluations: Sequence[Evaluation | None]) -> pd.DataFrame:
    """A row for each evaluation, as `measure` has them."""
    import pandas as pd

    rows = []
    for one in evaluations:
        if one is None:
            continue
        cell = one.cell
        rows.append(
            {
                "model": cell.model_label,
                "dataset": cell.dataset,
                "regime": str(cell.regime),
                "defense": cell.defense,
                "risk": str(cell.risk),
                "attack": str(cell.attack),
                "threat_model": str(cell.threat),
                "seed": cell.seed,
                "status": one.status,
                "reason": one.reason,
                "metric": one.primary,
                "value": one.metrics.get(one.primary) if one.primary else None,
                "susceptibility": one.susceptibility,
                "utility": one.utility,
                "flags": tuple(one.evidence.get("flags", ())),
                "key": cell.key,
                **{f"metrics.{name}": value for name, value in one.metrics.items()},
            }
        )
    return pd.DataFrame(rows)


def _home(home: Home | Path | None) -> Home:
    return home if isinstance(home, Home) else Home.open(home)


def _options(**given: Any) -> Options:
    """Options from arguments of `measure`, of which some have the names of several things."""
    options = Options.of(
        {_SINGULAR.get(name, name): one for name, one in given.items()}, "the call"
    )
    if not options.risk:
        raise ZooError("risks wants the name of a risk, several in a list, or 'all'.")
    return options
