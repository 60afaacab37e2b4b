"""Making adversarial inputs in the middle of training: what adversarial trainings share.

References:
    Madry et al. (2018). Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from harness.attacks import perturbation
from harness.attacks.perturbation import Norm
from harness.datasets import Dataset
from zoo.errors import ZooError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block with ``model`` in eval mode, so that attack steps leave batch norm alone.

    Afterwards every layer is in the mode it was in.
    """
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def ascend(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    centre: Tensor,
    *,
    epsilon: float,
    norm: Norm,
    steps: int,
    step_size: float,
) -> Tensor:
    """Follow ``gradient`` from ``start``, within ``epsilon`` of ``centre`` and the pixel range."""
    x = start
    for _ in range(steps):
        x = x + step_size * perturbation.direction(gradient(x), norm)
        x = perturbation.project(x, centre, epsilon, norm)
    return x


def customary(name: str, epsilon: float | None, norm: Norm, dataset: Dataset) -> float:
    """``epsilon``, or the dataset's customary radius if it is None.

    Raises:
        ZooError: It is no radius.
    """
    found = dataset.epsilon[norm] if epsilon is None else epsilon
    perturbation.check_epsilon(name, found, norm)
    return found


def check_steps(name: str, steps: int, step_size: float | None) -> None:
    """Refuse steps that cannot be taken.

    Raises:
        ZooError: ``steps`` is below 1, or ``step_size`` below 0.
    """
    if steps < 1:
        raise ZooError(f"{name} wants steps of at least 1, found {steps}.")
    if step_size is not None and not step_size >= 0:
        raise ZooError(f"{name} wants step_size of at least 0, found {step_size}.")
