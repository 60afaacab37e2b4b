"""Neural Cleanse: find the smallest patch that makes a model answer each class, and compare them.

For every class a mask and a pattern are optimised on clean images so that the patched images are
given that class, with the mask as small as possible. A class that a much smaller patch leads to
than to the others is held to be the target of a backdoor.

References:
    Wang et al. (2019). Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural
    Networks. IEEE S&P. https://doi.org/10.1109/SP.2019.00031
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.batches import at_once
from harness.data.images import side_by_side
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.inspection import Inspection
from harness.seeds import generator
from harness.types import Part, Risk, UnfitError
from zoo.errors import ZooError

AT_ONCE = 1024
"""Patched images in one forward pass, at most: classes beyond that are optimised in turn."""

MAD_SCALE = 1.4826
"""Makes the median absolute deviation of a normal distribution its standard deviation."""

DRAWS = 10_000
"""Clean models that are simulated: the chance of a false alarm is known to half a point."""

EDGE = 1e-7
"""How far the random masks and patterns to start from stay from 0 and 1."""


@dataclass(frozen=True, kw_only=True)
class NeuralCleanse:
    """Reconstruct a trigger for every class and flag a model with one that is far too small.

    Attributes:
        epochs: How often the mask is weighed anew (SecurityNet: 50).
        samples: Clean images of an epoch; drawn again and again where fewer are trusted.
        batch_size: Clean images of a step; every class is patched onto each of them.
        lr: Learning rate of Adam, whose betas are 0.5 and 0.9 as in the authors' code.
        success: Share of the images that a trigger has to turn to count, in (0, 1].
        cost: Weight of the mask's L1 norm once a trigger first succeeds; before, the weight is 0.
        multiplier: By which the weight rises while the trigger succeeds; it falls by this to 1.5.
        patience: Epochs of success, or of failure, in a row before the weight is changed.
        threshold: Anomaly index, in deviations below the median norm, above which a model is
            flagged.
        most_classes: With more than this it is refused, since a trigger is sought for each, for as
            many steps as all of them together are images.
    """

    name: ClassVar[str] = "neural-cleanse"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INSPECTION})
    looks_at: ClassVar[str] = "the checked examples, on which triggers are sought"
    reference: ClassVar[str] = "Wang et al. (2019), https://doi.org/10.1109/SP.2019.00031"

    epochs: int = 50
    samples: int = 128
    batch_size: int = 32
    lr: float = 0.1
    success: float = 0.99
    cost: float = 1e-3
    multiplier: float = 2.0
    patience: int = 5
    threshold: float = 2.0
    most_classes: int = 200

    def __post_init__(self) -> None:
        for name in ("epochs", "samples", "batch_size", "patience", "most_classes"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"neural-cleanse wants {name} of at least 1, found {getattr(self, name)}."
                )
        for name in ("lr", "cost", "threshold"):
            if not getattr(self, name) > 0:
                raise ZooError(f"neural-cleanse wants {name} above 0, found {getattr(self, name)}.")
        if not 0 < self.success <= 1:
            raise ZooError(f"neural-cleanse wants success in (0, 1], found {self.success}.")
        if not self.multiplier > 1:
            raise ZooError(f"neural-cleanse wants a multiplier above 1, found {self.multiplier}.")

    def inspect(self, model: nn.Module, defender: DefenderData) -> Inspection:
        """The verdict on ``model``, with the triggers that were reconstructed as pictures.

        The threshold is the paper's and takes no account of how many classes are compared, so the
        verdict comes with its `chance_of_false_alarm`.

        Raises:
            NotApplicableError: With fewer than three classes no norm can stand out; there are more
                than ``most_classes``; or the inputs are no images.
        """
        if defender.trusted.x.ndim != 4:
            raise UnfitError("neural-cleanse wants images, found other inputs.")
        if defender.num_classes < 3:
            raise UnfitError(
                f"neural-cleanse compares classes with each other and wants at least 3, found "
                f"{defender.num_classes}."
            )
        if defender.num_classes > self.most_classes:
            raise UnfitError(
                f"neural-cleanse seeks a trigger for each of {defender.num_classes:,} classes, on "
                f"{self.epochs * self.samples:,} images each. If there is time for that, give "
                f"--set most_classes={defender.num_classes}."
            )
        masks, patterns, worked = self.triggers(model, defender)
        norms = masks.flatten(1).sum(1)
        index = anomaly_indices(norms)
        # A trigger that does not turn the images is no evidence, however small.
        index = torch.where(worked, index, 0.0)
        worst = int(index.argmax())
        score = float(index[worst])
        return Inspection(
            flagged=score > self.threshold,
            score=score,
            notes={
                "suspected_class": worst,
                "mask_norms": [round(norm, 4) for norm in norms.tolist()],
                "anomaly_indices": [round(value, 4) for value in index.tolist()],
                "triggers_work": worked.tolist(),
                "chance_of_false_alarm": chance_of_false_alarm(len(norms), self.threshold),
            },
            images=_pictures(masks, patterns, worst),
        )

    def triggers(self, model: nn.Module, defender: DefenderData) -> tuple[Tensor, Tensor, Tensor]:
        """The smallest trigger found for each class.

        Returns:
            Masks (classes, 1, height, width) and patterns (classes, channels, height, width) in
            [0, 1], and (classes,) bool, whether the trigger turns as many images as it should.
        """
        x = defender.trusted.x
        channels, height, width = x.shape[1:]
        stream = generator("neural-cleanse", defender.seed)
        start = torch.rand(defender.num_classes, 1 + channels, height, width, generator=stream)
        # As if for one layer of mask and the others of pattern: tanh keeps both in [0, 1].
        start = torch.atanh(2 * start.clamp(EDGE, 1 - EDGE) - 1).to(x.device)
        classes = torch.arange(defender.num_classes, device=x.device)
        found = [
            self._search(model, defender, start[part], part)
            for part in classes.split(max(1, at_once(x, AT_ONCE) // self.batch_size))
        ]
        best, worked = (torch.cat(parts) for parts in zip(*found, strict=True))
        return best[:, :1], best[:, 1:], worked

    def _search(
        self, model: nn.Module, defender: DefenderData, start: Tensor, classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Triggers (k, 1 + channels, height, width) of some classes, and which of them work."""
        free = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([free], lr=self.lr, betas=(0.5, 0.9))
        k = len(classes)
        cost = torch.zeros(k, device=start.device)
        wins, losses = torch.zeros_like(cost), torch.zeros_like(cost)
        smallest = torch.full_like(cost, torch.inf)
        best = layers = start
        batches = self._batches(defender)
        steps = -(-self.samples // self.batch_size)
        for _ in range(self.epochs):
            hits = torch.zeros_like(cost)
            for _ in range(steps):
                x = next(batches)
                layers = free.tanh() / 2 + 0.5
                mask, pattern = layers[:, None, :1], layers[:, None, 1:]
                logits = model(((1 - mask) * x + mask * pattern).flatten(0, 1))
                wanted = classes.repeat_interleave(len(x))
                loss = F.cross_entropy(logits, wanted, reduction="none").view(k, -1).mean(1)
                # Classes share no variable, so the gradient of the sum is that of each.
                total = (loss + cost * mask.flatten(1).sum(1)).sum()
                (free.grad,) = torch.autograd.grad(total, [free])
                optimizer.step()
                hits += (logits.argmax(1) == wanted).view(k, -1).float().mean(1)
            works = hits / steps >= self.success
            with torch.no_grad():
                layers = free.tanh() / 2 + 0.5
            norm = layers[:, 0].flatten(1).sum(1)
            better = works & (norm < smallest)
            smallest = torch.where(better, norm, smallest)
            best = torch.where(better.view(-1, 1, 1, 1), layers, best)
            wins, losses = torch.where(works, wins + 1, 0), torch.where(works, 0, losses + 1)
            first = (cost == 0) & (wins >= self.patience)
            up, down = (cost > 0) & (wins >= self.patience), losses >= self.patience
            cost = torch.where(first, self.cost, cost)
            cost = torch.where(up, cost * self.multiplier, cost)
            cost = torch.where(down, cost / self.multiplier**1.5, cost)
            wins, losses = torch.where(first | up, 0, wins), torch.where(down, 0, losses)
        worked = smallest.isfinite()
        # Where none worked, the last one, as the authors do.
        return torch.where(worked.view(-1, 1, 1, 1), best, layers), worked

    def _batches(self, defender: DefenderData) -> Iterator[Tensor]:
        """Clean images, shuffled anew each time all were shown; the same for every class."""
        x = defender.trusted.x
        order = generator("neural-cleanse batches", defender.seed)
        while True:
            for index in torch.randperm(len(x), generator=order).split(self.batch_size):
                yield x[index.to(x.device)]


def anomaly_indices(norms: Tensor) -> Tensor:
    """How many deviations each norm (..., k) is below the median; 0 for those that are not below.

    The deviation is the median absolute deviation, scaled to a normal distribution's.
    """
    # torch.median would take the lower of the two middle values.
    middle = norms.quantile(0.5, dim=-1, keepdim=True)
    deviation = MAD_SCALE * (norms - middle).abs().quantile(0.5, dim=-1, keepdim=True)
    tiny = torch.finfo(norms.dtype).tiny
    return ((middle - norms).clamp_min(0) / deviation.clamp_min(tiny)).clamp_max(1e6)


@lru_cache
def chance_of_false_alarm(classes: int, threshold: float) -> float:
    """How likely a clean model is flagged, if the norms of its classes are drawn from one normal.

    It is simulated, and always the same: a third for 10 classes and a threshold of 2. A clean
    network's norms need not be normal; what they do is counted on clean models.

    Args:
        classes: How many are compared.
        threshold: Of the anomaly index.
    """
    stream = generator("neural-cleanse false alarms", classes)
    flagged = [
        anomaly_indices(torch.randn(100, classes, generator=stream)).amax(1) > threshold
        for _ in range(DRAWS // 100)
    ]
    return round(torch.cat(flagged).double().mean().item(), 4)


def _pictures(masks: Tensor, patterns: Tensor, worst: int) -> dict[str, Tensor]:
    if patterns.shape[1] not in (1, 3):
        return {}
    return {
        "mask": masks[worst],
        "pattern": patterns[worst],
        "trigger": masks[worst] * patterns[worst],
        "masks": side_by_side(masks),
        "triggers": side_by_side(masks * patterns),
    }
