"""Several defenses on one model: which combinations make sense, and each acting at its place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from harness.data.examples import Split
from harness.defenses.protocol import (
    Adapts,
    Certifies,
    ChangesInputs,
    ChangesLoss,
    Cleans,
    Defense,
    Edits,
    GuardsBySecond,
    GuardsOutputs,
    Prepares,
    Releases,
    ReplacesTraining,
    TellsWhatItLooksAt,
    traits_of,
)
from harness.defenses.shared.defender import Second
from harness.learning.fit import step_loss
from harness.seeds import generator, seeded
from harness.types import Covered, NotApplicableError, Part, Risk, Trait, UnfitError
from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.defenses.shared.defender import DefenderData
    from harness.learning.fit import InputsOf, LossOf

_ONLY_ONE = {
    Part.INPUTS: "the inputs of a training step",
    Part.LOSS: "the loss of a training step",
    Part.GRADIENTS: "the gradients of a training step",
    Part.SCHEDULE: "how long the training lasts",
}

TAKES_LOSS = frozenset({Part.GRADIENTS, Part.SCHEDULE})
"""Parts that a training loop may act on and still take the loss of another defense."""

TRAINING = frozenset({Part.DATA, Part.NETWORK, *_ONLY_ONE})
"""Parts whose defenses need a model trained for them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """Training data after every defense that acts on them.

    Attributes:
        data: What the training loop is given.
        rows: (m,) int64, which of the examples given are the first m of ``data``; behind them is
            what was added.
        refitted: (n,) bool, which of the examples given the model is fitted to after the loop.
        judges: Whether some defense decides which examples are trained on.
        notes: Facts for the evidence.
    """

    data: Split
    rows: Tensor
    refitted: Tensor
    judges: bool
    notes: dict[str, Any]

    def left_out(self, spared: Tensor | None) -> Tensor:
        """Which of the examples given the model is not fitted to, (n,) bool.

        Args:
            spared: Which of ``data`` (bool) the loop leaves out; None for none.
        """
        found = torch.ones_like(self.refitted)
        rows = self.rows if spared is None else self.rows[~spared[: len(self.rows)].cpu()]
        found[rows] = False
        return found & ~self.refitted


