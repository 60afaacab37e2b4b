"""Everything that is registered, tried once: what is wrong with it, in one line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from harness import registry
from harness.attacks.protocol import PoisonsData
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.defenses.shared.defender import trusted_index
from harness.doctor.static import check_class
from harness.doctor.tiny_models import SHORTEST, TinyModel, tiny_models
from harness.doctor.watching import DefectError, watched, watching
from harness.experiment.plan import Planned
from harness.finite import NotFiniteError, check_result
from harness.games.by_risk import GAMES
from harness.games.game import Outcome
from harness.metrics.further import measured
from harness.metrics.susceptibility import PRIMARY, susceptibility
from harness.seeds import seeded
from harness.target import AccessDeniedError
from harness.training.single import train_alone
from harness.types import NotApplicableError, Risk
from zoo import nets
from zoo.errors import ZooError, unknown

Kind = Literal["attack", "defense", "metric", "dataset", "network"]
KINDS: tuple[Kind, ...] = ("attack", "defense", "metric", "dataset", "network")

SHAPES = ((3, 32, 32), (1, 28, 28), (1, 8, 8), (16,))
"""Of inputs that a network is tried with; the first that it takes."""

LARGE = 3_000_000
"""Parameters from which a network is only looked at without numbers in it."""

QUICK = 1.0
"""Seconds up to which a dataset is read a second time."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came of trying one thing.

    Attributes:
        kind: What it is.
        name: Of the registry.
        ok: Whether nothing is wrong with it.
        what: What is wrong; or why it could not be tried; None if it was and is well.
        seconds: How long it took.
    """

    kind: Kind
    name: str
    ok: bool
    what: str | None
    seconds: float


class Doctor:
    """Tries what is registered on tiny models, and keeps what it trained for the next one."""

    def __init__(self, source: DataLocation = DataLocation()) -> None:
        """Take datasets from ``source``."""
        self.source = source
        self.tiny_models: Sequence[TinyModel] = tiny_models()
        self._outcomes: dict[Risk, Outcome] = {}

    def examine(
        self,
        kinds: Sequence[Kind] = KINDS,
        names: Sequence[str] = (),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Finding]:
        """Try everything of some kinds and names.

        Args:
            kinds: Of these.
            names: Of these; all if there are none.
            progress: Called with how many were tried, and of how many.

        Raises:
            UnknownNameError: A name is none of these kinds'.
        """
        tasks = [task for kind in kinds for task in self._tasks(kind)]
        for name in names:
            if name not in {task.name for task in tasks}:
                raise unknown(" or ".join(kinds), name, {task.name for task in tasks})
        tasks = [task for task in tasks if not names or task.name in names]
        found = []
        for done, task in enumerate(tasks):
            progress(done, len(tasks))
            found.append(task.done())
        progress(len(tasks), len(tasks))
        return found

    def _tasks(self, kind: Kind) -> Iterator[_Task]:
        if kind == "network":
            left_out, names, look = nets.left_out(), nets.names(), self.network
        elif kind == "dataset":
            left_out, names = datasets.left_out(), datasets.names(self.source)
            look = self.dataset
        else:
            left_out, names = registry.left_out(kind), list(registry.known(kind))
            look = {"attack": self.attack, "defense": self.defense, "metric": self.metric}[kind]
        for one in left_out:
            yield _Task(kind, one.name, partial(_raise, f"{one.package}: {one.reason}"))
        if kind == "metric":
            for risk in Risk:
                yield _Task(kind, f"{PRIMARY[risk]} of {risk}", partial(self.primary, risk))
        for name in names:
            yield _Task(kind, name, partial(look, name))

    def attack(self, name: str) -> str | None:
        """Try an attack on the first model that it can be carried out on.

        Returns:
            Why it could be tried on none; None if it was.
        """
        check_class("attack", name)
        reasons = []
        for tiny in self.tiny_models:
            try:
                item = tiny.planned(name)
                _check_poison(registry.attack(item.cell.attack), tiny.dataset)
                _played(tiny, item, watch=True)
                return None
            except AccessDeniedError as error:
                raise DefectError(f"its class grants it less: {error}") from error
            except NotApplicableError as error:
                reasons.append(str(error))
        return f"not applicable here: {reasons[0]}"

    def defense(self, name: str) -> str | None:
        """Try a defense against an attack on the risk that it guards against.

        Returns:
            Why it could be tried on no model; None if it was.
        """
        check_class("defense", name)
        attack, reasons = SHORTEST[registry.get("defense", name).guards], []
        for tiny in self.tiny_models:
            try:
                item = tiny.planned(attack, name)
                self._defend(tiny, item)
                return None
            except NotApplicableError as error:
                reasons.append(str(error))
        return f"not applicable here: {reasons[0]}"

    def _defend(self, tiny: TinyModel, item: Planned) -> None:
        job = item.job
        assert job is not None
        held = tiny.examples(job)
        made = watched(
            lambda: train_alone(job, held, None),
            given=held,
            what="the model that it makes",
            untouched="the training data",
        )
        tiny.models[job.key] = made
        watched(
            lambda: _played(tiny, item, watch=False),
            given=(made.model, tiny.dataset),
            what="what is measured behind it",
            untouched="the trained model or the data",
        )

    def primary(self, risk: Risk) -> str | None:
        """Whether a risk's quickest attack gives the metric that stands for the risk."""
        outcome = self._outcome(risk)
        if outcome.metrics.get(PRIMARY[risk]) is None:
            raise DefectError(f"{SHORTEST[risk]} does not measure it.")
        return None

    def metric(self, name: str) -> str | None:
        """Try another package's metric on what the quickest attack of its risk leaves.

        Returns:
            That it is not defined there; None if it is.
        """
        metric = registry.get("metric", name)()
        outcome = self._outcome(metric.risk)
        if name in outcome.metrics:
            raise DefectError(f"cells of {metric.risk} have a metric of that name. Rename it.")
        value = watched(
            lambda: measured(metric, outcome.samples),
            given=outcome.samples,
            what="its value",
            untouched="the samples",
        )
        return None if value is not None else f"not defined for {SHORTEST[metric.risk]}"

    def _outcome(self, risk: Risk) -> Outcome:
        """What the quickest attack of a risk came to."""
        if risk not in self._outcomes:
            tiny = self.tiny_models[0]
            item = tiny.planned(SHORTEST[risk])
            self._outcomes[risk] = _played(tiny, item, watch=False)
        return self._outcomes[risk]

    def dataset(self, name: str) -> str | None:
        """Read a dataset and look at it.

        Returns:
            That its files are not here; None if they are.
        """
        if datasets.would_download(name, self.source):
            return "not here: it would have to be downloaded."
        if not datasets.is_here(name, self.source):
            return f"not here: {datasets.where(name, self.source).wanted}."
        begin = time.perf_counter()
        try:
            found = datasets.load(name, self.source)
        except datasets.BrokenDatasetError as error:
            raise DefectError(str(error)) from error
        check_dataset(found)
        if time.perf_counter() - begin < QUICK:
            watched(
                lambda: datasets.load.__wrapped__(name, self.source),
                given=found,
                what="what is read",
                untouched="what was read before",
            )
        return None

    def network(self, name: str) -> str | None:
        """Build a network, with numbers in it if it is small, and ask it about a few inputs."""
        shape = _shape_of(name)
        with torch.device("meta"):
            large = sum(p.numel() for p in nets.build(name, shape, 3).parameters()) > LARGE
        device = "meta" if large else "cpu"
        x = torch.rand(4, *shape, device=device, generator=None if large else _stream())

        def build() -> torch.nn.Module:
            with seeded("doctor", name), torch.device(device):
                return nets.build(name, shape, 3)

        if large:
            _check_logits(build().eval()(x))
            return None
        net = watched(build, given=x, what="the network of one seed", untouched="the input")
        with torch.no_grad():
            logits = watched(
                lambda: net.eval()(x), given=x, what="its answer", untouched="the input"
            )
            _check_logits(logits)
            if not torch.allclose(net(x[:1]), logits[:1], rtol=1e-3, atol=1e-4):
                raise DefectError("in eval mode, its answer depends on the other inputs.")
        if any(p.requires_grad for p in net.parameters()):
            net(x).sum().backward()
        if not any(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters()):
            raise DefectError("no gradient reaches its parameters.")
        return None


