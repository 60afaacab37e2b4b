"""What is left of an attack's successes where filters reject inputs. Imports no torch.

The rule is elementwise, so arrays and tensors are equally welcome.
"""

from __future__ import annotations

from typing import Any


def answered(
    success: Any, clean_model_success: Any, rejected: Any = None, clean_model_rejected: Any = None
) -> tuple[Any, Any]:
    """Successes on a poisoned model and on the one that was not, of inputs that were answered.

    What the poisoned model never answers is no success of either: it is not its answer, so it is
    not held against the other model's, and a filter that rejects everything leaves nothing on both
    sides.

    Args:
        success: (n,) bool, where the poisoned model does what the attacker wants.
        clean_model_success: (n,) bool, the same of a model that was not poisoned.
        rejected: (n,) bool, inputs that the poisoned model's filter rejects; None without a filter.
        clean_model_rejected: (n,) bool, inputs that the other model's filter rejects.

    Returns:
        Both (n,) bool.
    """
    if rejected is not None:
        success, clean_model_success = success & ~rejected, clean_model_success & ~rejected
    if clean_model_rejected is not None:
        clean_model_success = clean_model_success & ~clean_model_rejected
    return success, clean_model_success