@dataclass(frozen=True)
class Stack:
    """Defenses that are applied together, in the order of the pipeline."""

    defenses: tuple[Defense, ...]

    @classmethod
    def of(cls, defenses: Sequence[Defense]) -> Stack:
        """Compose ``defenses``; the order they are given in does not matter.

        Raises:
            NotApplicableError: Two of them change the same part of a training step, one needs the
                whole step for itself, or one edits a network where another makes several.
        """
        for part, words in _ONLY_ONE.items():
            names = [d.name for d in defenses if part in d.acts_on]
            if len(names) > 1:
                raise UnfitError(f"{' and '.join(sorted(names))} both change {words}.")
        loops = [d for d in defenses if isinstance(d, ReplacesTraining)]
        losses = [d for d in defenses if isinstance(d, ChangesLoss)]
        if len(loops) > 1:
            names = " and ".join(sorted(d.name for d in loops))
            raise UnfitError(f"{names} both have a training loop of their own.")
        if losses and any(not d.acts_on & TAKES_LOSS for d in loops):
            raise UnfitError(
                f"{loops[0].name} has a training loop of its own, which cannot use the loss of "
                f"{losses[0].name}."
            )
        # Such a loss asks the model about inputs of its own.
        if any(Part.GRADIENTS in d.acts_on for d in loops) and any(
            Part.INPUTS in d.acts_on for d in losses
        ):
            raise UnfitError(
                f"{losses[0].name} goes through the model several times in a step, so "
                f"{loops[0].name} cannot tell each example's gradient."
            )
        mixtures = [d.name for d in defenses if Trait.MAKES_MIXTURE in traits_of(d)]
        editing = sorted(d.name for d in defenses if Trait.EDITS_ONE_NETWORK in traits_of(d))
        if mixtures and editing:
            raise UnfitError(
                f"{mixtures[0]} makes a mixture of networks, which have no layer in common that "
                f"{editing[0]} could change."
            )
        deciding = sorted(d.name for d in defenses if _decides(d))
        if len(deciding) > 1:
            raise UnfitError(f"{' and '.join(deciding)} both decide the answers.")
        return cls(tuple(sorted(defenses, key=lambda d: (_turn(d), d.name))))

    def __str__(self) -> str:
        return "+".join(d.name for d in self.defenses)

    @property
    def is_trained(self) -> bool:
        """Whether some defense needs a model trained for it."""
        return any(d.acts_on & TRAINING for d in self.defenses)

    @property
    def makes_model(self) -> tuple[Defense, ...]:
        """The defenses that the model's weights depend on; the others guard, inspect or prove."""
        return tuple(d for d in self.defenses if d.acts_on & (TRAINING | {Part.MODEL}))

    @property
    def not_covered(self) -> tuple[str, ...]:
        """Defenses that a guarantee of differential privacy leaves out, and what they look at."""
        looks = {
            d.name: d.looks_at if isinstance(d, TellsWhatItLooksAt) else "it does not say what"
            for d in self.defenses
        }
        return tuple(
            f"{name} ({what})" for name, what in looks.items() if not isinstance(what, Covered)
        )

    def clean(
        self,
        data: Split,
        defender: DefenderData,
        poisoned: Tensor | None = None,
        trusted: Tensor | None = None,
    ) -> Prepared:
        """The data after every defense that acts on it, and how well poison was found.

        Args:
            data: The training data.
            defender: The owner's means.
            poisoned: (n,) bool, the truth, which no defense sees; None if nothing is poisoned.
            trusted: Which of ``data`` (int64) the owner has checked; None for none.

        Raises:
            NotApplicableError: No example of some class is left.
            RuntimeError: A defense leaves examples out and does not say which: its defect.
        """
        notes: dict[str, Any] = {}
        given = data
        removed = torch.zeros(len(given), dtype=torch.bool)
        seen = torch.ones(len(given), dtype=torch.bool)  # by what judges examples
        rows = torch.arange(len(given))  # of what was given, that are still there
        refitted = torch.zeros(len(given), dtype=torch.bool)
        if trusted is not None and any(Trait.FITS_TRUSTED in traits_of(d) for d in self.defenses):
            refitted[trusted.cpu()] = True
        judged = held = False
        for defense in self.defenses:
            if not isinstance(defense, Cleans):
                continue
            found = defense.clean(data, defender)
            data = found.data
            notes |= found.notes
            if found.held_out is not None:
                held = True
                out = found.held_out.cpu()
                seen[rows[out]] = False
                if isinstance(defense, Edits):
                    refitted[rows[out]] = True
                rows = rows[~out]
            if found.removed is not None:
                judged = True
                out = found.removed.cpu()
                removed[rows[out]] = True
                rows = rows[~out]
            if len(data) < len(rows):
                raise RuntimeError(
                    f"{defense.name} has to say which examples it leaves out: of {len(rows)} it "
                    f"gives back {len(data)}"
                )
        if judged:
            lost = sorted(set(given.y.tolist()) - set(data.y.tolist()))
            if lost:
                raise NotApplicableError(
                    f"{self} leaves no example of class {lost[0]} to train on. Let it remove less."
                )
            notes["removed"] = int(removed.sum())
            if poisoned is not None:
                truth = poisoned.cpu()
                notes["removal_tpr"] = _share(removed[truth & seen])
                notes["removal_fpr"] = _share(removed[~truth & seen])
        return Prepared(data=data, rows=rows, refitted=refitted, judges=judged or held, notes=notes)

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """The network to train, and notes on what was changed."""
        notes: dict[str, Any] = {}
        for defense in self.defenses:
            if isinstance(defense, Adapts):
                model, changed = defense.adapt(model, fine_tuned=fine_tuned)
                notes |= changed
        return model, notes

    def prepare(self, model: nn.Module, data: Split) -> None:
        """Fit to the training data what is not trained of the network that `adapt` gave."""
        for defense in self.defenses:
            if isinstance(defense, Prepares):
                defense.prepare(model, data)

    @property
    def inputs(self) -> InputsOf | None:
        """The one change to the inputs of a training step, if there is one."""
        for defense in self.defenses:
            if isinstance(defense, ChangesInputs):
                return defense.inputs
        return None

    def loss_for(self, defender: DefenderData) -> LossOf | None:
        """The one change to the loss of the steps of a training, if there is one."""
        for defense in self.defenses:
            if isinstance(defense, ChangesLoss):
                return defense.loss_for(defender)
        return None

    @property
    def loop(self) -> ReplacesTraining | None:
        """The one defense that replaces the training loop, if there is one."""
        for defense in self.defenses:
            if isinstance(defense, ReplacesTraining):
                return defense
        return None

    def release(
        self,
        model: nn.Module,
        batch: Split,
        defender: DefenderData,
        *,
        seed: int,
        evidence: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, ...]:
        """The gradient of one training step, as those see it who are sent it.

        Args:
            model: Before the guard; left as it is. The step is taken in training mode.
            batch: Its examples, b of them.
            defender: The owner's means.
            seed: Of dropout, and of the defenses' randomness.
            evidence: What the defenses reported of the whole training.

        Returns:
            One tensor for each parameter that requires a gradient, in the order of the model: the
            mean over the batch, unless a defense releases something else.

        Raises:
            ZooError: No parameter requires a gradient.
            NotApplicableError: A defense has nothing that it could release.
        """
        if not any(p.requires_grad for p in model.parameters()):
            raise ZooError(
                "A training step was asked for, but every parameter of the model is frozen. Call "
                "requires_grad_() on a copy of it."
            )
        loss = self.loss_for(defender)
        for defense in self.defenses:
            if isinstance(defense, Releases):
                return defense.release(
                    model, batch, seed=seed, evidence=evidence or {}, inputs=self.inputs, loss=loss
                )
            if isinstance(defense, ReplacesTraining) and defense.acts_on != {Part.SCHEDULE}:
                raise UnfitError(
                    f"{defense.name} has a training loop of its own, whose steps nobody is sent."
                )
        model = copy.deepcopy(model).train()
        stream = generator("hooks", seed)
        with seeded("dropout", seed):
            if self.inputs:
                batch = replace(batch, x=self.inputs(model, batch, stream))
            return torch.autograd.grad(
                step_loss(model, batch, loss, stream),
                [p for p in model.parameters() if p.requires_grad],
            )

    def edit(self, model: nn.Module, data: Split, defender: DefenderData) -> nn.Module:
        """The trained model after every defense that changes it."""
        for defense in self.defenses:
            if isinstance(defense, Edits):
                model = defense.edit(model, data, defender)
        return model

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """The model as it answers."""
        # What decides comes first; the others speak of the decisions that result.
        for defense in sorted(self.defenses, key=lambda d: not _decides(d)):
            if isinstance(defense, GuardsOutputs):
                model = defense.guard(model, defender)
        return model

    def seconds(self, models: Mapping[str, nn.Module], seed: int) -> dict[str, Second]:
        """The second models of the guards and the seed of each, by guard.

        Args:
            models: By guard; empty where none were planned.
            seed: Of the owner's defenses.
        """
        return {
            guard.name: Second(seed, models[guard.name])
            for guard in self.learning
            if guard.name in models
        }

    @property
    def learning(self) -> tuple[GuardsBySecond, ...]:
        """The guards that learn from a second model."""
        return tuple(d for d in self.defenses if isinstance(d, GuardsBySecond))

    def only_inspects(self, risk: Risk) -> str | None:
        """Why this stack cannot matter to ``risk``: it only inspects for another one."""
        if self.defenses and all(d.acts_on == {Part.INSPECTION} for d in self.defenses):
            names = "+".join(d.name for d in self.defenses)
            if all(d.guards is not risk for d in self.defenses):
                return f"{names} only inspects, and leaves the model's answers as they are."
        return None


def _turn(defense: Defense) -> int:
    """When it acts on the data.

    Some hold out examples, then some judge the others, then some weigh those that are left, then
    some add or mark examples.
    """
    traits = traits_of(defense)
    if Trait.HOLDS_OUT in traits:
        return 0
    if Trait.WEIGHS_EXAMPLES in traits:
        return 2
    return 3 if Part.EVIDENCE in defense.acts_on else 1


def _decides(defense: Defense) -> bool:
    """Whether its answers are decisions of its own."""
    return isinstance(defense, Certifies) or Trait.DECIDES in traits_of(defense)


def _share(flags: Tensor) -> float | None:
    return float(flags.double().mean()) if len(flags) else None
