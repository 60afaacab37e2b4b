"""Last-layer retraining: weigh anew what a network has learned, on examples that are balanced.

A network that leans on what goes with a group has mostly learned the rest too. What is wrong is how
much each feature counts, and that is decided in the last layer.

References:
    Kirichenko, Izmailov and Wilson (2023). Last Layer Re-Training is Sufficient for Robustness to
    Spurious Correlations. ICLR.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.data.examples import UNKNOWN, Split
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.sensitive_attribute import OfAttribute
from harness.learning.features import features, head
from harness.seeds import derive, generator
from harness.types import NotApplicableError, Part, Risk, Trait, UnfitError
from zoo.errors import ZooError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# scikit-learn is imported where it is used: a plan needs this class, not it.

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Inverse strengths of the L1 penalty that are tried, as in the authors' code."""

FEWEST = 2
"""Held-out examples of a group and a label: one to fit, one to choose the strength by."""


@dataclass(frozen=True, kw_only=True)
class DFR(OfAttribute):
    """Hold out some training examples, and retrain the last layer on balanced draws of them.

    The share is taken of every group and label, and two at least. The features of the held-out
    examples, which the network was not fitted to, are standardised, and the new layer is the mean
    of logistic regressions with an L1 penalty, each on as many examples of every group and label as
    the rarest has. The strength of the penalty is the one whose worst accuracy of a group and label
    is best on one half of the held-out examples after fitting to the other. As the last layer is
    fitted to the held-out examples, they too are what the model was trained on.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
        held_out: Share of the training data that is held out.
        draws: How many balanced draws there are; 20 in the authors' code.
    """

    name: ClassVar[str] = "dfr"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA, Part.MODEL})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.EDITS_ONE_NETWORK, Trait.HOLDS_OUT})
    looks_at: ClassVar[str] = "the held-out examples, to which the last layer is fitted"
    reference: ClassVar[str] = "Kirichenko et al. (2023), https://arxiv.org/abs/2204.02937"

    held_out: float = 0.2
    draws: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ZooError(f"dfr wants held_out between 0 and 1, found {self.held_out}.")
        if self.draws < 1:
            raise ZooError(f"dfr wants draws of at least 1, found {self.draws}.")

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """``data``, which are all that the owner has, without the held-out examples.

        Raises:
            NotApplicableError: Some group has too few examples with some label, or all of a class
                are held out.
        """
        held = self.rows(defender)
        return Cleaned(data=data.take(~held), held_out=held, notes={"held_out": int(held.sum())})

    def rows(self, defender: DefenderData) -> Tensor:
        """Which of the owner's examples are held out, (n,) bool.

        Raises:
            NotApplicableError: Some group has too few examples with some label, or all of a class
                are held out.
        """
        groups = self.groups(defender.data)
        cells, device = (
            self._cells(defender.data, defender.num_classes).cpu(),
            defender.data.x.device,
        )
        stream = generator(self.name, defender.seed)
        held = torch.zeros(len(cells), dtype=torch.bool)
        for cell in range(len(groups.names) * defender.num_classes):
            members = (cells == cell).nonzero().flatten()
            if len(members) < FEWEST:
                group, label = divmod(cell, defender.num_classes)
                raise NotApplicableError(
                    f"dfr wants at least {FEWEST} training examples of each group and label to "
                    f"hold out, found {len(members)} of {groups.names[group]} with label {label}. "
                    f"Choose another attribute, or a larger dataset."
                )
            count = max(FEWEST, round(self.held_out * len(members)))
            held[members[torch.randperm(len(members), generator=stream)[:count]]] = True
        for label in defender.data.y.unique().tolist():
            if held[defender.data.y.cpu() == label].all():
                raise NotApplicableError(
                    f"dfr holds out every example of class {label}, and leaves none to train on. "
                    f"Lower held_out, or choose a larger dataset."
                )
        return held.to(device)

    def edit(self, model: nn.Module, data: Split, defender: DefenderData) -> nn.Module:
        """A copy of ``model`` with another last layer.

        Raises:
            NotApplicableError: The last layer is not linear, or adds nothing to what it weighs.
        """
        held = defender.data.take(self.rows(defender))
        repaired = copy.deepcopy(model)
        layer = head(repaired, held.x)
        if layer.bias is None:
            raise UnfitError(
                "dfr puts a bias into the last layer, but the network's has none. Choose a network "
                "that has one."
            )
        rng = np.random.default_rng(derive(self.name, "draws", defender.seed))
        weight, bias = retrained(
            features(repaired, held.x).double().cpu().numpy(),
            held.y.cpu().numpy(),
            self._cells(held, defender.num_classes).cpu().numpy(),
            draws=self.draws,
            rng=rng,
        )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        return repaired.eval()

    def _cells(self, data: Split, num_classes: int) -> Tensor:
        """A number for each group and label, (n,) int64; below 0 where nobody is behind."""
        groups = self.groups(data).values
        return torch.where(groups == UNKNOWN, -1, groups * num_classes + data.y)


