"""What an attack is, and what it is handed: a protocol and a class of data for each game.

An attack is a frozen dataclass of hyperparameters. That of a risk fits the protocol of its game.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

from harness.data.examples import Column, Split
from harness.types import Attack

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.data.dataset import Dataset
    from harness.target import BlackBox


@dataclass(frozen=True, eq=False, kw_only=True)
class AttackerData:
    """What every attacker is told of the target, and all that some are handed.

    Attributes:
        num_classes: Labels are 0 .. num_classes - 1.
        architecture: Of the target, as the attacker supposes it.
        input_shape: (channels, height, width) or (features,) of the target's input.
        columns: Where the columns of a table are in its input; empty for images.
        source: A model of the catalog that the attacker also has, in eval mode with frozen
            parameters; None unless the attack's ``source`` names one.
        doubts: Where the attack writes, for people, which of its own trainings came to nothing; see
            `harness.attacks.shared.convergence`.
    """

    num_classes: int
    architecture: str
    input_shape: tuple[int, ...]
    columns: tuple[Column, ...] = ()
    source: nn.Module | None = None
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False, kw_only=True)
class AttackedPoints(AttackerData):
    """The data of an attack, or of an audit, that is on single examples.

    Attributes:
        points: The examples, with their true labels: inputs to perturb, or those in question.
    """

    points: Split


@dataclass(frozen=True, eq=False, kw_only=True)
class AuxiliaryData(AttackerData):
    """The data of an attack on the model as a whole: of a thief, or of who inverts it.

    Attributes:
        aux: The auxiliary data of the threat model; empty if it grants none.
    """

    aux: Split


@dataclass(frozen=True, eq=False, kw_only=True)
class EvasionData(AttackedPoints, AuxiliaryData):
    """The data of an attack that evades: ``points`` are the inputs to perturb."""


@runtime_checkable
class Resolves(Protocol):
    """A method with settings whose default depends on the dataset: an attack or a defense."""

    def resolve(self, dataset: Dataset) -> Self:
        """The method with those settings filled in.

        Raises:
            ZooError: A setting does not fit the dataset.
        """
        ...


@runtime_checkable
class ReadsNetwork(Attack, Protocol):
    """An attack that not every architecture is open to."""

    def check_network(self, network: nn.Module) -> None:
        """Refuse a network of the target's architecture, whose weights do not matter.

        Raises:
            NotApplicableError: With what it has that the attack cannot read.
        """
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaded:
    """Perturbed inputs, and reasons not to trust the robustness that they show.

    Attributes:
        x: The shape of the inputs.
        flags: Such as ``randomised defense`` or ``zero gradients``; for people.
    """

    x: Tensor
    flags: tuple[str, ...] = ()


class Evades(Attack, Protocol):
    """An attack that perturbs inputs within a ball.

    Attributes:
        epsilon: Radius of the ball; None where `Resolves.resolve` has yet to fill it in.
        norm: What it is measured in.
    """

    @property
    def epsilon(self) -> float | None:
        """Radius of the ball; None where `Resolves.resolve` has yet to fill it in."""
        ...

    @property
    def norm(self) -> Literal["linf", "l2"]:
        """What it is measured in."""
        ...

    def run(self, target: BlackBox, data: EvasionData, *, seed: int) -> Tensor | Evaded:
        """Perturbed inputs, the shape of ``data.points.x``."""
        ...


class Steals(Attack, Protocol):
    """An attack that copies the target."""

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The copy, in eval mode."""
        ...


class InvertsModels(Attack, Protocol):
    """An attack that shows what the classes of the training data look like."""

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> Tensor:
        """Inputs of each class, (num_classes, samples, *input_shape) in [0, 1].

        Args:
            target: What is inverted.
            data: Without labels.
            seed: Of the attack's randomness.
        """
        ...


class AuditsGroups(Attack, Protocol):
    """An audit of how the target treats groups of people.

    Attributes:
        attribute: Which tells the groups apart; None where `Resolves.resolve` has yet to name it.
        smallest: Fewest examples of a group that a rate may rest on.
    """

    @property
    def attribute(self) -> str | None:
        """Which tells the groups apart; None where `Resolves.resolve` has yet to name it."""
        ...

    @property
    def smallest(self) -> int:
        """Fewest examples of a group that a rate may rest on."""
        ...

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """The answers: scores (n, num_classes), or labels (n,) int64."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Poisoned:
    """Training data after an attack.

    Attributes:
        data: What to train on: the examples given, changed or not, in their order.
        poisoned: (n,) bool, which of its examples the attacker changed.
        left_out: Which of the examples given (bool) are not among them; None for none.
    """

    data: Split
    poisoned: Tensor
    left_out: Tensor | None = None


@runtime_checkable
class TrainsSurrogate(Steals, Protocol):
    """A thief who trains a network of its own.

    Attributes:
        surrogate: Its architecture; None for the target's.
    """

    @property
    def surrogate(self) -> str | None:
        """Architecture of the surrogate; the target's own if not given."""
        ...


@runtime_checkable
class LearnsLabels(TrainsSurrogate, Protocol):
    """A thief whose surrogate can also learn from true labels, without a query.

    That is what its queries have to beat. Both surrogates come from the same lines of code, so that
    nothing but what they learn from differs.
    """

    def unasked(self, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The surrogate of the same settings and seed, from all that the thief holds with labels.

        Args:
            data: ``aux`` is what it holds.
            seed: That of ``run``.
        """
        ...


@runtime_checkable
class UsesShadows(Protocol):
    """An attack with shadow models.

    Attributes:
        shadows: How many.
    """

    @property
    def shadows(self) -> int:
        """How many shadow models it uses."""
        ...


@runtime_checkable
class PoisonsData(Attack, Protocol):
    """An attack for which the training data are changed before the target is trained.

    Attributes:
        rate: Share of the training data that is changed; None where `Resolves.resolve` has yet to
            fill it in.
    """

    @property
    def rate(self) -> float | None:
        """Share of the training data that is changed."""
        ...

    def poison(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Poisoned:
        """Change a share of ``data``.

        Args:
            data: The training data.
            trusted: Indices (m,) that the attacker cannot reach.
            num_classes: Labels are 0 .. num_classes - 1.
            seed: Which examples, and any randomness of the trigger.

        Raises:
            ZooError: The rate would leave a class without a clean example, or asks for more
                examples than there are.
        """
        ...


@runtime_checkable
class Poison(PoisonsData, Protocol):
    """An attack on the training data. It has no ``run``: the owner trains the model.

    With a ``rate`` of 0 only the trigger is tried: what a model does that never saw it, or one that
    came with a backdoor.
    """

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Inputs (n, ...) with the trigger; ``x`` itself if the attack has none.

        The seed is that of `poison`.
        """
        ...

    def applies(self, y: Tensor) -> Tensor:
        """Which examples (n,) bool the attack can succeed on, by their true labels."""
        ...

    def success(self, predicted: Tensor, y: Tensor, *, num_classes: int) -> Tensor:
        """Which answers (n,) bool are what the attacker wants, where `applies` holds."""
        ...
