"""Activation clustering: of a poisoned class, the features fall into two clusters.

The model gives the poisoned examples of a class for the trigger what it gives the others for what
they show, so their features differ. Each class is split in two; where the parts lie well apart, the
smaller one is held to be poisoned.

References:
    Chen et al. (2018). Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering.
    AAAI DefenderData on Artificial Intelligence Safety.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from harness.data.examples import Split
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.learning.features import features
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Part, Risk
from zoo.errors import ZooError

# scikit-learn is imported where it is used: a plan needs this class, not it.

FEWEST = 10
"""A class with fewer examples is left as it is: two clusters of them say nothing."""

STARTS: Any = 10
"""Of the clustering, of which the best is taken. (The type that scikit-learn infers is wrong.)"""


@dataclass(frozen=True, kw_only=True)
class ActivationClustering:
    """Train on the data as they are, cluster the features of each label, drop suspicious clusters.

    The smaller cluster is the suspicious one, so more poison than clean examples of a label is not
    found.

    Attributes:
        reduction: How the features are reduced before: ``ica`` (independent components) or ``pca``
            (principal ones).
        dimensions: To how many.
        criterion: When the smaller cluster of a label is dropped. ``reclassification``: a model
            trained without all smaller clusters gives it more often some other label than its own.
            ``silhouette``: the two lie apart. ``size``: it is small.
        separation: With ``silhouette``, what the mean silhouette coefficient is above.
        largest: With ``size``, the share of its class that the cluster has at most.
    """

    name: ClassVar[str] = "activation-clustering"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    looks_at: ClassVar[str] = "the training examples, of which it removes some by all the others"
    reference: ClassVar[str] = "Chen et al. (2018), https://arxiv.org/abs/1811.03728"

    reduction: Literal["ica", "pca"] = "pca"
    dimensions: int = 10
    criterion: Literal["reclassification", "silhouette", "size"] = "reclassification"
    separation: float = 0.15
    largest: float = 0.35

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ZooError(
                f"activation-clustering wants dimensions of at least 1, found {self.dimensions}."
            )
        if not 0 < self.largest <= 0.5:
            raise ZooError(
                f"activation-clustering wants largest above 0 and at most 0.5 (the smaller of two "
                f"clusters is no larger), found {self.largest}."
            )
        if not -1 <= self.separation <= 1:
            raise ZooError(
                f"activation-clustering wants separation between -1 and 1, found {self.separation}."
            )

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """The training data without the suspicious clusters, and the silhouette of each label."""
        found = features(defender.train(data), data.x)
        silhouettes: dict[str, float] = {}
        clusters: dict[int, Tensor] = {}
        for label in range(defender.num_classes):
            rows = (data.y == label).nonzero().flatten()
            if len(rows) < FEWEST:
                continue
            smaller, silhouette = self.split(found[rows], seed=derive(label, defender.seed))
            if silhouette is not None:
                silhouettes[str(label)] = silhouette
                clusters[label] = rows[smaller.to(rows.device)]
        if self.criterion == "silhouette":
            suspicious = [label for label in clusters if silhouettes[str(label)] > self.separation]
        elif self.criterion == "size":
            suspicious = [
                label
                for label, cluster in clusters.items()
                if len(cluster) <= self.largest * (data.y == label).sum()
            ]
        else:
            suspicious = _reclassified(data, clusters, defender)
        removed = _mask(data, [clusters[label] for label in suspicious])
        return Cleaned(
            data=data.take((~removed).nonzero().flatten()),
            removed=removed,
            notes={"silhouettes": silhouettes},
        )

    def split(self, rows: Tensor, *, seed: int) -> tuple[Tensor, float | None]:
        """Two clusters of features.

        Args:
            rows: Features (n, width) of one class.
            seed: Of the decomposition and the clustering.

        Returns:
            Indices of the smaller cluster, and the mean silhouette coefficient; None if there is
            only one cluster.
        """
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score

        points = self._reduced(rows.cpu().numpy(), seed % 2**32)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Number of distinct clusters")
            member = KMeans(2, n_init=STARTS, random_state=seed % 2**32).fit_predict(points)
        sizes = np.bincount(member, minlength=2)
        if sizes.min() == 0:
            return torch.tensor([], dtype=torch.int64), None
        smaller = torch.from_numpy((member == sizes.argmin()).nonzero()[0])
        return smaller, float(silhouette_score(points, member))

    def _reduced(self, points: np.ndarray, seed: int) -> np.ndarray:
        from sklearn.decomposition import PCA, FastICA
        from sklearn.exceptions import ConvergenceWarning

        # More components than the features span would be made of rounding errors.
        dimensions = min(self.dimensions, int(np.linalg.matrix_rank(points - points.mean(0))))
        if dimensions == 0:
            return points[:, :1]
        principal = PCA(dimensions, random_state=seed).fit_transform(points)
        if self.reduction == "pca":
            return principal
        with warnings.catch_warnings():
            # A nearly converged rotation clusters as well.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.asarray(FastICA(dimensions, random_state=seed).fit_transform(principal))


def _mask(data: Split, clusters: Iterable[Tensor]) -> Tensor:
    mask = torch.zeros(len(data), dtype=torch.bool, device=data.x.device)
    for cluster in clusters:
        mask[cluster] = True
    return mask


def _reclassified(data: Split, clusters: dict[int, Tensor], defender: DefenderData) -> list[int]:
    """The labels whose cluster gets some other label more often, by a model that never saw it."""
    rest = (~_mask(data, clusters.values())).nonzero().flatten()
    judge = BlackBox(defender.train(data.take(rest)), Access.LABELS)
    suspicious = []
    for label, cluster in clusters.items():
        votes = judge.labels(data.x[cluster]).bincount(minlength=defender.num_classes)
        if votes.argmax() != label:
            suspicious.append(label)
    return suspicious
