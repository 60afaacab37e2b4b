"""How well a poisoning attack works, and how well its triggers are told from clean inputs.

References:
    Gu, Dolan-Gavitt and Garg (2017). BadNets. https://arxiv.org/abs/1708.06733
    Wu et al. (2022). BackdoorBench. NeurIPS. https://arxiv.org/abs/2206.12654
"""

from __future__ import annotations

from torch import Tensor

from harness.metrics.classification import accuracy
from harness.metrics.filtered import answered


def poisoning(
    *,
    clean: Tensor,
    triggered: Tensor,
    y: Tensor,
    applies: Tensor,
    success: Tensor,
    clean_model_success: Tensor,
    rejected_clean: Tensor | None = None,
    rejected_triggered: Tensor | None = None,
    clean_model_rejected_triggered: Tensor | None = None,
) -> dict[str, float | None]:
    """Metrics of a poisoning attack on test data.

    Args:
        clean: (n,) labels predicted on the inputs.
        triggered: (n,) labels predicted on the inputs with the trigger.
        y: (n,) true labels.
        applies: (n,) bool, where the attack can succeed at all: not on the target's own class.
        success: (n,) bool, where the answer is what the attacker wants.
        clean_model_success: (n,) bool, the same of a model that was not poisoned.
        rejected_clean: (n,) bool, inputs that a filter rejects; None without a filter.
        rejected_triggered: (n,) bool, the same of triggered inputs.
        clean_model_rejected_triggered: (n,) bool, triggered inputs that the filter of the model
            that was not poisoned rejects.

    Returns:
        ``attack_success_rate`` where the attack applies; a rejected input is no success.
        ``clean_model_success_rate``: what chance gives, of what is `answered`. ``clean_accuracy``.
        ``robust_accuracy``: share of triggered inputs that are still classified right, where the
        attack applies. With a filter also ``filter_tpr``, ``filter_fpr`` and
        ``success_rate_without_filter``, and a rejected input is no right answer. A rate over no
        examples is None.
    """
    passed, before = answered(
        success, clean_model_success, rejected_triggered, clean_model_rejected_triggered
    )
    right, still = clean == y, triggered == y
    found: dict[str, float | None] = {}
    if rejected_clean is not None and rejected_triggered is not None:
        right, still = right & ~rejected_clean, still & ~rejected_triggered
        found["filter_tpr"] = _rate(rejected_triggered[applies])
        found["filter_fpr"] = _rate(rejected_clean)
        found["success_rate_without_filter"] = _rate(success[applies])
    return {
        "attack_success_rate": _rate(passed[applies]),
        "clean_model_success_rate": _rate(before[applies]),
        "clean_accuracy": _rate(right),
        "robust_accuracy": _rate(still[applies]),
        "accuracy_without_filter": accuracy(clean, y),
        **found,
    }


def _rate(flags: Tensor) -> float | None:
    return flags.double().mean().item() if len(flags) else None
