"""How good a copy a surrogate is.

References:
    Jagielski et al. (2020). High Accuracy and High Fidelity Extraction of Neural Networks. USENIX.
"""

from __future__ import annotations

from torch import Tensor

from harness.metrics.classification import accuracy


def extraction(
    surrogate: Tensor, target: Tensor, y: Tensor, twin: Tensor
) -> dict[str, float | None]:
    """Metrics of a surrogate on data that neither the target nor the attacker trained on.

    Stealing behaviour, ``fidelity`` beyond that of the twin, and stealing skill, the
    ``accuracy_gain``, can move in opposite directions: a copy of a worse target is a worse model.

    Args:
        surrogate: (n,) labels the surrogate predicts.
        target: (n,) labels the target predicts.
        y: (n,) true labels.
        twin: (n,) labels that the thief would predict without having asked.

    Returns:
        ``fidelity``: share of inputs on which both agree. ``correct_fidelity``: the same among the
        inputs that the target gets right; None if there are none. ``twin_fidelity``: that of the
        twin, which is what the thief has without the target. ``surrogate_accuracy``,
        ``twin_accuracy`` and ``accuracy_gain``, their difference; ``target_accuracy``.
        ``majority_agreement``: the fidelity of always answering the target's most frequent class,
        which is what knowing nothing gives.
    """
    right = target == y
    return {
        "fidelity": accuracy(surrogate, target),
        "correct_fidelity": accuracy(surrogate[right], target[right]) if right.any() else None,
        "twin_fidelity": accuracy(twin, target),
        "surrogate_accuracy": accuracy(surrogate, y),
        "twin_accuracy": accuracy(twin, y),
        "accuracy_gain": accuracy(surrogate, y) - accuracy(twin, y),
        "target_accuracy": accuracy(target, y),
        "majority_agreement": target.bincount().max().item() / len(target),
    }