@dataclass(frozen=True)
class _Task:
    kind: Kind
    name: str
    work: Callable[[], str | None]

    def done(self) -> Finding:
        """What comes of it, whatever it raises."""
        begin = time.perf_counter()
        ok, what = True, None
        try:
            what = self.work()
        except (DefectError, NotFiniteError) as error:
            ok, what = False, str(error)
        except ZooError as error:
            ok = isinstance(error, NotApplicableError)
            what = f"not applicable here: {error}" if ok else str(error)
        except Exception as error:  # somebody's code may fail in any way, which is then reported
            ok, what = False, f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - begin
        text = " ".join(what.split()) if what else None
        return Finding(kind=self.kind, name=self.name, ok=ok, what=text, seconds=seconds)


def _raise(reason: str) -> str | None:
    raise DefectError(reason)


def _stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _played(tiny: TinyModel, item: Planned, *, watch: bool) -> Outcome:
    """The outcome of a planned cell, which is finite.

    Args:
        tiny: Whose.
        item: The cell.
        watch: Whether the attack's ``run`` is watched, where it has one.
    """
    attack: Any = registry.attack(item.cell.attack)
    if watch and hasattr(attack, "run"):
        attack = watching(attack)
    outcome = GAMES[item.cell.risk].play(attack, tiny.scenario(item))
    check_result(outcome.metrics, {}, outcome.samples)
    level = susceptibility(item.cell.risk, outcome.metrics)
    if level is not None and not math.isfinite(level):
        raise DefectError(f"the susceptibility is {level}.")
    return outcome


