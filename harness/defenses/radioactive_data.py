"""Radioactive data: training images are moved a little, so that a model trained on them shows it.

For each class a random direction, its carrier, is drawn in the feature space of a marking network.
Images of the class are changed, within a radius, so that their features move along it. A network
trained on them uses the carrier to recognise the class.

Sablayrolles et al. compare the carriers with the rows of the suspect's last layer, after aligning
its features with the marking network's by least squares. Here the suspect's logits are pulled back
to the marking features through the input: how a logit's gradient moves these features. That needs
no alignment and works for any architecture. The carriers are independent of any suspect that was
made without the marks, so the cosine of each with such a direction has a known distribution, and
the classes' p-values are combined by Fisher's method.

References:
    Sablayrolles et al. (2020). Radioactive Data: Tracing Through Training. ICML.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.attacks import perturbation
from harness.features import features, head
from harness.ownership import Owner, Verification
from harness.seeds import generator
from harness.stack import Cleaned
from harness.target import BlackBox
from harness.types import Part, Risk, Split
from harness.workshop import Workshop
from zoo.errors import ZooError

PROBE = 0.01
"""L2 length of the step along a gradient that shows how the features follow it."""


@dataclass(frozen=True, kw_only=True)
class RadioactiveData:
    """Mark a share of the training images, and look for the marks' directions in a suspect.

    Attributes:
        rate: Share of the training images that is marked.
        radius: How far a pixel may move, in units of the pixel range.
        steps: Gradient steps that move an image.
        images: How many unseen images the suspect's gradients are averaged over, at most.
        independents: How many independent models the false claims are counted on.
    """

    name: ClassVar[str] = "radioactive-data"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA, Part.EVIDENCE})
    reference: ClassVar[str] = "Sablayrolles et al. (2020), https://arxiv.org/abs/2002.00937"

    rate: float = 0.5
    radius: float = 0.1
    steps: int = 10
    images: int = 200
    independents: int = 20

    def __post_init__(self) -> None:
        for name in ("rate", "radius"):
            if not 0 < getattr(self, name) <= 1:
                raise ZooError(
                    f"radioactive-data wants {name} in (0, 1], found {getattr(self, name)}."
                )
        for name in ("steps", "images", "independents"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"radioactive-data wants {name} of at least 1, found {getattr(self, name)}."
                )

    def clean(self, data: Split, shop: Workshop) -> Cleaned:
        """``data`` with a share of its images marked, labels as they are."""
        order = torch.randperm(len(data), generator=generator("radioactive", "share", shop.seed))
        chosen = order[: round(self.rate * len(data))].to(data.x.device)
        network = self.marking_network(shop)
        carriers = self.carriers(network, data.x, shop)
        x = data.x.clone()
        for part in chosen.split(1024):
            x[part] = self.mark(network, data.take(part), carriers)
        return Cleaned(data=Split(x, data.y), notes={"marked": len(chosen)})

    def mark(self, network: nn.Module, data: Split, carriers: Tensor) -> Tensor:
        """The images of ``data``, their features moved along the carrier of their class."""
        layer, x = head(network, data.x), data.x
        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
        try:
            for _ in range(self.steps):
                x = x.detach().requires_grad_()
                network(x)
                along = (seen.pop() * carriers[data.y]).sum()
                ascent = torch.autograd.grad(along, x)[0].sign()
                x = x.detach() + 2.5 * self.radius / self.steps * ascent
                x = perturbation.project(x, data.x, self.radius, "linf")
        finally:
            hook.remove()
        return x

    def verifier(self, owner: Owner) -> Callable[[BlackBox], Verification]:
        """Compares the carriers with how the suspect's logits answer to the marking features.

        ``statistic`` is the mean cosine, times the square root of the number of features.
        """
        from scipy.stats import combine_pvalues

        network = self.marking_network(owner.shop)
        x = owner.unseen.x[: self.images]
        carriers = self.carriers(network, x, owner.shop)
        dim = carriers.shape[1]

        def verify(suspect: BlackBox) -> Verification:
            pulled = pull_back(suspect.model, network, x)
            cosines = torch.cosine_similarity(pulled, carriers, dim=1).double().cpu()
            p_values = [cosine_p_value(float(c), dim) for c in cosines]
            return Verification(
                p_value=float(combine_pvalues(p_values).pvalue),
                statistic=float(cosines.mean()) * math.sqrt(dim),
            )

        return verify

    def marking_network(self, shop: Workshop) -> nn.Module:
        """A network trained on the images that the owner has checked, the same at each call."""
        return shop.train(shop.trusted).requires_grad_(False)

    def carriers(self, network: nn.Module, x: Tensor, shop: Workshop) -> Tensor:
        """Directions (num_classes, width), drawn evenly from the unit sphere."""
        width = features(network, x[:1]).shape[1]
        stream = generator("radioactive", "carriers", shop.seed)
        drawn = torch.randn((shop.num_classes, width), generator=stream)
        return (drawn / drawn.norm(dim=1, keepdim=True)).to(x.device)


def pull_back(suspect: nn.Module, network: nn.Module, x: Tensor) -> Tensor:
    """How the features of ``network`` move along the gradients of the suspect's logits.

    Args:
        suspect: Any classifier.
        network: The marking network.
        x: Images (n, ...) to average over.

    Returns:
        (num_classes, width); each class's logit is taken relative to the mean of all.
    """
    inputs = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = suspect(inputs)
        logits = logits - logits.mean(1, keepdim=True)
        found = []
        for c in range(logits.shape[1]):
            gradient = torch.autograd.grad(logits[:, c].sum(), inputs, retain_graph=True)[0]
            size = perturbation.norms(gradient).clamp_min(1e-12)
            step = PROBE * gradient / size
            moved = features(network, x + step) - features(network, x - step)
            found.append((moved * size.view(-1, 1)).mean(0) / (2 * PROBE))
    return torch.stack(found)


def cosine_p_value(cosine: float, dim: int) -> float:
    """How likely a random direction in ``dim`` dimensions has at least this cosine with a fixed one.

    The squared cosine is Beta(1/2, (dim - 1)/2).
    """
    from scipy.special import betainc

    tail = 0.5 * float(betainc((dim - 1) / 2, 0.5, 1 - min(cosine**2, 1.0)))
    return tail if cosine >= 0 else 1 - tail
