"""NEO: reject an input one region of which decides its label, and that of other images too.

Regions of an input are covered, one at a time, with the colour that dominates it. Where covering a
region changes the label, the region is pasted onto clean images: if most of their labels change as
well, it is held to be a trigger. Only labels are asked for.

References:
    Udeshi et al. (2019). Model Agnostic Defence against Backdoor Attacks in Machine Learning.
    https://arxiv.org/abs/1908.02203
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.batches import at_once
from harness.data.dataset import Dataset
from harness.defenses.shared.defender import DefenderData
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Part, Risk, UnfitError
from zoo.errors import ZooError

AT_ONCE = 4096
"""Changed images that are made at a time, about."""

ROUNDS = 10
"""Of k-means."""


@dataclass(frozen=True, kw_only=True)
class NEO:
    """Reject inputs with a region that changes their label when covered, and others' when pasted.

    Attributes:
        regions: Places where the blocker is put, drawn for each input by itself; all of them where
            there are no more (SecurityNet: 200).
        size: Side of the square blocker in pixels; None for an eighth of the image's side, and at
            least 3 (SecurityNet: 4 for 32 pixels).
        clusters: Of an input's pixels; the blocker has the colour of the largest (SecurityNet: 3).
        threshold: Share of clean images whose label a pasted region has to change (the paper and
            SecurityNet: 0.8). Images that have the input's label anyway are not counted.
        confirmations: Clean images to paste onto (the authors' code: 20).
    """

    name: ClassVar[str] = "neo"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INSPECTION})
    looks_at: ClassVar[str] = "the checked examples, onto which regions are pasted"
    reference: ClassVar[str] = "Udeshi et al. (2019), https://arxiv.org/abs/1908.02203"

    regions: int = 200
    size: int | None = None
    clusters: int = 3
    threshold: float = 0.8
    confirmations: int = 20

    def __post_init__(self) -> None:
        for name in ("regions", "clusters", "confirmations"):
            if getattr(self, name) < 1:
                raise ZooError(f"neo wants {name} of at least 1, found {getattr(self, name)}.")
        if self.size is not None and self.size < 1:
            raise ZooError(f"neo wants a size of at least 1, found {self.size}.")
        if not 0 < self.threshold <= 1:
            raise ZooError(f"neo wants a threshold in (0, 1], found {self.threshold:g}.")

    def resolve(self, dataset: Dataset) -> Self:
        """The filter itself, if its blocker fits the images.

        Raises:
            NotApplicableError: There are no images.
            ZooError: It is larger than they are.
        """
        if len(dataset.input_shape) != 3:
            raise UnfitError(
                f"neo covers regions of images, but {dataset.name} has inputs of shape "
                f"{dataset.input_shape}."
            )
        smaller = min(dataset.input_shape[1:])
        if self.size is not None and self.size > smaller:
            raise ZooError(
                f"neo wants a size of at most {smaller}, the smaller side of the images of "
                f"{dataset.name}, found {self.size}."
            )
        return self

    def suspicious(self, model: nn.Module, x: Tensor, defender: DefenderData) -> Tensor:
        """Which of ``x`` (n, channels, height, width) are rejected, (n,) bool.

        The regions of an input depend on the seed and the input alone, so the verdict on one does
        not depend on the others.

        Raises:
            NotApplicableError: The inputs are no images, or smaller than the blocker.
        """
        if x.ndim != 4:
            raise UnfitError("neo wants images, found other inputs.")
        side = self._side(x)
        box = BlackBox(model, Access.LABELS)
        order = torch.randperm(len(defender.trusted), generator=generator("neo", defender.seed))
        clean = defender.trusted.x[order[: self.confirmations].to(defender.trusted.x.device)].to(
            x.device
        )
        clean_labels = box.labels(clean)
        found = [
            self._judge(box, part, side, clean, clean_labels, defender.seed)
            for part in x.split(max(1, at_once(x, AT_ONCE) // self.regions))
        ]
        return torch.cat(found)

    def _side(self, x: Tensor) -> int:
        smaller = min(x.shape[2:])
        side = max(3, round(smaller / 8)) if self.size is None else self.size
        if side > smaller:
            raise UnfitError(
                f"neo's blocker of {side} x {side} pixels does not fit an image of "
                f"{x.shape[2]} x {x.shape[3]}. Lower size."
            )
        return side

    def _judge(
        self,
        box: BlackBox,
        x: Tensor,
        side: int,
        clean: Tensor,
        clean_labels: Tensor,
        seed: int,
    ) -> Tensor:
        """The verdicts (b,) bool on a few inputs."""
        labels = box.labels(x)
        regions = self._regions(x, side, seed)
        colour = dominant_colours(x, self.clusters)[:, None, :, None, None]
        covered = torch.where(regions, colour, x[:, None])
        changed = box.labels(covered.flatten(0, 1)).view(regions.shape[:2]) != labels[:, None]
        rejected = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for pairs in changed.nonzero().split(max(1, at_once(x, AT_ONCE) // len(clean))):
            which, place = pairs[:, 0], pairs[:, 1]
            pasted = torch.where(regions[which, place][:, None], x[which][:, None], clean)
            turned = box.labels(pasted.flatten(0, 1)).view(-1, len(clean)) != clean_labels
            counted = clean_labels != labels[which][:, None]
            share = (turned & counted).sum(1).double() / counted.sum(1)
            rejected[which[share >= self.threshold]] = True  # NaN, with nothing counted, is not
        return rejected

    def _regions(self, x: Tensor, side: int, seed: int) -> Tensor:
        """Where the blocker is put: (b, regions, 1, height, width) bool, on the device of ``x``."""
        height, width = x.shape[2:]
        across = width - side + 1
        places = (height - side + 1) * across
        if places <= self.regions:
            drawn = torch.arange(places).expand(len(x), -1)
        else:
            drawn = torch.stack(
                [
                    torch.randperm(places, generator=generator("neo regions", seed, _digest(image)))
                    for image in x.cpu()
                ]
            )[:, : self.regions]
        drawn = drawn.to(x.device)
        rows = _spans(drawn // across, side, height)
        columns = _spans(drawn % across, side, width)
        return (rows[..., :, None] & columns[..., None, :])[:, :, None]


def dominant_colours(x: Tensor, clusters: int) -> Tensor:
    """The colour of the largest of some clusters of each image's pixels.

    Args:
        x: (n, channels, height, width).
        clusters: How many.

    Returns:
        (n, channels); k-means starts at pixels spread evenly over the order of brightness.
    """
    pixels = x.flatten(2).transpose(1, 2)
    order = pixels.mean(2).argsort(dim=1, stable=True)
    n = order.shape[1]
    start = order[:, [(2 * i + 1) * n // (2 * clusters) for i in range(clusters)]]
    centres = pixels.gather(1, start[..., None].expand(-1, -1, pixels.shape[2]))
    for _ in range(ROUNDS):
        member = _members(pixels, centres)
        sizes = member.sum(1)[..., None]
        means = member.transpose(1, 2) @ pixels / sizes.clamp_min(1)
        centres = torch.where(sizes > 0, means, centres)  # an empty cluster stays where it is
    largest = _members(pixels, centres).sum(1).argmax(1)
    return centres[torch.arange(len(x), device=x.device), largest]


def _members(pixels: Tensor, centres: Tensor) -> Tensor:
    """(n, pixels, clusters), 1 at the nearest centre of each pixel."""
    nearest = torch.cdist(pixels, centres).argmin(2)
    return F.one_hot(nearest, centres.shape[1]).to(pixels.dtype)


def _spans(start: Tensor, length: int, end: int) -> Tensor:
    """(..., end) bool, true from ``start`` on for ``length``."""
    at = torch.arange(end, device=start.device)
    return (at >= start[..., None]) & (at < start[..., None] + length)


def _digest(image: Tensor) -> str:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
