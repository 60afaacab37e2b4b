"""Anti-backdoor learning: find what is learned too fast, then unlearn it.

A backdoor is learned before the task is. Training first holds the loss of every example near a
bound, under which only the backdoor's examples stay; those of the lowest loss are set aside. After
training on the others, the model unlearns the ones set aside.

References:
    Li et al. (2021). Anti-Backdoor Learning: Training Clean Models on Poisoned Data. NeurIPS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.batches import parts
from harness.data.examples import Split
from harness.defenses.protocol import LEFT_OUT
from harness.learning.features import evaluating
from harness.learning.fit import fit
from harness.seeds import derive
from harness.types import NotApplicableError, Part, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.learning.fit import InputsOf, LossOf


@dataclass(frozen=True, kw_only=True)
class ABL:
    """Train in three phases: isolate, train on the rest, unlearn.

    The paper unlearns by ascending the cross-entropy ``-log p``, whose gradient vanishes where the
    model is certain and which has no bound. Here ``-log(1 - p)`` is descended instead: the same
    direction, but it starts at once and ends when the label is unlearned. The model is fitted away
    from the examples that are set aside, so they are none that it was trained to know.

    Attributes:
        gamma: Loss that the first phase holds the examples at.
        isolated: Share of the training data, of the lowest loss after it, that is set aside.
        isolation: Share of the epochs that the first phase has.
        unlearning: Share of the epochs that the last phase has.
        unlearning_lr: Learning rate of the last phase, as a share of the recipe's.
    """

    name: ClassVar[str] = "abl"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS, Part.GRADIENTS})
    looks_at: ClassVar[str] = "the losses of the training examples, of which it isolates the lowest"
    reference: ClassVar[str] = "Li et al. (2021), https://arxiv.org/abs/2110.11571"

    gamma: float = 0.5
    isolated: float = 0.02
    isolation: float = 0.05
    unlearning: float = 0.2
    unlearning_lr: float = 0.3

    def __post_init__(self) -> None:
        for name in ("gamma", "isolation", "unlearning", "unlearning_lr"):
            if not getattr(self, name) > 0:
                raise ZooError(f"abl wants {name} above 0, found {getattr(self, name)}.")
        if not 0 < self.isolated < 1:
            raise ZooError(f"abl wants isolated between 0 and 1, found {self.isolated}.")
        if self.isolation + self.unlearning >= 1:
            raise ZooError(
                f"abl wants isolation and unlearning to leave epochs between them, found "
                f"{self.isolation} and {self.unlearning}."
            )

    def check(self, n: int, recipe: Recipe) -> None:
        """Refuse training that is too short for three phases, and a share that leaves too little.

        Raises:
            ZooError: With what is wanted.
        """
        if sum(self._phases(recipe)) >= recipe.epochs:
            raise ZooError(
                f"abl wants at least 3 epochs for its three phases, found {recipe.epochs}."
            )

    def _phases(self, recipe: Recipe) -> tuple[int, int]:
        first, last = (max(1, round(s * recipe.epochs)) for s in (self.isolation, self.unlearning))
        return first, last

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> dict[str, Any]:
        """Train ``model`` in place; return how many examples were set aside.

        Args:
            model: On the device of ``data``.
            data: The training data.
            recipe: How to train; its epochs are shared out among the phases.
            seed: Of all randomness.
            inputs: Another defense's change to the inputs of each step.
        """
        first, last = self._phases(recipe)
        out = self.spared(model, data, recipe, seed=seed, inputs=inputs)
        count = int(out.sum())
        aside, rest = data.take(out), data.take(~out)
        if len(rest.y.unique()) < len(data.y.unique()):
            raise NotApplicableError(
                f"abl sets aside every example of some class ({count} of {len(data)}). Lower its "
                f"isolated share."
            )

        def phase(name: str, changed: Recipe, loss: LossOf | None = None) -> None:
            fit(model, rest, changed, seed=derive("abl", name, seed), inputs=inputs, loss=loss)

        phase("training", replace(recipe, epochs=recipe.epochs - first - last))

        def unlearn(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            n = len(batch)
            pick = torch.randint(count, (min(count, n),), generator=stream).to(batch.x.device)
            both = model(torch.cat([batch.x, aside.x[pick]]))
            known = F.cross_entropy(both[:n], batch.y, reduction="none")
            return known + certainty(both[n:], aside.y[pick]).mean()

        changed = replace(recipe, epochs=last, lr=self.unlearning_lr * recipe.lr)
        phase("unlearning", changed, unlearn)
        return {"isolated": count, LEFT_OUT: out.nonzero().flatten().tolist()}

    def spared(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> Tensor:
        """Which of ``data`` are set aside, (n,) bool; ``model`` is left after the first phase."""
        first, _ = self._phases(recipe)

        def ascent(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            losses = F.cross_entropy(model(batch.x), batch.y, reduction="none")
            return (losses.detach() - self.gamma).sign() * losses

        fit(
            model,
            data,
            replace(recipe, epochs=first),
            seed=derive("abl", "isolation", seed),
            inputs=inputs,
            loss=ascent,
        )
        aside = torch.zeros_like(data.y, dtype=torch.bool)
        count = max(1, round(self.isolated * len(data)))
        aside[_losses(model, data).argsort(stable=True)[:count]] = True
        return aside


def certainty(logits: Tensor, y: Tensor) -> Tensor:
    """``-log(1 - p)`` of the probability ``p`` of label ``y``, (n,)."""
    others = logits.masked_fill(F.one_hot(y, logits.shape[1]).bool(), -torch.inf)
    return logits.logsumexp(1) - others.logsumexp(1)


@torch.no_grad()
def _losses(model: nn.Module, data: Split) -> Tensor:
    with evaluating(model):
        logits = torch.cat([model(x) for x in parts(data.x)])
    return F.cross_entropy(logits, data.y, reduction="none")
