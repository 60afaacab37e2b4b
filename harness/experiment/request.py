"""From names as a user writes them to a request; every wrong name is caught before any work."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.experiment.options import Options, words
from harness.results import STANDARD_BUDGET
from harness.types import Access, Aux, Regime, Risk
from zoo.catalog import open_catalog
from zoo.entry import ModelEntry
from zoo.errors import ZooError, unknown
from zoo.files import digest
from zoo.home import Home

EMBEDDED = "digits-cnn"
"""The model that needs no file: it is trained in seconds on data that come with scikit-learn."""

ALL = "all"
"""In place of a name: every risk, or every attack on the requested risks."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for.

    Attributes:
        models: The targets.
        stacks: Names of the defenses of each stack; an empty tuple is the undefended model.
        risks: Which risks to measure.
        attacks: Names, or ``all``; empty for the standard ones on those risks.
        access: What is granted at most; None for all.
        aux: Kind of auxiliary data; None for each attack's default.
        ood: The attacker's dataset if ``aux`` is ``ood``.
        partial: Share of the training data that the attacker holds if ``aux`` is ``partial``; None
            for the customary half, or the preset's.
        fine_tuned: Whether published models are fine-tuned also where no defense needs it.
        queries: Query budgets, each measured by itself; empty for no limit.
        adversaries: Whether shadow models have the target's defenses, each measured by itself.
        preset: Name of a paper's settings; None for this project's own.
        seeds: Number of seeds, from 0; None for as many as the regime needs.
        settings: ``field`` or ``method.field`` to its text, or to the texts of a sweep.
        examples: How many examples each quarter of the data has at most; None for the dataset's
            own limit, which only photographs have.
        tuning: How many settings are tried for each training, with a defense and without; 0 to
            train by the recipe as it is.
    """

    models: tuple[ModelEntry, ...]
    stacks: tuple[tuple[str, ...], ...]
    risks: tuple[Risk, ...]
    attacks: tuple[str, ...] = ()
    access: Access | None = None
    aux: Aux | None = None
    ood: str | None = None
    partial: float | None = None
    fine_tuned: bool = False
    queries: tuple[int, ...] = ()
    adversaries: tuple[bool, ...] = (True, False)
    preset: str | None = None
    seeds: int | None = None
    settings: Mapping[str, str | tuple[str, ...]] = field(
        default_factory=dict[str, str | tuple[str, ...]]
    )
    examples: int | None = None
    tuning: int = 0

    @property
    def every_risk(self) -> bool:
        """Whether it is about whatever risk there is, so that one may well not apply."""
        return self.risks == tuple(Risk)

    def sweep(self) -> Iterator[dict[str, str]]:
        """Every choice of one text for each setting."""
        texts = [(v,) if isinstance(v, str) else v for v in self.settings.values()]
        for values in itertools.product(*texts):
            yield dict(zip(self.settings, values, strict=True))


def stacks(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """``["none,dpsgd+watermark"]`` as ``((), ("dpsgd", "watermark"))``.

    Raises:
        UnknownNameError: A defense is unknown.
    """
    found: list[tuple[str, ...]] = []
    if not words(texts):
        raise ZooError(f"defense names no stack. Write {registry.NONE} for the undefended model.")
    for word in words(texts):
        names = tuple(sorted({n.strip() for n in word.split("+")} - {registry.NONE}))
        for name in names:
            registry.get("defense", name)
        found.append(names)
    return tuple(dict.fromkeys(found))


def risks(texts: Sequence[str]) -> tuple[Risk, ...]:
    """Risks by name; ``all`` is every risk that some attack realises.

    Raises:
        UnknownNameError: A risk is unknown.
    """
    names = words(texts)
    attacked = {kind.risk for kind in registry.known("attack").values()}
    available = [risk for risk in Risk if risk in attacked]
    if not names:
        raise ZooError(f"risk names no risk. Known: {', '.join(available)}, or {ALL}.")
    if ALL in names:
        return tuple(available)
    for name in names:
        if name not in set(Risk):
            raise unknown("risk", name, [*Risk, ALL])
    return tuple(risk for risk in Risk if risk in names)


def of(options: Options, home: Home, source: DataLocation) -> Request:
    """The request that options in words ask for.

    Args:
        options: In words.
        home: The store.
        source: Where dataset files are.

    Raises:
        ZooError: A name or a value is wrong.
    """
    if options.access is not None and options.access not in set(Access):
        raise unknown("access", options.access, list(Access))
    if options.regime not in (None, Regime.FINE_TUNED):
        raise unknown("regime to ask for", options.regime, [Regime.FINE_TUNED])
    kind, other, partial = auxiliary(options.aux)
    return Request(
        models=models(options.model, options.where, home, source),
        stacks=stacks(options.defense),
        risks=risks(options.risk),
        attacks=options.attack,
        access=Access(options.access) if options.access else None,
        aux=kind,
        ood=other,
        partial=partial,
        fine_tuned=options.regime is not None,
        queries=budgets(options.queries),
        adversaries=adversaries(options.adversary),
        preset=options.preset,
        seeds=options.seeds,
        settings=options.set,
        examples=examples(options.examples),
        tuning=tuning(options.tuning),
    )


def models(
    names: Sequence[str], where: str | None, home: Home, source: DataLocation
) -> tuple[ModelEntry, ...]:
    """Catalog entries by name or by a SQL expression; without either, those that were fetched.

    Of those that nobody named, models without weights to fetch or without a stated scaling of
    their input are left out with a warning: there is nothing that could be attacked.

    Raises:
        ZooError: Names and an expression are given, or nothing matches.
    """
    names = words(names)
    if names and where:
        raise ZooError("Give the models with --model or with --where, not with both.")
    catalog = open_catalog(home)
    if names:
        return tuple(catalog.entry(name) for name in names)
    if where is None:
        return _fetched(catalog.entries(None), home, source) or (catalog.entry(EMBEDDED),)
    found = catalog.entries(where)
    if not found:
        raise ZooError(f"No model of the catalog matches --where {where!r}.")
    usable = [e for e in found if e.recipe or (e.artifact and e.mean is not None)]
    left_out = [entry.name for entry in found if entry not in usable]
    if not usable:
        raise ZooError(
            f"None of the {len(found)} models that match --where {where!r} has weights to fetch "
            "and a stated scaling of its input."
        )
    if left_out:
        warnings.warn(
            f"{len(left_out)} of {len(found)} models are left out, having no weights to fetch or "
            f"no stated scaling: {', '.join(left_out[:3])}…",
            stacklevel=2,
        )
    return tuple(usable)


def _fetched(
    entries: Sequence[ModelEntry], home: Home, source: DataLocation
) -> tuple[ModelEntry, ...]:
    """Those whose weights are in the store and that can be attacked with the data at hand."""
    from zoo.sources.blobs import recorded

    usable: list[ModelEntry] = []
    left_out: dict[str, str] = {}
    for entry in entries:
        if recorded(home, entry.name) is None:
            continue
        try:
            if entry.recipe is None and entry.mean is None:
                raise ZooError("its source does not say how the input is scaled")
            datasets.load(entry.dataset, source)
            usable.append(entry)
        except ZooError as error:
            left_out[entry.name] = str(error)
    for name, reason in left_out.items():
        warnings.warn(f"{name} was fetched and is left out: {reason}", stacklevel=3)
    return tuple(usable)


def auxiliary(text: str | None) -> tuple[Aux | None, str | None, float | None]:
    """``ood:mnist`` as its kind, its dataset and its share; ``partial:0.7`` likewise.

    Raises:
        ZooError: The kind is unknown, or the share is none.
    """
    if text is None:
        return None, None, None
    kind, colon, detail = text.partition(":")
    if kind not in set(Aux) or (colon and kind not in (Aux.OOD, Aux.PARTIAL)):
        raise unknown("auxiliary data", text, [*Aux, "ood:DATASET", "partial:SHARE"])
    aux = Aux(kind)
    if aux is Aux.OOD:
        if colon and not detail:
            raise ZooError(f"aux {text!r} names no dataset. Write ood:DATASET, or ood.")
        return aux, detail or datasets.OOD_DEFAULT, None
    return aux, None, _share(detail) if colon else None


def _share(text: str) -> float:
    """A share of the training data, as text."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ZooError(f"aux partial wants a share between 0 and 1, found {text!r}.")
    return share


