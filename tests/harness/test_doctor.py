"""The doctor finds what is wrong with a method, and nothing wrong with ours."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.fgsm import FGSM
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.doctor.examine import KINDS, Doctor, check_dataset
from harness.doctor.tiny_models import SHORTEST, SMALL, rows
from harness.doctor.watching import DefectError
from harness.types import Access, Aux, Covered, NotApplicableError, Part, Risk
from zoo import nets, plugins
from zoo.errors import UnknownNameError, ZooError


@dataclass(frozen=True, kw_only=True)
class _Attack:
    """An attack on membership with nothing wrong with it.

    Attributes:
        scale: Of the scores.
    """

    name: ClassVar[str] = "mine"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Nobody (2026), https://arxiv.org/abs/2600.00000"

    scale: float = 1.0

    def run(self, target, data, *, seed):
        return target.scores(data.points.x).amax(1) * self.scale


class _Changed(_Attack):
    """Like the other.

    Attributes:
        scale: Of the scores.
    """


class DrawsTorch(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        return torch.rand(len(data.points))


class DrawsNumpy(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        return torch.from_numpy(np.random.rand(len(data.points)))


class DrawsPython(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        return torch.tensor([random.random() for _ in data.points.y])


class SetsSeed(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        torch.manual_seed(seed)
        return torch.rand(len(data.points))


class DrawsAndHides(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        state = torch.get_rng_state()
        found = torch.rand(len(data.points))
        torch.set_rng_state(state)
        return found


class Counts(_Changed):
    __doc__ = _Changed.__doc__
    calls: ClassVar[list[int]] = []

    def run(self, target, data, *, seed):
        self.calls.append(1)
        return super().run(target, data, seed=seed) + len(self.calls)


class ChangesData(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        data.points.x.mul_(0.5)
        return super().run(target, data, seed=seed)


class ChangesModel(_Changed):
    __doc__ = _Changed.__doc__
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)

    def run(self, target, data, *, seed):
        for p in target.model.parameters():
            p.data.add_(0.01)
        return super().run(target, data, seed=seed)


class TrainsModel(_Changed):
    __doc__ = _Changed.__doc__
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)

    def run(self, target, data, *, seed):
        target.model.train()
        return super().run(target, data, seed=seed)


class NotFinite(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        return super().run(target, data, seed=seed).log().sub(1).sqrt()


class Raises(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        raise KeyError("points")


class AsksMore(_Changed):
    __doc__ = _Changed.__doc__
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)


class Refuses(_Changed):
    __doc__ = _Changed.__doc__

    def run(self, target, data, *, seed):
        raise NotApplicableError("it wants sounds, found images.")


@dataclass(frozen=True, kw_only=True)
class Undocumented(_Attack):
    """An attack whose setting is a riddle."""

    speed: int = 1


@dataclass(frozen=True, kw_only=True)
class Mutable(_Attack):
    """An attack with a list.

    Attributes:
        scale: Of the scores.
        parts: Several.
    """

    parts: list = field(default_factory=list)


@dataclass(frozen=True)
class Positional(_Attack):
    """An attack whose settings have places.

    Attributes:
        scale: Of the scores.
        speed: Of it.
    """

    speed: int = 1


class NoReference(_Changed):
    __doc__ = _Changed.__doc__
    reference: ClassVar[str] = ""


class NoRisk(_Changed):
    __doc__ = _Changed.__doc__
    risk: ClassVar[str] = "membership-inference"


class NoRun(_Changed):
    __doc__ = _Changed.__doc__
    run = None


class Needs(_Changed):
    __doc__ = _Changed.__doc__

    def __init__(self, model):
        pass


@dataclass(frozen=True, kw_only=True)
class _Defense:
    """A defense that hides nothing."""

    name: ClassVar[str] = "mine"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Nobody (2026), https://arxiv.org/abs/2600.00000"

    def guard(self, model, defender):
        return model


class _Noise(nn.Module):
    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        return self.change(self.model(x))


class GuardsByLuck(_Defense):
    """Adds noise from anywhere."""

    def guard(self, model, defender):
        return _Noise(model, lambda logits: logits + torch.rand(1))


class GuardChangesModel(_Defense):
    """Takes the model apart."""

    def guard(self, model, defender):
        for p in model.parameters():
            p.data.mul_(0.9)
        return model


class GuardsNothing(_Defense):
    """Says it acts on the answers."""

    guard = None
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})


class GuardIsNaN(_Defense):
    """Divides by zero."""

    def guard(self, model, defender):
        return _Noise(model, lambda logits: logits / 0 - logits / 0)


class EditsByLuck(_Defense):
    """Changes weights by luck."""

    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})
    guard = None

    def edit(self, model, data, defender):
        model.load_state_dict(
            {k: v + 0.01 * torch.randn_like(v) for k, v in model.state_dict().items()
             if v.is_floating_point()}, strict=False,
        )  # fmt: skip
        return model


class CleansInPlace(_Defense):
    """Blanks the training data."""

    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    guard = None

    def clean(self, data, defender):
        data.x.zero_()
        from harness.defenses.protocol import Cleaned

        return Cleaned(data=data)


class _Metric:
    """Accuracy on perturbed inputs."""

    name: ClassVar[str] = "mine"
    risk: ClassVar[Risk] = Risk.EVASION
    direction: ClassVar[str] = "higher is safer"
    reference: ClassVar[str] = "Nobody (2026), https://arxiv.org/abs/2600.00000"

    def measure(self, samples):
        return float((samples["perturbed"] == samples["label"]).mean())


class MetricIsNaN(_Metric):
    """No number."""

    def measure(self, samples):
        return float("nan")


class MetricByLuck(_Metric):
    """A number."""

    def measure(self, samples):
        return float(np.random.rand())


class MetricChanges(_Metric):
    """Sorts."""

    def measure(self, samples):
        samples["size"][:] = 0
        return 0.5


class MetricPoints(_Metric):
    """No direction."""

    direction: ClassVar[str] = "up"


class MetricOfColumns(_Metric):
    """Of a column that nobody has."""

    def measure(self, samples):
        return float(samples["speed"].mean())


class Nothing:
    """Nothing at all."""


def _digits(source: DataLocation) -> Dataset:
    return replace(datasets.load("digits", source), name="mine")


def _too_bright(source: DataLocation) -> Dataset:
    found = _digits(source)
    return replace(found, x=found.x * 16)


def _by_luck(source: DataLocation) -> Dataset:
    found = _digits(source)
    return replace(found, x=torch.rand(found.x.shape))


def _more_classes(source: DataLocation) -> Dataset:
    return replace(_digits(source), num_classes=11)


def _broken(source: DataLocation) -> Dataset:
    raise IndexError("list index out of range")


def _linear(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), num_classes))


def _one_more(input_shape, num_classes):
    return _linear(input_shape, num_classes + 1)


class _Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def _mixes(input_shape, num_classes):
    return nn.Sequential(_linear(input_shape, num_classes), _Centred())


def _without_gradient(input_shape, num_classes):
    return _linear(input_shape, num_classes).requires_grad_(False)


def _fails(input_shape, num_classes):
    raise IndexError("tuple index out of range")


def _is_text(input_shape, num_classes):
    return "network"


@pytest.fixture(scope="module")
def doctor() -> Doctor:
    return Doctor()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Have one more package, whose one entry point is called ``mine``."""
    caches = (registry._plugins, datasets._plugins, nets.registry._plugins, datasets.load)

    def now(group: str, found: object) -> None:
        points = [EntryPoint("mine", "somewhere:mine", group)]
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [p for p in points if p.group == group]
        )
        monkeypatch.setattr(EntryPoint, "load", lambda point: found)
        for cache in caches:
            cache.cache_clear()

    yield now
    for cache in caches:
        cache.cache_clear()


