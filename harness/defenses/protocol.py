"""What a defense may do: one protocol for each place on the pipeline where it acts.

A defense is a frozen dataclass. Fields are hyperparameters; class variables are facts. It has the
methods of the parts it acts on, and only those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.learning.fit import InputsOf, LossOf
from harness.types import Covered, Defense, Trait

if TYPE_CHECKING:
    from harness.defenses.shared.defender import DefenderData
    from harness.defenses.shared.inspection import Inspection
    from harness.defenses.shared.ownership import Owner
    from harness.metrics.ownership import Verification
    from harness.results import Value
    from harness.target import BlackBox
    from zoo.recipe import Recipe


@runtime_checkable
class HasTraits(Protocol):
    """Makes promises to the defenses that it is applied together with.

    Attributes:
        traits: The promises; a defense without this attribute makes none.
    """

    traits: ClassVar[frozenset[Trait]]


def traits_of(defense: object) -> frozenset[Trait]:
    """What ``defense`` promises; nothing if it does not say."""
    return defense.traits if isinstance(defense, HasTraits) else frozenset()


@runtime_checkable
class TellsWhatItLooksAt(Protocol):
    """Says how it stands to private examples beside a differentially private training.

    A defense that does not say so is taken to look at them.

    Attributes:
        looks_at: Why the guarantee of the training holds for this defense as well; or, in words,
            the private data that it looks at and that the guarantee does not cover. One that acts
            at several places says so of all of them together.
    """

    looks_at: ClassVar[Covered | str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Cleaned:
    """Training data after a defense.

    Attributes:
        data: What to train on instead: what is left of the examples given, in their order, and
            behind it any that were added.
        removed: (n,) bool, which of the examples given it left out; None if it was not to judge
            them, as when it only adds some.
        held_out: (n,) bool, which it keeps for later; None for none.
        notes: Facts for the evidence.
    """

    data: Split
    removed: Tensor | None = None
    held_out: Tensor | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Cleans(Protocol):
    """Acts on the data."""

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """The training data to use instead of ``data``."""
        ...


@runtime_checkable
class Checks(Protocol):
    """Can tell before any training that its settings do not fit."""

    def check(self, n: int, recipe: Recipe) -> None:
        """Raise ZooError if ``n`` training examples and ``recipe`` do not fit the settings."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """Has settings of its own that an owner tunes for accuracy.

    A training with another change to its steps is tuned like the undefended one, by learning rate
    and epochs. A defense says more, or less, where these depend on it or decide how much it does.
    """

    def tunable(self, recipe: Recipe) -> Mapping[str, Sequence[Value]]:
        """By field the values to try, the first being the one without tuning.

        Never what decides how strong the guarantee or the protection is: tuned for accuracy, it
        would be tuned away.

        Args:
            recipe: How the undefended model is trained.
        """
        ...


@runtime_checkable
class Adapts(Protocol):
    """Needs a changed network before training starts."""

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """The network to train, the same for the same input, and notes on what was changed.

        Raises:
            NotApplicableError: The network cannot be made fit; the reason names the layer.
        """
        ...


@runtime_checkable
class Prepares(Adapts, Protocol):
    """Fits what it changed of the network to the training data, before the training starts."""

    def prepare(self, model: nn.Module, data: Split) -> None:
        """Set buffers of ``model``, which `adapt` gave, by the training data.

        Args:
            model: On the device of ``data``.
            data: After every defense that acts on them.
        """
        ...


@runtime_checkable
class ChangesInputs(Protocol):
    """Acts on the inputs of a training step."""

    def inputs(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """The inputs to train on instead of ``batch.x``, same shape; the model's mode is left."""
        ...


@runtime_checkable
class ChangesLoss(Protocol):
    """Acts on the loss of a training step."""

    def loss_for(self, defender: DefenderData) -> LossOf:
        """The loss of one training, which may remember the steps before.

        Returns:
            From the model, a batch of b examples and a CPU generator to the loss of each example
            (b,), to be weighted and averaged. It leaves the model's mode as it is.
        """
        ...


@runtime_checkable
class ReplacesTraining(Protocol):
    """Replaces the training loop."""

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> dict[str, Any]:
        """Train ``model`` in place and return the evidence; the model is a plain one afterwards.

        A loop that does not fit it to all of ``data`` is one that `Spares`, and says in `LEFT_OUT`
        of the evidence which it left out.

        Args:
            model: On the device of ``data``.
            data: The training data.
            recipe: How to train.
            seed: Of all randomness.
            inputs: Another defense's change to the inputs of each step.
        """
        ...


