"""What differentially private training spends, and the noise that a budget needs.

The accountants are Opacus's. Both see every step as one Gaussian mechanism on a Poisson sample.

References:
    Mironov et al. (2019). Rényi Differential Privacy of the Sampled Gaussian Mechanism.
    https://arxiv.org/abs/1908.10530
    Gopi et al. (2021). Numerical Composition of Differential Privacy. NeurIPS.
    https://arxiv.org/abs/2106.02848
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Literal

from zoo.errors import ZooError

Accountant = Literal["rdp", "prv"]

LARGEST_PRV = 100.0
"""Above this budget the grid of the PRV accountant takes minutes, and then more memory than is."""

_LARGEST_NOISE = 20.0 * 2**15
"""The last noise multiplier that Opacus's search tries: it doubles 20 while below a million."""


@cache
def spent(
    accountant: Accountant, noise_multiplier: float, rate: float, steps: int, dp_delta: float
) -> float | None:
    """The budget ``dp_epsilon`` after ``steps`` steps.

    Args:
        accountant: ``rdp`` (Rényi) or ``prv`` (privacy random variables, whose upper bound it is).
        noise_multiplier: Standard deviation of the noise by the clipping norm.
        rate: Chance of each example to be in a batch.
        steps: How many batches were drawn.
        dp_delta: Probability with which the guarantee may fail.

    Returns:
        None if the accountant has no finite number: so little noise is no guarantee at all.
    """
    from opacus.accountants import create_accountant

    if accountant == "prv":
        bound = spent("rdp", noise_multiplier, rate, steps, dp_delta)
        if bound is None or bound > LARGEST_PRV:
            return None
    one = create_accountant(accountant)
    one.history = [(noise_multiplier, rate, steps)]
    with warnings.catch_warnings():
        # With extreme noise no Rényi order bounds the budget tightly.
        warnings.filterwarnings("ignore", message="Optimal order is")
        # Its grid takes the logarithm of 0 where every example is in the batch.
        warnings.filterwarnings("ignore", message="divide by zero")
        try:
            found = float(one.get_epsilon(dp_delta))
        except (RuntimeError, ValueError):
            return None  # the grid is too coarse for this delta
    return found if math.isfinite(found) else None


@cache
def noise_for(
    accountant: Accountant, dp_epsilon: float, rate: float, steps: int, dp_delta: float
) -> float:
    """The smallest noise multiplier that spends at most ``dp_epsilon``, to 0.01 of it.

    Raises:
        ZooError: No noise does, or the accountant has no numbers for so large a budget.
    """
    from opacus.accountants.utils import get_noise_multiplier

    if accountant == "prv" and dp_epsilon > LARGEST_PRV:
        raise ZooError(
            f"dpsgd cannot account for dp_epsilon={dp_epsilon:g} with accountant=prv, which works "
            f"up to {LARGEST_PRV:g}; use accountant=rdp."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Optimal order is")
            return get_noise_multiplier(
                target_epsilon=dp_epsilon,
                target_delta=dp_delta,
                sample_rate=rate,
                steps=steps,
                accountant=accountant,
            )
    except ValueError as error:
        least = smallest(accountant, rate, steps, dp_delta)
        raise ZooError(
            f"dpsgd cannot reach dp_epsilon={dp_epsilon:g} at dp_delta={dp_delta:g} in {steps} "
            f"steps at a sampling rate of {rate:.3g}: with any noise, the smallest that "
            f"accountant={accountant} can show is {least:g}. Ask for that or more."
        ) from error


def smallest(accountant: Accountant, rate: float, steps: int, dp_delta: float) -> float:
    """The smallest budget that ``accountant`` can show, rounded up to three digits.

    It is not 0: no noise brings the Rényi bound below what its largest order leaves for
    ``dp_delta``, or the PRV bound below the error of its grid.

    Raises:
        ZooError: Not even that much noise gives a number.
    """
    least = spent(accountant, _LARGEST_NOISE, rate, steps, dp_delta)
    if least is None:
        raise ZooError(
            f"dpsgd cannot account for dp_delta={dp_delta:g} with accountant={accountant} at any "
            f"noise; use accountant=rdp."
        )
    digit = 10.0 ** (math.floor(math.log10(least)) - 2)
    return math.ceil(least / digit) * digit