GROUPS = {
    "attack": "harness.attacks",
    "defense": "harness.defenses",
    "metric": "harness.metrics",
    "dataset": "harness.datasets",
    "network": "zoo.networks",
}
GLOBAL = "it draws from or sets the global random numbers of"
DEFECTS = [
    ("attack", DrawsTorch, f"{GLOBAL} torch"),
    ("attack", DrawsNumpy, f"{GLOBAL} numpy"),
    ("attack", DrawsPython, f"{GLOBAL} random"),
    ("attack", SetsSeed, f"{GLOBAL} torch"),
    ("attack", DrawsAndHides, "its result is another one when it is made again with the same seed."),
    ("attack", Counts, "its result is another one when it is made again with the same seed."),
    ("attack", ChangesData, "it changes the model or the data that it is handed; work on a copy."),
    ("attack", ChangesModel, "it changes the model or the data"),
    ("attack", TrainsModel, "it changes the model or the data"),
    ("attack", NotFinite, "its result is not finite: "),
    ("attack", Raises, "KeyError: 'points'"),
    ("attack", AsksMore, "its class grants it less: The attack wants scores, but the target gives labels only."),
    ("attack", Undocumented, "the setting scale is not in the docstring of its class, under Attributes."),
    ("attack", Mutable, "the setting parts has to be a text, a number, a bool or None, found list"),
    ("attack", Positional, "the setting speed is not keyword-only."),
    ("attack", NoReference, "somewhere:mine: NoReference.reference wants a text, found ''."),
    ("attack", NoRisk, "somewhere:mine: NoRisk.risk wants a Risk, found 'membership-inference'."),
    ("attack", NoRun, "somewhere:mine: NoRun has no method run or poison."),
    ("attack", Needs, "somewhere:mine: Needs() without arguments fails: TypeError: "),
    ("attack", Nothing, "somewhere:mine: Nothing is no frozen dataclass."),
    ("defense", GuardsByLuck, f"{GLOBAL} torch"),
    ("defense", GuardChangesModel, "it changes the trained model or the data; work on a copy."),
    ("defense", GuardsNothing, "it acts on model, but is no Edits of harness.defenses.protocol."),
    ("defense", GuardIsNaN, "the model's answers are not finite"),
    ("defense", EditsByLuck, f"{GLOBAL} torch"),
    ("defense", CleansInPlace, "it changes the training data; work on a copy."),
    ("defense", _Attack, "somewhere:mine: _Attack.guards wants a Risk, found None."),
    ("metric", MetricIsNaN, "ValueError: it has to be a finite number or None, found nan"),
    ("metric", MetricByLuck, f"{GLOBAL} numpy"),
    ("metric", MetricChanges, "it changes the samples; work on a copy."),
    ("metric", MetricPoints, "somewhere:mine: MetricPoints.direction wants 'higher is worse' or"),
    ("metric", MetricOfColumns, "KeyError: 'speed'"),
    ("dataset", _too_bright, "x has values that are not in [0, 1]."),
    ("dataset", _by_luck, f"{GLOBAL} torch"),
    ("dataset", _more_classes, "num_classes is 11, but the labels are 0 to 9, 10 of them."),
    ("dataset", _broken, "The dataset 'mine' of somewhere:mine cannot be read: IndexError: list"),
    ("dataset", "no function", "somewhere:mine: it is no function but 'no function'."),
    ("network", _one_more, "of 4 inputs and 3 classes it has to give logits (4, 3), found (4, 4)."),
    ("network", _mixes, "in eval mode, its answer depends on the other inputs."),
    ("network", _without_gradient, "no gradient reaches its parameters."),
    ("network", _fails, "it takes none of the inputs that were tried"),
    ("network", _is_text, "it takes none of the inputs that were tried"),
]  # fmt: skip


