"""Several defenses on one model: which combinations make sense, and each acting at its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from harness.types import Part, Risk, Split
from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import nn

    from zoo.recipe import Recipe


class Defense(Protocol):
    """One way to guard a model. Fields are hyperparameters; class variables are facts.

    A defense has the methods of the parts it acts on, and only those: see the protocols below.
    """

    name: ClassVar[str]
    guards: ClassVar[Risk]
    acts_on: ClassVar[frozenset[Part]]
    reference: ClassVar[str]


@runtime_checkable
class Cleans(Protocol):
    """Acts on the data."""

    def clean(self, data: Split, *, seed: int) -> Split:
        """The training data to use instead of ``data``."""
        ...


@runtime_checkable
class Checks(Protocol):
    """Can tell before any training that its settings do not fit."""

    def check(self, n: int, recipe: Recipe) -> None:
        """Raise ZooError if ``n`` training examples and ``recipe`` do not fit the settings."""
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
class TrainsOnGradients(Protocol):
    """Replaces how gradients become steps."""

    def fit(self, model: nn.Module, data: Split, recipe: Recipe, *, seed: int) -> dict[str, Any]:
        """Train ``model`` in place and return the evidence; the model is a plain one afterwards."""
        ...


@runtime_checkable
class Edits(Protocol):
    """Acts on the trained model."""

    def edit(self, model: nn.Module, data: Split, *, seed: int) -> nn.Module:
        """The model to use instead; it has the same state-dict keys."""
        ...


@runtime_checkable
class Guards(Protocol):
    """Acts on the answers."""

    def guard(self, model: nn.Module) -> nn.Module:
        """A model whose answers are what the attacker may see."""
        ...


class NotApplicableError(ZooError):
    """A defense or a combination that cannot be; the reason is a result, and is shown."""


_ONLY_ONE = {
    Part.INPUTS: "the inputs of a training step",
    Part.LOSS: "the loss of a training step",
    Part.GRADIENTS: "the gradients of a training step",
}


@dataclass(frozen=True)
class Stack:
    """Defenses that are applied together, in the order of the pipeline."""

    defenses: tuple[Defense, ...]

    @classmethod
    def of(cls, defenses: Sequence[Defense]) -> Stack:
        """Compose ``defenses``; the order they are given in does not matter.

        Raises:
            NotApplicableError: Two of them change the same part of a training step.
        """
        for part, words in _ONLY_ONE.items():
            names = [d.name for d in defenses if part in d.acts_on]
            if len(names) > 1:
                raise NotApplicableError(f"{' and '.join(sorted(names))} both change {words}.")
        return cls(tuple(sorted(defenses, key=lambda d: d.name)))

    @property
    def trained_with(self) -> tuple[Defense, ...]:
        """The defenses that need a model trained for them; the others only guard its answers."""
        return tuple(d for d in self.defenses if d.acts_on - {Part.OUTPUT})

    def clean(self, data: Split, *, seed: int) -> Split:
        """The data after every defense that acts on it."""
        for defense in self.defenses:
            if isinstance(defense, Cleans):
                data = defense.clean(data, seed=seed)
        return data

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """The network to train, and notes on what was changed."""
        notes: dict[str, Any] = {}
        for defense in self.defenses:
            if isinstance(defense, Adapts):
                model, changed = defense.adapt(model, fine_tuned=fine_tuned)
                notes |= changed
        return model, notes

    @property
    def gradients(self) -> TrainsOnGradients | None:
        """The one defense that turns gradients into steps, if there is one."""
        for defense in self.defenses:
            if isinstance(defense, TrainsOnGradients):
                return defense
        return None

    def edit(self, model: nn.Module, data: Split, *, seed: int) -> nn.Module:
        """The trained model after every defense that changes it."""
        for defense in self.defenses:
            if isinstance(defense, Edits):
                model = defense.edit(model, data, seed=seed)
        return model

    def guard(self, model: nn.Module) -> nn.Module:
        """The model as it answers."""
        for defense in self.defenses:
            if isinstance(defense, Guards):
                model = defense.guard(model)
        return model
