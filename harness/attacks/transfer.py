"""Transfer: craft on a model of one's own what then also fools the target, without a question.

References:
    Papernot, McDaniel and Goodfellow (2016). Transferability in Machine Learning: from Phenomena to
    Black-Box Attacks using Adversarial Samples. arXiv:1605.07277.
    Zhang et al. (2024). SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models.
    USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from harness.attacks.fgsm import FGSM
from harness.attacks.protocol import EvasionData
from harness.attacks.shared import convergence, perturbation, surrogate, tabular_perturbation
from harness.data.dataset import Dataset
from harness.learning.fit import fit
from harness.seeds import derive, generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Perturb inputs against a surrogate, and hope that the target is fooled as well.

    The surrogate is another model of the catalog, or it is trained on the attacker's data with
    their true labels. The target is asked nothing. Every input is perturbed as far as the method
    goes, also after the surrogate is wrong.

    Attributes:
        source: Name of the catalog's model to craft on; a surrogate is trained if not given. The
            target itself is refused, and examples that it was trained on are not attacked.
        surrogate: Architecture of the trained surrogate; the target's own if not given.
        method: ``fgsm``, one step, or ``pgd``.
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps of pgd, each of length 2.5 * epsilon / steps.
        epochs: Passes of the surrogate over the attacker's data.
        lr: Learning rate of Adam.
        batch_size: Examples per training step.
    """

    name: ClassVar[str] = "transfer"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.PARTIAL, Aux.SHADOW)
    reference: ClassVar[str] = "Papernot et al. (2016), https://arxiv.org/abs/1605.07277"

    source: str | None = None
    surrogate: str | None = None
    method: Literal["fgsm", "pgd"] = "pgd"
    epsilon: float | None = None
    norm: perturbation.Norm = "linf"
    steps: int = 20
    epochs: int = 40
    lr: float = 1e-3
    batch_size: int = 64

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "steps")
        _ = self.recipe
        if self.source is not None and self.surrogate is not None:
            raise ZooError(
                "transfer wants either a source, which is ready to use, or the architecture of a "
                "surrogate to train, but found both."
            )

    @property
    def recipe(self) -> Recipe:
        """How the surrogate is trained."""
        return Recipe(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius.

        Raises:
            ZooError: It is no radius, or the surrogate does not fit the dataset.
        """
        surrogate.check(self.surrogate, dataset)
        epsilon = perturbation.radius(self.name, self.epsilon, self.norm, dataset)
        return replace(self, epsilon=epsilon)

    def run(self, target: BlackBox, data: EvasionData, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``.

        Raises:
            ZooError: There are no data to train a surrogate on.
        """
        own_model = self._own(data, target.device, seed)
        model = tabular_perturbation.whole(own_model, data.points.columns)
        own = BlackBox(model, Access.WEIGHTS)
        if self.method == "fgsm":
            fgsm = FGSM(epsilon=self.epsilon, norm=self.norm)
            return fgsm.run(own, data, seed=seed)
        return self._climb(own, data, seed)

    def _own(self, data: EvasionData, device: torch.device, seed: int) -> nn.Module:
        if data.source is not None:
            return data.source
        if not len(data.aux):
            raise ZooError(
                "transfer wants data to train a surrogate on, but the attacker holds none. Choose "
                "other data with --aux, or a model of the catalog with transfer.source."
            )
        model, own = surrogate.build(self.surrogate, data, seed).to(device), data.aux.to(device)
        fit(model, own, self.recipe, seed=derive("surrogate", seed))
        convergence.classifies(data, "the surrogate", model, own.x, own.y)
        return model

    def _climb(self, own: BlackBox, data: EvasionData, seed: int) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        starts, out = generator(self.name, seed), torch.empty_like(data.points.x)
        for index in torch.arange(len(data.points), device=out.device).split(FGSM.batch_size):
            batch = data.points.take(index).to(own.device)
            out[index] = perturbation.ascend(
                own.model,
                batch,
                perturbation.random_start(batch, self.epsilon, self.norm, starts),
                epsilon=self.epsilon,
                norm=self.norm,
                steps=self.steps,
                step_size=2.5 * self.epsilon / self.steps,
                stop=False,
            ).to(out.device)
        return out
