"""Samples of a dataset in which a chosen share of the examples has some property.

The labels are as frequent in every such sample as in the whole dataset, so that they do not give
the share away, and property and label remain as strongly associated as they are there: their odds
ratios are the same. Suri and Evans sample likewise: to the share, then a fixed number per class.
Examples whose attribute is not known are in no sample.

References:
    Suri and Evans (2022). Formalizing and Estimating Distribution Inference Risks. PoPETs.
    Deming and Stephan (1940). On a Least Squares Adjustment of a Sampled Frequency Table When the
    Expected Marginal Totals are Known. Annals of Mathematical Statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.examples import UNKNOWN
from zoo.errors import ZooError


@dataclass(frozen=True, eq=False, kw_only=True)
class Populations:
    """The samples of one dataset that differ in how frequent a property is.

    Attributes:
        dataset: To draw from.
        attribute: Its name.
        value: An example has the property if its attribute has this value.
        ratios: Share of the examples with the property, one for each population, in [0, 1].

    Raises:
        ZooError: No sample with a ratio has the dataset's frequencies of the labels.
    """

    dataset: Dataset
    attribute: str
    value: str
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        for ratio in self.ratios:
            for having, share in ((0, 1 - ratio), (1, ratio)):
                # Classes of which every example has the property, or none, set a least share.
                fixed = (self._counts[:, 1 - having] == 0) & (self._labels > 0)
                if self._labels[fixed].sum() > share + 1e-9:
                    names = " and ".join(map(str, np.flatnonzero(fixed)))
                    raise ZooError(
                        f"A share of {ratio:g} with {self} leaves class {names} of "
                        f"{self.dataset.name} without enough examples: of those, "
                        f"{'every' if having else 'no'} one has it. "
                        f"{'Raise' if having else 'Lower'} the ratio."
                    )

    def __str__(self) -> str:
        return f"{self.attribute}={self.value}"

    @cached_property
    def has(self) -> np.ndarray:
        """Which examples (n,) bool have the property."""
        found = self.dataset.attribute(self.attribute)
        return found.values.numpy() == found.names.index(self.value)

    @cached_property
    def known(self) -> np.ndarray:
        """Of which examples (n,) bool it is known whether they have the property."""
        return self.dataset.attribute(self.attribute).values.numpy() != UNKNOWN

    def share(self, index: np.ndarray | slice) -> float:
        """Share with the property of the examples at ``index`` of which it is known."""
        return float(self.has[index][self.known[index]].mean())

    @cached_property
    def _cell(self) -> np.ndarray:
        """2 * label + property of every example, (n,); -1 where it is not known."""
        return np.where(self.known, 2 * self.dataset.y.numpy() + self.has, -1)

    @cached_property
    def _counts(self) -> np.ndarray:
        return self._count(np.arange(len(self.dataset)))

    @cached_property
    def _labels(self) -> np.ndarray:
        """How frequent each class is, (classes,)."""
        return self._counts.sum(1) / self._counts.sum()

    def _count(self, index: np.ndarray) -> np.ndarray:
        """Examples at ``index`` by class and property, (classes, 2)."""
        cells = 2 * self.dataset.num_classes
        cell = self._cell[index]
        return np.bincount(cell[cell >= 0], minlength=cells).reshape(-1, 2)

    @cached_property
    def shares(self) -> np.ndarray:
        """Share of each class that has the property, (populations, classes)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            odds = np.log(self._counts[:, 1]) - np.log(self._counts[:, 0])
        odds = np.nan_to_num(odds, nan=0.0, posinf=np.inf, neginf=-np.inf)
        return np.stack([self._share(odds, ratio) for ratio in self.ratios])

    def _share(self, odds: np.ndarray, ratio: float) -> np.ndarray:
        """The log odds of every class, shifted alike until their mean share is ``ratio``."""

        def shifted(by: float) -> np.ndarray:
            return 1 / (1 + np.exp(-(odds + by)))

        low, high = -60.0, 60.0
        for _ in range(100):
            middle = (low + high) / 2
            if self._labels @ shifted(middle) < ratio:
                low = middle
            else:
                high = middle
        return shifted(high)

    def sizes(self, n: int) -> np.ndarray:
        """Examples by population, class and property in a sample of ``n``, (populations, c, 2)."""
        exact = n * self._labels
        labels = np.floor(exact).astype(int)
        labels[np.argsort(labels - exact, kind="stable")[: n - labels.sum()]] += 1
        having = np.rint(labels * self.shares).astype(int)
        return np.stack([labels - having, having], axis=2)

    def largest(self, pools: Sequence[Tensor]) -> int:
        """The largest sample that every population can draw from each of ``pools``."""
        held = np.min([self._count(pool.numpy()) for pool in pools], axis=0)
        wanted = self._labels[:, None] * np.stack([1 - self.shares, self.shares], axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A kind that there is nothing of may be one that a small sample rounds to nothing.
            most = int(np.nanmin(np.where(wanted > 1e-9, (held + 0.5) / wanted, np.inf)))
        # Rounding to whole examples may ask for one more of a kind than there is.
        return next((n for n in range(most, 0, -1) if (self.sizes(n) <= held).all()), 0)

    def draw(self, pool: Tensor, population: int, n: int, *, seed: int) -> Tensor:
        """A sample of ``n`` rows of the dataset from ``pool``, without replacement, shuffled.

        Args:
            pool: (m,) int64 rows of the dataset.
            population: Position in ``ratios``.
            n: At most `largest`.
            seed: Of the draw.
        """
        rng = np.random.default_rng(seed)
        order = rng.permutation(pool.numpy())
        cell = self._cell[order]
        wanted = self.sizes(n)[population].ravel()
        chosen = [order[cell == c][:size] for c, size in enumerate(wanted)]
        return torch.from_numpy(rng.permutation(np.concatenate(chosen)))
