"""Fair classification as a game: weighted trainings, whose weights are those of broken constraints.

References:
    Agarwal et al. (2018). A Reductions Approach to Fair Classification. ICML. Algorithm 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from harness.batches import parts
from harness.data.examples import UNKNOWN, Split
from harness.defenses.shared.sensitive_attribute import OfAttribute, need_two_classes
from harness.learning.features import evaluating
from harness.learning.fit import fit
from harness.learning.mixture import Mixture
from harness.types import NotApplicableError, Part, Risk, Trait
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from fairlearn.reductions import ExponentiatedGradient as Reduction
    from numpy.typing import ArrayLike

    from harness.data.dataset import Dataset
    from harness.learning.fit import InputsOf

# fairlearn and scikit-learn are imported where they are used: a plan needs this class, not them.

DUST = 1e-6
"""A share below it is what the linear program rounded."""


@dataclass(frozen=True, kw_only=True)
class ExponentiatedGradient(OfAttribute):
    """Train on labels and weights that fairlearn sets against whoever is better off, many times.

    Each training is one by the recipe, from the same weights, and most iterations take three. What
    comes out is a mixture of networks. The guarantee of the paper is for whoever draws one of them
    anew for each answer, and decides as that one does. Here the mixture's scores are the weighted
    mean of its networks' scores, and its decision is the class of the larger one, so that the same
    input gets the same answer: how far apart the groups are on the training data under each of the
    two is in the evidence. Examples that nobody is behind are trained on as they are.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
        constraint: What is to be alike: how many of each group are given class 1
            (``demographic-parity``), or how many of those with each label (``equalized-odds``).
        bound: How far each group's rate may be from everybody's.
        iterations: Of the game, at most; the mixture has at most as many networks.
    """

    name: ClassVar[str] = "exponentiated-gradient"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS, Part.GRADIENTS})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.MAKES_MIXTURE})
    looks_at: ClassVar[str] = "the training examples, on which it trains with a loop of its own"
    reference: ClassVar[str] = "Agarwal et al. (2018), https://arxiv.org/abs/1803.02453"

    constraint: Literal["demographic-parity", "equalized-odds"] = "equalized-odds"
    bound: float = 0.01
    iterations: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.bound < 1:
            raise ZooError(
                f"exponentiated-gradient wants bound between 0 and 1, found {self.bound}."
            )
        if self.iterations < 1:
            raise ZooError(
                f"exponentiated-gradient wants iterations of at least 1, found {self.iterations}."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's first attribute.

        Raises:
            NotApplicableError: The dataset has no attributes, or more than two classes.
            ZooError: The dataset does not have this attribute.
        """
        need_two_classes(self.name, dataset)
        return super().resolve(dataset)

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """A mixture of copies of ``model``."""
        return Mixture([copy.deepcopy(model) for _ in range(self.iterations)], 2), {}

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> dict[str, Any]:
        """Train ``model`` in place; return what came of the game.

        Args:
            model: Of `adapt`, on the device of ``data``.
            data: The training data.
            recipe: How to train each network.
            seed: Of all randomness.
            inputs: Another defense's change to the inputs of each step.

        Raises:
            NotApplicableError: There are other labels than 0 and 1, or only one of them.
        """
        assert isinstance(model, Mixture), "adapt makes one"
        groups = self.groups(data).values
        rows = (groups != UNKNOWN).nonzero().flatten()
        y, group = data.y[rows].cpu().numpy(), groups[rows].cpu().numpy()
        if set(y.tolist()) != {0, 1}:
            raise NotApplicableError(
                f"{self.name} wants the labels 0 and 1, found {sorted(set(y.tolist()))}. Choose a "
                f"dataset with two classes."
            )
        start = copy.deepcopy(model.members[0])

        def train(labels: np.ndarray, weight: np.ndarray) -> tuple[nn.Module, np.ndarray]:
            weighed = torch.ones(len(data), device=rows.device)
            if data.weight is not None:
                weighed = data.weight.clone()
            weighed[rows] *= torch.from_numpy(weight).to(weighed)
            asked = data.y.clone()
            asked[rows] = torch.from_numpy(labels).to(asked)
            member = copy.deepcopy(start)
            changed = replace(data, y=asked, weight=weighed)
            fit(member, changed, recipe, seed=seed, inputs=inputs)
            return member, answers(member, data.x[rows])

        found = self._reduction(train).fit(
            np.arange(len(rows))[:, None], y, sensitive_features=group
        )
        shares, chance, left_out = self._fill(model, found, len(rows))
        gaps = {
            "randomised_gap": gap(chance, y, group, self.constraint),
            "decided_gap": gap(answers(model, data.x[rows]), y, group, self.constraint),
        }
        return {
            "networks": shares,
            "trainings": found.n_oracle_calls_,
            "duality_gap": float(found.best_gap_),
            "left_out": left_out,
            **gaps,
        }

    def _reduction(self, train: Trains) -> Reduction:
        from fairlearn.reductions import DemographicParity, EqualizedOdds
        from fairlearn.reductions import ExponentiatedGradient as Reduction

        kinds = {"demographic-parity": DemographicParity, "equalized-odds": EqualizedOdds}
        return Reduction(
            Member(train),
            kinds[self.constraint](difference_bound=self.bound),
            eps=self.bound,
            max_iter=self.iterations,
        )

    @torch.no_grad()
    def _fill(self, mixture: Mixture, found: Reduction, n: int) -> tuple[int, np.ndarray, float]:
        """Put what was found into the mixture.

        Returns:
            How many networks have a share, how likely the randomised classifier is to give class 1
            (n,), and the share of those for which there was no room.
        """
        used = sorted(
            ((float(share), found.predictors_[at]) for at, share in found.weights_.items()),
            key=lambda pair: -pair[0],
        )
        index = np.arange(n)[:, None]
        used = [pair for pair in used if pair[0] > DUST]
        chance = sum(share * predictor.predict(index) for share, predictor in used)
        networks = [pair for pair in used if isinstance(pair[1], Member)]
        kept = networks[: len(mixture.members)]
        constant = torch.zeros_like(mixture.constant)
        for share, predictor in used:
            if not isinstance(predictor, Member):  # the best answer was the same for everybody
                constant[int(predictor.predict(index[:1])[0])] += share
        shares = torch.zeros_like(mixture.shares)
        for at, slot in enumerate(mixture.members):
            if kept:
                share, member = kept[at % len(kept)]
                slot.load_state_dict(member.model.state_dict())
                shares[at] = share if at < len(kept) else 0.0
        total = shares.sum() + constant.sum()
        mixture.shares.copy_(shares / total)
        mixture.constant.copy_(constant / total)
        return len(kept), np.asarray(chance), sum(share for share, _ in networks[len(kept) :])


