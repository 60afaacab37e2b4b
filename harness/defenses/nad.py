"""Neural attention distillation: teach the model to look where its fine-tuned copy looks.

A copy that is fine-tuned on trusted examples has forgotten part of the backdoor. The model is then
trained on the same examples with its attention maps drawn to those of the copy, which removes more
than fine-tuning does.

References:
    Li et al. (2021). Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural
    Networks. ICLR.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.repair import convolutions, fine_tune, need_convolutions
from harness.types import Part, Risk, Trait
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class NAD:
    """Fine-tune a teacher on trusted examples, then distil its attention into the model.

    The maps compared are the last ones of each resolution, which in a residual network are those of
    its stages.

    Attributes:
        beta: Weight of the attention loss, beside the cross-entropy (1000 in the paper, for 2,500
            trusted photographs; a few digits need less).
        steps: Of the teacher and, again, of the model.
        lr: Learning rate of both (0.1 in the paper).
        batch_size: Of both.
    """

    name: ClassVar[str] = "nad"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.EDITS_ONE_NETWORK, Trait.FITS_TRUSTED})
    looks_at: ClassVar[str] = "the checked examples, on which the model is trained further"
    reference: ClassVar[str] = "Li et al. (2021), https://arxiv.org/abs/2101.05930"

    beta: float = 100.0
    steps: int = 200
    lr: float = 0.02
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ZooError(f"nad wants beta of at least 0, found {self.beta}.")
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ZooError(
                f"nad wants steps and batch_size of at least 1 and lr above 0, found {self.steps}, "
                f"{self.batch_size} and {self.lr}."
            )

    def edit(self, model: nn.Module, data: Split, defender: DefenderData) -> nn.Module:
        """A copy of ``model`` that was taught.

        Raises:
            NotApplicableError: The network has no convolution, so no attention maps.
        """
        need_convolutions(self.name, model, "compares attention maps")
        teacher, student = (copy.deepcopy(model).requires_grad_(True) for _ in range(2))
        settings = {"steps": self.steps, "lr": self.lr, "batch_size": self.batch_size}
        fine_tune(teacher, defender.trusted, seed=defender.seed, **settings)
        teacher.requires_grad_(False)
        with watching(teacher) as wanted, watching(student) as found:

            def loss(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
                teacher(batch.x)
                losses = F.cross_entropy(model(batch.x), batch.y, reduction="none")
                for size, maps in found.items():
                    losses = losses + self.beta * distance(maps, wanted[size])
                return losses

            fine_tune(student, defender.trusted, seed=defender.seed, loss=loss, **settings)
        return student


Maps = dict[tuple[int, int], Tensor]


@contextmanager
def watching(model: nn.Module) -> Iterator[Maps]:
    """The last maps (n, channels, height, width) of each resolution, anew in each forward pass.

    Maps are what comes out of a rectifier, a convolution, or a block that has one.
    """
    found: Maps = {}
    convs = set(convolutions(model))

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            found[output.shape[2], output.shape[3]] = output

    hooks = [
        layer.register_forward_hook(keep)
        for layer in model.modules()
        if isinstance(layer, nn.ReLU) or not convs.isdisjoint(layer.modules())
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def distance(maps: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of the attention of each example, (n,)."""
    return (attention(maps) - attention(others)).square().mean(1)


def attention(maps: Tensor) -> Tensor:
    """Where the activations are: mean square over channels, (n, pixels), of length 1."""
    return F.normalize(maps.square().mean(1).flatten(1), dim=1)