def budgets(texts: Sequence[str]) -> tuple[int, ...]:
    """``["100,500"]`` as ``(100, 500)``.

    Raises:
        ZooError: A text is no number of queries.
    """
    for word in words(texts):
        if not word.isdigit() or int(word) < 1:
            raise ZooError(f"queries wants whole numbers of at least 1, found {word!r}.")
    return tuple(int(word) for word in words(texts))


def adversaries(texts: Sequence[str]) -> tuple[bool, ...]:
    """``["adaptive,naive"]`` as ``(True, False)``: whether shadow models have the defenses.

    Raises:
        UnknownNameError: A text is neither.
    """
    known = {"adaptive": True, "naive": False}
    found = words(texts)
    for word in found or [""]:
        if word not in known:
            raise unknown("adversary", word, known)
    return tuple(known[word] for word in found)


def tuning(text: str) -> int:
    """``none``, ``standard`` or a number as how many settings are tried; 0 for none.

    Raises:
        ZooError: It is none of these, or a number that leaves no choice.
    """
    if text in ("none", "0", "standard"):
        return STANDARD_BUDGET if text == "standard" else 0
    if not text.isdigit() or int(text) < 2:
        raise ZooError(
            f"tuning wants none, standard or a whole number of at least 2, found {text!r}."
        )
    return int(text)