class FitsToLoss(ReplacesTraining, Protocol):
    """Replaces the training loop by one that takes the loss of another defense.

    Not told by its methods but by its parts: it acts on the gradients or the schedule, and not on
    the loss itself.
    """

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
        loss: LossOf | None = None,
    ) -> dict[str, Any]:
        """Train as `ReplacesTraining.fit` does.

        ``loss`` is the other defense's; None for cross-entropy.
        """
        ...


LEFT_OUT = "not_fitted_to"
"""Of the evidence of `ReplacesTraining.fit`: where the examples are that it left out."""


@runtime_checkable
class Spares(ReplacesTraining, Protocol):
    """Replaces the training loop by one that is not fitted to all examples."""

    def spared(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> Tensor:
        """Which of ``data`` (n,) bool a training would leave out.

        The arguments are `ReplacesTraining.fit`'s.

        ``model`` may be changed.

        Raises:
            NotApplicableError: It cannot be said.
        """
        ...


@runtime_checkable
class Releases(Protocol):
    """Decides what others get to see of a training step."""

    def release(
        self,
        model: nn.Module,
        batch: Split,
        *,
        seed: int,
        evidence: Mapping[str, Any],
        inputs: InputsOf | None = None,
        loss: LossOf | None = None,
    ) -> tuple[Tensor, ...]:
        """The gradient of one step, as it leaves the owner's machine.

        Args:
            model: Left as it is.
            batch: Its examples.
            seed: Of all randomness.
            evidence: What the defense reported of the whole training.
            inputs: Another defense's change to the inputs of the step.
            loss: Another defense's loss.

        Returns:
            One tensor for each parameter that requires a gradient, in the order of the model.
        """
        ...


@runtime_checkable
class Edits(Protocol):
    """Acts on the trained model."""

    def edit(self, model: nn.Module, data: Split, defender: DefenderData) -> nn.Module:
        """The model to use instead; it has the same state-dict keys."""
        ...


@runtime_checkable
class GuardsOutputs(Protocol):
    """Acts on the answers."""

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """A model whose answers are what the attacker may see.

        One that changes decisions, and gives another answer to whoever differentiates it, is a
        `harness.learning.scores.Redecides`; if its decisions are draws, `Draws` of
        the same.
        """
        ...


@runtime_checkable
class GuardsBySecond(Defense, GuardsOutputs, Protocol):
    """A guard that learns from a second model of the owner's, trained without defenses.

    It finds that model and its seed where it was planned, in
    `harness.defenses.shared.defender.DefenderData.seconds`.
    """

    def second(self, n: int, seed: int) -> Tensor:
        """Which (k,) int64 of ``n`` training examples the second model is trained on.

        Args:
            n: Examples, as they were collected.
            seed: Of the owner's defenses.
        """
        ...


@runtime_checkable
class Certifies(Protocol):
    """An output defense that proves how far each input may be moved."""

    def certify(
        self, model: nn.Module, x: Tensor, defender: DefenderData, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Certified labels (n,) int64, -1 for none, and L2 radii (n,) in units of the pixel range.

        Args:
            model: Before the guard.
            x: Inputs (n, ...).
            defender: The owner's means.
            seed: Of the randomness.
        """
        ...


@runtime_checkable
class InspectsModels(Protocol):
    """Says of a finished model whether it is backdoored."""

    def inspect(self, model: nn.Module, defender: DefenderData) -> Inspection:
        """The verdict on ``model``, which is in eval mode with frozen parameters.

        Raises:
            NotApplicableError: The model cannot be inspected, as with a single class.
        """
        ...


@runtime_checkable
class FiltersInputs(Protocol):
    """Says of inputs whether they carry a trigger."""

    def suspicious(self, model: nn.Module, x: Tensor, defender: DefenderData) -> Tensor:
        """Which of ``x`` (n, ...) are rejected, (n,) bool; each is judged by itself."""
        ...


@runtime_checkable
class ProvesOwnership(Defense, Protocol):
    """Can tell whether a suspect was made from the owner's model.

    Attributes:
        independents: How many independent models the false claims are counted on.
    """

    @property
    def independents(self) -> int:
        """How many independent models are made."""
        ...

    def verifier(self, owner: Owner) -> Callable[[BlackBox], Verification]:
        """A test of suspects; what they have in common is computed once."""
        ...