def test_a_method_that_always_refuses_is_no_good_one(monkeypatch) -> None:
    """Only what does not apply is excused."""

    def refuses(*_, **__):
        raise ZooError("nothing works today")

    monkeypatch.setattr(FGSM, "run", refuses)
    (found,) = Doctor(DataLocation()).examine(names=["fgsm"])
    assert (found.ok, found.what) == (False, "nothing works today")


@pytest.mark.filterwarnings("ignore:The .* is left out")
@pytest.mark.parametrize(("kind", "made", "line"), DEFECTS)
def test_a_defect_is_found_and_named(kind, made, line, doctor, install) -> None:
    install(GROUPS[kind], made)
    (found,) = doctor.examine([kind], ["mine"])
    assert not found.ok
    assert found.what.startswith(line), found.what
    assert "\n" not in found.what


@pytest.mark.parametrize(
    ("kind", "made"),
    [("attack", _Attack), ("defense", _Defense), ("metric", _Metric), ("dataset", _digits),
     ("network", _linear)],
)  # fmt: skip
def test_what_is_well_is_called_well(kind, made, doctor, install) -> None:
    install(GROUPS[kind], made)
    (found,) = doctor.examine([kind], ["mine"])
    assert (found.ok, found.what) == (True, None)


def test_what_refuses_every_model_is_not_wrong_and_says_why(doctor, install) -> None:
    install(GROUPS["attack"], Refuses)
    (found,) = doctor.examine(["attack"], ["mine"])
    assert found.ok
    assert found.what == "not applicable here: it wants sounds, found images."


OURS = [
    *(("attack", name) for name in registry.ATTACKS),
    *(("defense", name) for name in registry.DEFENSES),
    *(("network", name) for name in nets.registry.ARCHITECTURES),
    *(("dataset", name) for name in ("digits", "digits-noisy", "digits-tinted", "photo-patches")),
]


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_ours_are_tried_and_well(kind, name, doctor) -> None:
    (found,) = doctor.examine([kind], [name])
    assert (found.ok, found.what) == (True, None)


def test_every_primary_metric_is_measured(doctor) -> None:
    found = doctor.examine(["metric"])
    assert len(found) == len(Risk)
    assert [one for one in found if not one.ok or one.what] == []


@pytest.mark.parametrize("name", ["cifar10", "adult", "lfw"])
def test_a_dataset_that_is_not_here_is_not_wrong_and_not_downloaded(
    name, doctor, monkeypatch
) -> None:
    monkeypatch.setattr(datasets.openml, "fetch", lambda *_: pytest.fail("it asks OpenML"))
    (found,) = doctor.examine(["dataset"], [name])
    assert found.ok
    assert found.what.startswith("not here: ")


@pytest.mark.mirror
def test_a_table_that_is_here_is_read(mirror) -> None:
    (found,) = Doctor(DataLocation(mirror=mirror)).examine(["dataset"], ["german"])
    assert (found.ok, found.what) == (True, None)


def test_an_unknown_name_shows_the_nearest(doctor) -> None:
    with pytest.raises(UnknownNameError, match=r"No attack or defense 'pgdd'. Nearest: pgd"):
        doctor.examine(["attack", "defense"], ["pgdd"])


def test_a_table_without_its_labels_is_no_dataset() -> None:
    with pytest.raises(DefectError, match="y wants int64"):
        check_dataset(replace(rows(), y=rows().y[:5]))


def test_what_is_written_down_is_registered() -> None:
    methods = registry.known("attack").keys() | registry.known("defense").keys()
    assert SMALL.keys() | set(SHORTEST.values()) <= methods
    assert SHORTEST.keys() == set(Risk)
    assert set(KINDS) == GROUPS.keys()