def examples(text: str | None) -> int | None:
    """A number, or ``all``; None stays None.

    Raises:
        ZooError: It is none of these.
    """
    if text is None:
        return None
    if text != ALL and (not text.isdigit() or int(text) < 1):
        raise ZooError(f"examples wants {ALL} or a whole number of at least 1, found {text!r}.")
    return sys.maxsize if text == ALL else int(text)


def sources(request: Request) -> list[str]:
    """Models of the catalog that an attack of the request starts from."""
    settings = [one.items() for one in request.sweep()]
    found = [v for one in settings for k, v in one if k.rpartition(".")[2] == "source"]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class PlanInputs:
    """What planning needs besides the request.

    Attributes:
        datasets: By name.
        bases: sha256 of the weights of every published model, by model name; also of those that an
            attack starts from.
        unfetched: The models whose weights are not here. In ``bases`` something else stands for
            their hash, with which one can plan and not measure.
    """

    datasets: dict[str, Dataset]
    bases: dict[str, str]
    unfetched: frozenset[str]


def load(
    request: Request, home: Home, source: DataLocation, mirror: Path | None, *, fetching: bool
) -> PlanInputs:
    """Read the datasets and find the published weights that a request needs.

    Args:
        request: What the user asks for.
        home: The store.
        source: Where dataset files are.
        mirror: Where published weights may be.
        fetching: Whether to fetch and check the weights.
    """
    from zoo.fetch import fetch
    from zoo.sources.blobs import recorded

    names = {entry.dataset for entry in request.models}
    if request.ood or Risk.EXTRACTION in request.risks:  # some thieves ask foreign inputs
        names.add(request.ood or datasets.OOD_DEFAULT)
    found = {name: datasets.load(name, source) for name in sorted(names)}
    models = [entry for entry in request.models if entry.recipe is None]
    models += [open_catalog(home).entry(name) for name in sources(request)]
    bases: dict[str, str] = {}
    unfetched: set[str] = set()
    for entry in models:
        if fetching:
            weights = fetch(entry, home, mirror=mirror, data_dir=source.data_dir)
            bases[entry.name] = weights.sha256
        elif record := recorded(home, entry.name):
            bases[entry.name] = record["sha256"]
        else:
            bases[entry.name] = digest({"unfetched": entry.name})
            unfetched.add(entry.name)
    return PlanInputs(found, bases, frozenset(unfetched))