Trains = Callable[[np.ndarray, np.ndarray], tuple[nn.Module, np.ndarray]]


class Member:
    """A network as an estimator of fairlearn, whose inputs are the numbers of examples.

    Attributes:
        model: Once it is fitted.
    """

    model: nn.Module

    def __init__(self, train: Trains) -> None:
        """Train with ``train``: from labels and weights to a network and what it answers."""
        self._train = train

    def fit(self, X: object, y: ArrayLike, sample_weight: ArrayLike) -> Member:  # noqa: N803
        """Train on all examples, in their order."""
        self.model, self._answers = self._train(np.array(y), np.array(sample_weight))
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Labels of the examples with these numbers (n, 1)."""
        return self._answers[np.asarray(X)[:, 0]]


@torch.no_grad()
def answers(model: nn.Module, x: Tensor) -> np.ndarray:
    """Labels (n,) that ``model`` gives in eval mode."""
    with evaluating(model):
        return torch.cat([model(part).argmax(1) for part in parts(x)]).cpu().numpy()


def gap(chance: np.ndarray, y: np.ndarray, group: np.ndarray, constraint: str) -> float:
    """The largest difference between groups, in how likely class 1 is.

    Args:
        chance: Of class 1, (n,).
        y: Labels (n,).
        group: (n,).
        constraint: ``demographic-parity``, or ``equalized-odds`` for those with each label.
    """
    given = [y == 0, y == 1] if constraint == "equalized-odds" else [y == y]
    gaps = []
    for rows in given:
        rates = [chance[rows & (group == g)].mean() for g in np.unique(group[rows])]
        gaps.append(max(rates) - min(rates))
    return float(max(gaps))