def retrained(
    x: np.ndarray, y: np.ndarray, cells: np.ndarray, *, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The weight (classes, width) and bias (classes,) of the new last layer.

    Args:
        x: Features (n, width), of every class.
        y: Labels (n,).
        cells: Group and label of each, as a number; at least two examples of each.
        draws: How many balanced draws are averaged over.
        rng: Which examples are drawn.
    """
    from sklearn.preprocessing import StandardScaler

    scaler: Any = StandardScaler().fit(x)
    x = scaler.transform(x)
    strength = chosen(x, y, cells, rng)
    fits = [_fitted(x[rows], y[rows], strength) for rows in balanced(cells, draws, rng)]
    coef = np.mean([fit.coef_ for fit in fits], axis=0)
    intercept = np.mean([fit.intercept_ for fit in fits], axis=0)
    if len(coef) == 1:
        # Of two classes there is one score, which is the difference of two logits.
        coef, intercept = np.stack([-coef[0], coef[0]]) / 2, np.r_[-intercept, intercept] / 2
    weight = coef / scaler.scale_
    return weight, intercept - weight @ scaler.mean_


def chosen(x: np.ndarray, y: np.ndarray, cells: np.ndarray, rng: np.random.Generator) -> float:
    """The one of `STRENGTHS` that is best for the worst cell; the weakest penalty of equal ones.

    Args:
        x: Standardised features (n, width).
        y: Labels (n,).
        cells: Group and label of each, as a number; at least two examples of each.
        rng: Which half is fitted to.
    """
    first = np.zeros(len(cells), dtype=bool)
    for cell in np.unique(cells):
        members = rng.permutation(np.flatnonzero(cells == cell))
        first[members[: len(members) // 2]] = True
    half = np.flatnonzero(first)
    (rows,) = balanced(cells[half], 1, rng)

    def worst(strength: float) -> float:
        fit = _fitted(x[half[rows]], y[half[rows]], strength)
        right = np.equal(fit.predict(x[~first]), y[~first])
        return min(right[cells[~first] == cell].mean() for cell in np.unique(cells))

    return max(STRENGTHS, key=worst)


def balanced(cells: np.ndarray, draws: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each draw: as many of every cell as the rarest has."""
    known, counts = np.unique(cells, return_counts=True)
    members = [np.flatnonzero(cells == cell) for cell in known]
    return [
        np.concatenate([rng.choice(rows, counts.min(), replace=False) for rows in members])
        for _ in range(draws)
    ]


def _fitted(x: np.ndarray, y: np.ndarray, strength: float) -> LogisticRegression:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Another thousand passes over features that tell all classes apart change no decision.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(
            l1_ratio=1.0, C=strength, solver="saga", tol=1e-3, max_iter=1000, random_state=0
        ).fit(x, y)
