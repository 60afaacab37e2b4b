"""Gradient inversion: find the training examples that a step's gradient was computed on.

References:
    Zhu, Liu and Han (2019). Deep Leakage from Gradients. NeurIPS.
    Zhao, Mopuri and Bilen (2020). iDLG: Improved Deep Leakage from Gradients. arXiv:2001.02610.
    Geiping et al. (2020). Inverting Gradients - How Easy Is It to Break Privacy in Federated
        Learning? NeurIPS.
    Vero et al. (2023). TabLeak: Tabular Data Leakage in Federated Learning. ICML. (Rows of tables.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, vmap

from harness.attacks.shared import perturbation
from harness.attacks.shared.attacker_data import Released
from harness.attacks.tabular_inversion import hard, soft
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError

DECAY = (3 / 8, 5 / 8, 7 / 8)
"""After these shares of the steps their size falls to a tenth (Geiping et al. 2020)."""


@dataclass(frozen=True, kw_only=True)
class GradientInversion:
    """Change made-up inputs until their gradient points where the observed one does.

    The attacker takes part in the training, or listens to it: it knows the weights and sees the
    gradient of one step, once the defenses are done with it. Each observed step is inverted by
    itself, all of them at once. In rows of a table a category is a softmax over its values while
    searching, and a number a sigmoid; in the end the likeliest value is taken.

    Attributes:
        batch: Training examples that the step's gradient is of.
        observed: How many such steps are inverted.
        labels: ``infer`` them from the last layer's gradient, which tells that of a single example
            (Zhao, Mopuri and Bilen 2020), or have them ``given``.
        distance: Of gradients: ``cosine`` (Geiping et al. 2020), which ignores their length, or
            ``l2`` (Zhu, Liu and Han 2019).
        total_variation: Weight of the mean difference between neighbouring pixels.
        restarts: Random starts of each, the best of which is kept.
        steps: Steps of Adam on the signs of the gradient.
        lr: Size of the first steps, in units of the pixel range; on the logits of a table's rows.
    """

    name: ClassVar[str] = "gradient-inversion"
    risk: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Geiping et al. (2020), https://arxiv.org/abs/2003.14053"

    batch: int = 1
    observed: int = 8
    labels: Literal["infer", "given"] = "infer"
    distance: Literal["cosine", "l2"] = "cosine"
    total_variation: float = 1e-4
    restarts: int = 4
    steps: int = 500
    lr: float = 0.1

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "batch", "observed", "restarts", "steps")
        if not self.lr > 0:
            raise ZooError(f"gradient-inversion wants lr above 0, found {self.lr}.")
        if self.total_variation < 0:
            raise ZooError(
                f"gradient-inversion wants total_variation of at least 0, found "
                f"{self.total_variation}."
            )
        if self.labels == "infer" and self.batch > 1:
            raise ZooError(
                f"gradient-inversion infers the label of one example, not of {self.batch}: set "
                f"labels=given or batch=1."
            )

    def run(self, target: BlackBox, data: Released, *, seed: int) -> Tensor:
        """Reconstructed inputs (observed, batch, *input_shape) in [0, 1]."""
        model, wanted = target.model, flat(data.gradients)  # (o, parameters)
        y = data.labels
        if y is None:
            y = inferred_labels(data.gradients, data.num_classes)[:, None]
        # Starts of one step stand next to each other.
        wanted, y = (each.repeat_interleave(self.restarts, dim=0) for each in (wanted, y))
        shape, stream = (len(wanted), y.shape[1], *data.input_shape), generator("start", seed)
        draw = torch.randn if data.columns else torch.rand  # logits, or pixels
        start = draw(shape, generator=stream)
        free = start.to(wanted.device).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=self.lr)
        schedule = torch.optim.lr_scheduler.MultiStepLR(
            optimizer, [round(share * self.steps) for share in DECAY]
        )
        gradients = vmap(_gradient_of(model))
        for _ in range(self.steps):
            x = soft(free.flatten(0, 1), data.columns).view_as(free) if data.columns else free
            cost = self._distance(flat(tuple(gradients(x, y).values())), wanted)
            if x.dim() == 5:
                cost = cost + self.total_variation * total_variation(x)
            (slope,) = torch.autograd.grad(cost.sum(), free)
            free.grad = slope.sign()
            optimizer.step()
            schedule.step()
            if not data.columns:
                with torch.no_grad():
                    free.clamp_(0, 1)
        x = free.detach()
        if data.columns:
            x = hard(x.flatten(0, 1), data.columns).view_as(x)
        cost = self._distance(flat(tuple(gradients(x, y).values())), wanted)
        best = cost.view(-1, self.restarts).argmin(1)
        return x.unflatten(0, (-1, self.restarts))[torch.arange(len(best)), best]

    def _distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        """How far gradients (r, parameters) are from the observed ones, (r,)."""
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(found, wanted, dim=1)
        return (found - wanted).square().sum(1)


def inferred_labels(gradients: tuple[Tensor, ...], num_classes: int) -> Tensor:
    """The label of the one example of each step, (observed,) int64.

    The gradient of cross-entropy by the logit of a class is its probability, less 1 for the true
    class: only that one is negative. It is the gradient of the last bias; without a bias, that of
    a row of the last weights is this number times the features, which are not negative after a
    ReLU.

    Args:
        gradients: Of each parameter, (observed, *its shape).
        num_classes: The last parameter with that many rows is the last layer's.
    """
    last = next(g for g in reversed(gradients) if g.dim() > 1 and g.shape[1] == num_classes)
    return last.flatten(2).sum(2).argmin(1) if last.dim() > 2 else last.argmin(1)


def total_variation(x: Tensor) -> Tensor:
    """Mean difference between neighbouring pixels of images (r, b, c, h, w), (r,)."""
    down = x.diff(dim=-2).abs().flatten(1).mean(1)
    return down + x.diff(dim=-1).abs().flatten(1).mean(1)


def flat(gradients: tuple[Tensor, ...]) -> Tensor:
    """Gradients of all parameters, each (r, *its shape), as one (r, parameters)."""
    return torch.cat([g.flatten(1) for g in gradients], dim=1)


def _gradient_of(model: nn.Module) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """The gradient by each parameter of the mean loss on a batch ``(x, y)``.

    Batch norm takes the statistics of the batch, as in a training step; dropout, whose mask the
    attacker does not know, is left out.
    """
    model = replace_all_batch_norm_modules_(copy.deepcopy(model))
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    buffers = dict(model.named_buffers())

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, (parameters, buffers), (x,)), y)

    return lambda x, y: grad(loss)(parameters, x, y)
