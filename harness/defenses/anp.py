"""Adversarial neuron pruning: remove the neurons that a small perturbation turns against the model.

The neurons of a backdoored model are perturbed so that its loss on trusted examples grows most. It
then tends to answer with the attacker's class even without a trigger, so a mask over the neurons
that keeps the perturbed loss low finds those which the backdoor needs.

References:
    Wu and Wang (2021). Adversarial Neuron Pruning Purifies Backdoored Deep Models. NeurIPS.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData
from harness.learning.features import evaluating, head
from harness.seeds import generator
from harness.types import Part, Risk, Trait, UnfitError
from zoo.errors import ZooError

NORMS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, kw_only=True)
class ANP:
    """Learn which neurons to keep under adversarial perturbation, prune the others.

    A neuron is a channel of batch normalisation; in networks without it, an output of any
    convolution or linear layer before the last. Pruning sets its weights to 0 and keeps its bias.

    Attributes:
        perturbation: Largest relative change of a neuron's weights and of its bias. The paper's 0.4
            is for a ResNet-18 of 4,800 neurons. A published WRN-16-1 loses half of its accuracy by
            it and little by 0.1: try that where a network is narrow.
        trade_off: Weight of the loss without perturbation; the perturbed loss has the rest.
        threshold: Neurons with a mask below it are pruned.
        steps: Of the mask.
        lr: Learning rate of the mask.
        batch_size: Trusted examples in a step.
    """

    name: ClassVar[str] = "anp"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.FITS_TRUSTED})
    looks_at: ClassVar[str] = "the checked examples, by which neurons are pruned"
    reference: ClassVar[str] = "Wu and Wang (2021), https://arxiv.org/abs/2110.14430"

    perturbation: float = 0.4
    trade_off: float = 0.2
    threshold: float = 0.2
    steps: int = 300
    lr: float = 0.2
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("trade_off", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ZooError(f"anp wants {name} in [0, 1], found {getattr(self, name)}.")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ZooError(f"anp wants {name} of at least 1, found {getattr(self, name)}.")
        for name in ("perturbation", "lr"):
            if not getattr(self, name) > 0:
                raise ZooError(f"anp wants {name} above 0, found {getattr(self, name)}.")

    def edit(self, model: nn.Module, data: Split, defender: DefenderData) -> nn.Module:
        """A pruned copy of ``model``.

        Raises:
            NotApplicableError: No layer has neurons that could be pruned.
        """
        pruned = copy.deepcopy(model)
        layers = neurons(pruned, defender.trusted.x)
        masks = self.masks(pruned, layers, defender.trusted, seed=defender.seed)
        with torch.no_grad():
            for name, mask in masks.items():
                pruned.get_parameter(f"{name}.weight")[mask < self.threshold] = 0
        return pruned.eval()

    def masks(
        self, model: nn.Module, layers: list[str], trusted: Split, *, seed: int
    ) -> dict[str, Tensor]:
        """How much of each neuron is kept, in [0, 1], by name of its layer."""
        frozen = {name: p.detach() for name, p in model.named_parameters()}
        masks = {n: torch.ones(len(frozen[f"{n}.weight"]), device=trusted.x.device) for n in layers}
        biased = [n for n in layers if f"{n}.bias" in frozen]
        optimizer = torch.optim.SGD(list(masks.values()), lr=self.lr, momentum=0.9)
        stream = generator("anp", seed)
        norms = [layer for layer in model.modules() if isinstance(layer, NORMS)]

        def loss(
            x: Tensor, y: Tensor, scale: dict[str, Tensor], shift: dict[str, Tensor]
        ) -> Tensor:
            changed = {f"{n}.weight": _times(frozen[f"{n}.weight"], s) for n, s in scale.items()}
            changed |= {f"{n}.bias": frozen[f"{n}.bias"] * s for n, s in shift.items()}
            state = {name: buffer.clone() for name, buffer in model.named_buffers()}
            return F.cross_entropy(functional_call(model, state | frozen | changed, (x,)), y)

        for mask in masks.values():
            mask.requires_grad_()
        with evaluating(model):
            # With stored statistics, perturbations of many layers would multiply unchecked.
            for layer in norms:
                layer.train()
            for _ in range(self.steps):
                batch = torch.randint(len(trusted), (self.batch_size,), generator=stream)
                part = trusted.take(batch.to(trusted.x.device))
                x, y = part.x, part.y
                weights = {n: self._start(mask, stream) for n, mask in masks.items()}
                biases = {n: self._start(masks[n], stream) for n in biased}
                noise = [*weights.values(), *biases.values()]
                perturbed = loss(
                    x,
                    y,
                    {n: masks[n].detach() + weights[n] for n in layers},
                    {n: 1 + biases[n] for n in biased},
                )
                gradients = torch.autograd.grad(perturbed, noise)
                worst = [
                    (d.detach() + self.perturbation * g.sign()).clamp(
                        -self.perturbation, self.perturbation
                    )
                    for d, g in zip(noise, gradients, strict=True)
                ]
                weights = dict(zip(weights, worst, strict=False))
                biases = dict(zip(biases, worst[len(weights) :], strict=True))
                robust = loss(
                    x,
                    y,
                    {n: masks[n] + weights[n] for n in layers},
                    {n: 1 + biases[n] for n in biased},
                )
                natural = loss(x, y, masks, {})
                optimizer.zero_grad()
                (self.trade_off * natural + (1 - self.trade_off) * robust).backward()
                optimizer.step()
                with torch.no_grad():
                    for mask in masks.values():
                        mask.clamp_(0, 1)
        return {name: mask.detach() for name, mask in masks.items()}

    def _start(self, mask: Tensor, stream: torch.Generator) -> Tensor:
        start = torch.rand(mask.shape, generator=stream).mul_(2).sub_(1) * self.perturbation
        return start.to(mask.device).requires_grad_()


def neurons(model: nn.Module, x: Tensor) -> list[str]:
    """Names of the layers that have the neurons of ``model``.

    Raises:
        NotApplicableError: There are none.
    """
    found = [n for n, m in model.named_modules() if isinstance(m, NORMS) and m.affine]
    if not found:
        last = head(model, x)
        found = [
            n
            for n, m in model.named_modules()
            if isinstance(m, nn.Conv2d | nn.Linear) and m is not last
        ]
    if not found:
        raise UnfitError("anp prunes neurons, but the network has only its last layer.")
    return found


def _times(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))
