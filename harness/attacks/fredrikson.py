"""Model inversion: for each class, search for an input that the target calls that class.

References:
    Fredrikson, Jha and Ristenpart (2015). Model Inversion Attacks that Exploit Confidence
        Information and Basic Countermeasures. CCS. (Algorithm 1.)
    Liu et al. (2022). ML-Doctor. USENIX Security. (The settings.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.protocol import AttackerData
from harness.attacks.shared import perturbation
from harness.attacks.shared.perturbation import per_example
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError

LOOK_EVERY = 50
"""Steps between two looks at whether every class has stopped: a look waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Fredrikson:
    """Gradient descent on 1 - probability of the class, from a black image, in the data's range.

    Every class is searched for by itself, all of them in one batch. A class stops at the threshold
    or when its patience is over, and its most probable input is what is returned.

    Attributes:
        threshold: Probability of the class at which the search has succeeded.
        lr: Length of a step, as a multiple of the gradient.
        iterations: Steps at most.
        patience: Steps without a higher probability after which the search is given up.
    """

    name: ClassVar[str] = "fredrikson"
    risk: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = (
        "Fredrikson, Jha and Ristenpart (2015), https://doi.org/10.1145/2810103.2813677"
    )

    # Liu et al. (2022), section 5.1.
    threshold: float = 0.999
    lr: float = 1e-2
    iterations: int = 3000
    patience: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ZooError(
                f"fredrikson wants threshold above 0 and up to 1, found {self.threshold}."
            )
        if not self.lr > 0:
            raise ZooError(f"fredrikson wants lr above 0, found {self.lr}.")
        perturbation.check_counts(self, "iterations", "patience")

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Tensor:
        """One input of each class, (num_classes, 1, *input_shape) in [0, 1].

        Nothing in it is random: the seed has no effect.
        """
        model, classes = target.model, torch.arange(data.num_classes, device=target.device)
        x = torch.zeros(data.num_classes, *data.input_shape, device=target.device)
        best, highest = x, x.new_full((len(x),), -torch.inf)
        idle = torch.zeros_like(classes)
        running = torch.ones_like(classes, dtype=torch.bool)
        for step in range(self.iterations + 1):
            leaf = x.detach().requires_grad_()
            probability = model(leaf).softmax(1)[classes, classes]
            (rise,) = torch.autograd.grad(probability.sum(), leaf)
            better = running & (probability.detach() > highest)
            best = torch.where(per_example(better, x), x, best)
            highest = torch.where(better, probability.detach(), highest)
            idle = torch.where(better, 0, idle + 1)
            running = running & (highest < self.threshold) & (idle < self.patience)
            if step % LOOK_EVERY == 0 and not running.any():
                break
            x = torch.where(per_example(running, x), (x + self.lr * rise).clamp(0, 1), x)
        return best[:, None]
