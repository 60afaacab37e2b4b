"""Early stopping: end the training before the training examples are learned by heart.

References:
    Prechelt (1998). Early Stopping - But When? Neural Networks: Tricks of the Trade.
    Song and Mittal (2021). Systematic Evaluation of Privacy Risks of Machine Learning Models.
    USENIX Security.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.batches import at_once, parts
from harness.data.examples import Split
from harness.defenses.protocol import LEFT_OUT
from harness.learning.features import evaluating
from harness.learning.fit import fit
from harness.seeds import generator
from harness.types import Part, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.learning.fit import InputsOf, LossOf


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Hold out some training examples and keep the epoch that answers them best.

    The measure is the mean cross-entropy of the held-out examples as they are. The model is not
    fitted to them, so whoever asks what it was trained on is not told of them.

    Attributes:
        held_out: Share of the training data that is held out.
        patience: Epochs without a better one after which the training ends.
    """

    name: ClassVar[str] = "early-stopping"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.SCHEDULE})
    looks_at: ClassVar[str] = "the held-out examples, which decide when the training ends"
    reference: ClassVar[str] = "Song and Mittal (2021), https://arxiv.org/abs/2003.10595"

    held_out: float = 0.1
    patience: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ZooError(f"early-stopping wants held_out between 0 and 1, found {self.held_out}.")
        if self.patience < 1:
            raise ZooError(f"early-stopping wants patience of at least 1, found {self.patience}.")

    def check(self, n: int, recipe: Recipe) -> None:
        """Refuse a share that leaves nothing to hold out or nothing to train on.

        Raises:
            ZooError: With what is wanted.
        """
        if not 0 < round(self.held_out * n) < n:
            raise ZooError(
                f"early-stopping wants examples to hold out and others to train on, but its "
                f"held_out of {self.held_out} takes {round(self.held_out * n)} of {n}."
            )

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
        """Train ``model`` in place; return which epoch was kept and how many examples held out.

        Args:
            model: On the device of ``data``.
            data: The training data.
            recipe: How to train; its epochs are the most there can be.
            seed: Of all randomness.
            inputs: Another defense's change to the inputs of each step.
            loss: Another defense's loss of each example.
        """
        parts = self._parts(len(data), seed)
        held, used = (data.take(rows.to(data.x.device)) for rows in parts)
        best, kept, lowest, last = {}, 0, math.inf, 0

        def watch(epoch: int) -> bool:
            nonlocal best, kept, lowest, last
            last, found = epoch, _mean_loss(model, held)
            # The first epoch is kept whatever it is: there has to be one.
            if found < lowest or not best:
                best = {name: value.clone() for name, value in model.state_dict().items()}
                kept, lowest = epoch, found
            return epoch - kept >= self.patience

        fit(model, used, recipe, seed=seed, inputs=inputs, loss=loss, after_epoch=watch)
        model.load_state_dict(best)
        return {
            "epochs": kept,
            "epochs_tried": last,
            "held_out": len(held),
            "held_out_loss": lowest if math.isfinite(lowest) else None,
            LEFT_OUT: sorted(parts[0].tolist()),
        }

    def spared(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> Tensor:
        """Which of ``data`` would be held out, (n,) bool: a random share."""
        held, _ = self._parts(len(data), seed)
        return torch.zeros(len(data), dtype=torch.bool).index_fill(0, held, True)

    def _parts(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Which of ``n`` examples are held out and which are not, int64."""
        order = torch.randperm(n, generator=generator(self.name, seed))
        count = round(self.held_out * n)
        return order[:count], order[count:]


@torch.no_grad()
def _mean_loss(model: nn.Module, data: Split) -> float:
    with evaluating(model):
        losses: list[Tensor] = [
            F.cross_entropy(model(x), y, reduction="sum")
            for x, y in zip(parts(data.x), data.y.split(at_once(data.x)), strict=True)
        ]
    return float(torch.stack(losses).sum()) / len(data)
