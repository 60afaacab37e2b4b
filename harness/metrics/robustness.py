"""How much of a model's accuracy survives perturbed inputs."""

from __future__ import annotations

from torch import Tensor

from harness.metrics.classification import accuracy


def robustness(clean: Tensor, perturbed: Tensor, y: Tensor, delta: Tensor) -> dict[str, float]:
    """Metrics of an evasion attack.

    Args:
        clean: (n,) labels predicted on the inputs.
        perturbed: (n,) labels predicted on the perturbed inputs.
        y: (n,) true labels.
        delta: (n, ...) perturbations.

    Returns:
        ``robust_accuracy``: share that is right on the input *and* on the perturbed input, so an
        attack that repairs a mistake is not counted for the model. ``clean_accuracy``.
        ``mean_linf`` and ``mean_l2``: mean size of the perturbations.
    """
    flat = delta.flatten(1)
    return {
        "robust_accuracy": ((perturbed == y) & (clean == y)).double().mean().item(),
        "clean_accuracy": accuracy(clean, y),
        "mean_linf": flat.abs().amax(1).double().mean().item(),
        "mean_l2": flat.norm(dim=1).double().mean().item(),
    }
