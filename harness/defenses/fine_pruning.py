"""Fine-pruning: remove the channels that clean inputs leave dormant, then fine-tune.

A backdoor may use neurons that clean inputs do not activate. They are pruned until clean accuracy
suffers; fine-tuning on trusted examples gives that back and overwrites what is left of it.

References:
    Liu, Dolan-Gavitt and Garg (2018). Fine-Pruning: Defending Against Backdooring Attacks on Deep
    Neural Networks. RAID.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.repair import accuracy_on, fine_tune, need_convolutions
from harness.learning.features import evaluating
from harness.types import Part, Risk, Trait
from zoo.errors import ZooError

STAGES = 20
"""Parts that the channels are pruned in; the accuracy is measured after each."""


@dataclass(frozen=True, kw_only=True)
class FinePruning:
    """Prune the last convolution's least active channels, then fine-tune, on trusted examples.

    Where a shortcut runs beside that convolution, as in residual networks, what it carries stays.

    Attributes:
        max_drop: How far the accuracy on the trusted examples may fall by pruning.
        steps: Of fine-tuning; with 0 the model is only pruned.
        lr: Learning rate of fine-tuning.
        batch_size: Of fine-tuning.
    """

    name: ClassVar[str] = "fine-pruning"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.EDITS_ONE_NETWORK, Trait.FITS_TRUSTED})
    looks_at: ClassVar[str] = "the checked examples, by which neurons are pruned"
    reference: ClassVar[str] = "Liu et al. (2018), https://arxiv.org/abs/1805.12185"

    max_drop: float = 0.04
    steps: int = 200
    lr: float = 0.01
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop < 1:
            raise ZooError(
                f"fine-pruning wants max_drop of at least 0 and below 1, found {self.max_drop}."
            )
        if self.steps < 0 or self.batch_size < 1 or not self.lr > 0:
            raise ZooError(
                f"fine-pruning wants steps of at least 0, batch_size of at least 1 and lr above 0, "
                f"found {self.steps}, {self.batch_size} and {self.lr}."
            )

    def edit(self, model: nn.Module, data: Split, defender: DefenderData) -> nn.Module:
        """A pruned and fine-tuned copy of ``model``.

        Raises:
            NotApplicableError: The network has no convolution.
        """
        need_convolutions(self.name, model, "prunes the last convolution")
        repaired = copy.deepcopy(model).requires_grad_(True)
        self.prune(repaired, defender.trusted)
        if self.steps:
            fine_tune(
                repaired,
                defender.trusted,
                steps=self.steps,
                lr=self.lr,
                batch_size=self.batch_size,
                seed=defender.seed,
            )
        return repaired.eval()

    @torch.no_grad()
    def prune(self, model: nn.Module, trusted: Split) -> int:
        """Prune ``model`` in place; returns how many channels."""
        conv, norm, activity = last_channels(model, trusted.x)
        layers = [layer for layer in (conv, norm) if layer is not None]
        parameters = [p for layer in layers for p in layer.parameters(recurse=False)]
        order = activity.argsort(stable=True)
        floor = accuracy_on(model, trusted) - self.max_drop
        stage = math.ceil(len(order) / STAGES)
        pruned = 0
        # One channel is left: without any, the network is a constant.
        for channels in order[:-1].split(stage):
            before = [p[channels].clone() for p in parameters]
            for p in parameters:
                p[channels] = 0
            if accuracy_on(model, trusted) < floor:
                for p, values in zip(parameters, before, strict=True):
                    p[channels] = values
                break
            pruned += len(channels)
        return pruned


@torch.no_grad()
def last_channels(
    model: nn.Module, x: Tensor, *, batch_size: int = 1024
) -> tuple[nn.Conv2d, nn.BatchNorm2d | None, Tensor]:
    """The last convolution that runs, the batch norm right after it, and how active it is.

    Args:
        model: With a convolution.
        x: Inputs (n, channels, height, width).
        batch_size: Inputs at once.

    Returns:
        The layers, and for each channel the mean positive activation in the last map of so many
        channels: with a rectifier after the convolution, the activation itself.
    """
    ran: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, Tensor):
            ran.append((layer, output))

    hooks = [layer.register_forward_hook(keep) for layer in model.modules()]
    total = torch.zeros((), device=x.device)
    conv, norm = None, None
    try:
        with evaluating(model):
            for part in x.split(batch_size):
                ran.clear()
                model(part)
                at = max(i for i, (layer, _) in enumerate(ran) if isinstance(layer, nn.Conv2d))
                conv, after = ran[at][0], ran[at + 1][0]
                norm = after if isinstance(after, nn.BatchNorm2d) else None
                maps = [
                    output
                    for _, output in ran[at:]
                    if output.dim() == 4 and output.shape[1] == conv.out_channels
                ]
                total = total + maps[-1].clamp(min=0).mean((2, 3)).sum(0)
    finally:
        for hook in hooks:
            hook.remove()
    assert isinstance(conv, nn.Conv2d)
    return conv, norm, total / len(x)
