"""How much of a model's accuracy survives perturbed inputs."""

from __future__ import annotations

from torch import Tensor

from harness.metrics.classification import accuracy


def robustness(
    clean: Tensor, perturbed: Tensor, y: Tensor, *, linf: Tensor, l2: Tensor
) -> dict[str, float]:
    """Metrics of an evasion attack.

    Args:
        clean: (n,) labels predicted on the inputs.
        perturbed: (n,) labels predicted on the perturbed inputs.
        y: (n,) true labels.
        linf: (n,) size of each perturbation: its largest change of a number.
        l2: (n,) likewise: its Euclidean norm.

    Returns:
        ``robust_accuracy``: share that is right on the input *and* on the perturbed input, so an
        attack that repairs a mistake is not counted for the model. ``clean_accuracy``.
        ``mean_linf`` and ``mean_l2``: mean size of the perturbations.
    """
    return {
        "robust_accuracy": ((perturbed == y) & (clean == y)).double().mean().item(),
        "clean_accuracy": accuracy(clean, y),
        "mean_linf": linf.double().mean().item(),
        "mean_l2": l2.double().mean().item(),
    }


def certified(label: Tensor, radius: Tensor, y: Tensor, epsilon: float) -> dict[str, float | None]:
    """Metrics of a certificate in the L2 norm.

    Args:
        label: (n,) certified labels, -1 where the certificate abstains.
        radius: (n,) radii, in units of the pixel range; 0 where it abstains.
        y: (n,) true labels.
        epsilon: The radius to certify.

    Returns:
        ``certified_accuracy``: share that is right and provably stays so within ``epsilon``.
        ``mean_certified_radius``: mean radius, counted as 0 where the label is wrong.
        ``abstained``: share without a certificate.
    """
    right = label == y
    return {
        "certified_accuracy": (right & (radius >= epsilon)).double().mean().item(),
        "mean_certified_radius": (radius * right).double().mean().item(),
        "abstained": (label < 0).double().mean().item(),
    }
