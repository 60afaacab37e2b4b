"""Who holds which examples of a dataset, by seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.data.dataset import Dataset
from harness.seeds import derive
from harness.types import Regime, UnfitError
from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import Tensor


CHECKED = 0.1
"""Share of the test data that an owner has checked by hand whose training data are not at hand."""


FEWEST_CHECKED = 100
"""Of those, however few examples a model is judged on: detectors compare with them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Quarters:
    """Who holds which examples: four disjoint index tensors (n,) int64 into one dataset.

    Attributes:
        target_train: The members. The target is trained on these, or was.
        target_test: The non-members, on which the target is judged.
        shadow_train: The attacker's own data, to train on.
        shadow_test: The attacker's own data, to test on.
        checked: Test data that the owner has checked by hand and that nobody is judged on, where
            there are no members whom the owner could have checked; else empty.
    """

    target_train: Tensor
    target_test: Tensor
    shadow_train: Tensor
    shadow_test: Tensor
    checked: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        parts = torch.cat(list(vars(self).values()))
        if len(parts.unique()) == len(parts):
            return
        shared = [
            f"{one} and {other}"
            for one, other in itertools.combinations(vars(self), 2)
            if bool(torch.isin(getattr(self, one), getattr(self, other)).any())
        ]
        raise ZooError(
            f"The quarters of a dataset have to be disjoint, but {', '.join(shared) or 'one'} "
            f"{'share' if shared else 'repeats'} examples: no attack could be judged. Split again."
        )


def quarters(dataset: Dataset, seed: int, regime: Regime, *, shadow: bool = False) -> Quarters:
    """The split of ``dataset`` for one seed.

    From scratch, all examples are shuffled and cut into four equal quarters (Liu et al. 2022,
    ML-Doctor). The rows that the encoding of a table was learnt from are shared out over the other
    three: whatever was learnt from ``target_test``, be it the range of a number, makes the model
    look better on it than on people it meets. Members and non-members are alike then only if the
    rows that were learnt from are like the rest, so the order of a table must not mean anything:
    an official split has to be random, as `harness.data.encoding` makes it where there is none.
    What remains is that a value which no such row has is a sign of a later row.

    A published model has already seen the official training data. To fine-tune it, the
    official *test* data is cut into four quarters, so that the members are examples that the
    published weights know nothing of.

    As downloaded, its members are official training examples, and it is judged on the *whole*
    official test data, the same for every seed: halves of it under the same weights would be no
    independent measurements. Only an attacker with data of the same distribution (``shadow``) gets
    half of it, always the same half, as its two shadow parts. Without an official split nobody
    knows the members, and there are none; where only the test data are at hand, a tenth of them is
    the owner's, to compare with.

    Args:
        dataset: What is split.
        seed: Of the cell.
        regime: How the target comes to its weights.
        shadow: Whether the attacker needs examples of its own of the same distribution. Makes no
            difference where the model is trained: everybody has a quarter.

    Of each of these parts no more than `Dataset.most` are taken, and of what the owner has checked
    at least `FEWEST_CHECKED` if there are so many.

    Raises:
        NotApplicableError: A model is to be fine-tuned on a dataset without an official split.
    """
    of_seed = (seed,) if regime is not Regime.PUBLISHED else ()
    rng = np.random.default_rng(derive("split", dataset.content_fingerprint, regime, *of_seed))
    known = dataset.only_test or 0 < dataset.n_train < len(dataset)
    if regime is Regime.FINE_TUNED and not known:
        raise UnfitError(
            f"Fine-tuning a published model needs examples that it has not seen, but "
            f"{dataset.name} has no official split to tell which those are."
        )
    start = 0 if regime is Regime.FROM_SCRATCH else dataset.n_train
    order = start + rng.permutation(len(dataset) - start)
    if regime is Regime.PUBLISHED:
        members = rng.permutation(dataset.n_train)
        size = round(CHECKED * len(order)) if dataset.only_test else 0
        checked, order = order[:size], order[size:]
        judged = len(order) // 2 if shadow else int((order >= dataset.n_fitted).sum())
        order = _unseen(order, 0, judged, dataset.n_fitted, rng)
        three = judged + (len(order) - judged) // 2
        parts = [members, order[:judged], order[judged:three], order[three:]]
        if not shadow:
            parts[2:] = [order[:0], order[:0]]
    else:
        checked, size = order[:0], len(order) // 4
        order = _unseen(order, size, 2 * size, dataset.n_fitted, rng)
        parts = [order[i * size : (i + 1) * size] for i in range(4)]
    train, test, shadow_train, shadow_test = (
        torch.from_numpy(part[: dataset.most]) for part in parts
    )
    return Quarters(
        target_train=train,
        target_test=test,
        shadow_train=shadow_train,
        shadow_test=shadow_test,
        checked=torch.from_numpy(checked[: max(FEWEST_CHECKED, dataset.most or len(checked))]),
    )


def _unseen(
    order: np.ndarray, begin: int, end: int, n_fitted: int, rng: np.random.Generator
) -> np.ndarray:
    """The same rows with none of the first ``n_fitted`` from ``begin`` to ``end``."""
    if not n_fitted:
        return order
    # Drawn anew: the first ones in order would leave the others at its end, for the last quarter.
    later = rng.permutation(np.flatnonzero(order >= n_fitted))[: end - begin]
    others = np.delete(order, later)
    return np.concatenate([others[:begin], order[later], others[begin:]])