def _check_poison(attack: Any, dataset: Dataset) -> None:
    """An attack on the training data changes copies of them, by its seed alone."""
    if not isinstance(attack, PoisonsData) or attack.rate == 0:
        return
    data = dataset.all
    watched(
        lambda: attack.poison(
            data, trusted=trusted_index(len(data), 0), num_classes=dataset.num_classes, seed=1
        ),
        given=data,
        what="the poisoned data",
        untouched="the training data",
    )


def check_dataset(found: Dataset) -> None:
    """A dataset is what `Dataset` promises.

    Raises:
        DefectError: With the first thing that is not.
    """
    x, y, n = found.x, found.y, len(found.y)
    if x.dtype != torch.float32 or x.dim() not in (2, 4):
        raise DefectError(
            f"x wants float32 (n, channels, height, width) or (n, features), found {x.dtype} of "
            f"shape {tuple(x.shape)}."
        )
    if y.dtype != torch.int64 or y.shape != (len(x),):
        raise DefectError(f"y wants int64 ({len(x)},), found {y.dtype} of shape {tuple(y.shape)}.")
    if not (n and x.min() >= 0 and x.max() <= 1):  # NaN is neither
        raise DefectError("x has values that are not in [0, 1].")
    if sorted(y.unique().tolist()) != list(range(found.num_classes)):
        raise DefectError(
            f"num_classes is {found.num_classes}, but the labels are "
            f"{y.min()} to {y.max()}, {len(y.unique())} of them."
        )
    for name, attribute in found.z.items():
        if attribute.values.shape != (n,):
            raise DefectError(f"the attribute {name} is of {tuple(attribute.values.shape)}.")
    if not 0 <= found.n_train <= n:
        raise DefectError(f"n_train is {found.n_train} of {n} examples.")


def _shape_of(name: str) -> tuple[int, ...]:
    """The first of `SHAPES` that a network takes."""
    reasons = []
    for shape in SHAPES:
        try:
            with torch.device("meta"):
                nets.build(name, shape, 3)(torch.empty(2, *shape, device="meta"))
            return shape
        except Exception as error:  # networks refuse an input in any way
            reasons.append(f"{type(error).__name__}: {error}")
    raise DefectError(f"it takes none of the inputs that were tried; of the last: {reasons[-1]}")


def _check_logits(found: Any) -> None:
    if not isinstance(found, torch.Tensor) or found.shape != (4, 3):
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise DefectError(f"of 4 inputs and 3 classes it has to give logits (4, 3), found {shape}.")
