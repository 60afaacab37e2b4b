"""Knockoff Nets: extraction with inputs that need not resemble the target's data.

The attacker holds a pool of images with labels of their own and decides which of them are worth a
query: at random, or as a gradient bandit whose actions are the pool's classes and whose reward says
how much an answer taught. The copy is trained on the answers in either case.

References:
    Orekondy, Schiele and Fritz (2019). Knockoff Nets: Stealing Functionality of Black-Box Models.
    CVPR.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.special import softmax
from torch import nn

from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared import convergence, surrogate
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import fit, make_optimizer
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.recipe import Recipe

WINDOW = 256
"""Past answers that a reward is compared with."""


@dataclass(frozen=True, kw_only=True)
class Knockoff:
    """Ask what a policy chooses from a pool of images, and train a surrogate on the answers.

    The adaptive policy prefers classes of the pool whose answers are certain, unlike the ones
    before, and not what the surrogate expected. Without a query budget the whole pool is asked,
    and the policies choose the same.

    Attributes:
        policy: ``random`` or ``adaptive``.
        surrogate: Architecture of the surrogate; the target's own if not given.
        lr: Learning rate of Adam.
        epochs: Passes over the answered queries.
        batch_size: Queries per step; the adaptive policy learns after as many answers.
    """

    name: ClassVar[str] = "knockoff"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.OOD, Aux.SHADOW)
    reference: ClassVar[str] = "Orekondy et al. (2019), https://arxiv.org/abs/1812.02766"

    policy: Literal["random", "adaptive"] = "random"
    surrogate: str | None = None
    lr: float = 1e-3
    epochs: int = 40
    batch_size: int = 64

    def __post_init__(self) -> None:
        _ = self.recipe

    @property
    def recipe(self) -> Recipe:
        """How the surrogate is trained."""
        return Recipe(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a surrogate that does not fit the dataset.

        Raises:
            ZooError: It is unknown, or its input or its classes do not fit.
        """
        surrogate.check(self.surrogate, dataset)
        return self

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """Steal ``target`` and return the surrogate, in eval mode."""
        budget = len(data.aux) if target.budget is None else target.budget
        if self.policy == "adaptive":
            asked = self._adaptive(target, data.aux, data, budget, seed)
        else:
            order = surrogate.choice(len(data.aux), budget, seed)
            x = data.aux.x[order.to(data.aux.x.device)]
            asked = Split(x, surrogate.ask(target, x))
        return self._learn(asked, data, seed)

    def unasked(self, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The same surrogate if it learns the true labels of the whole pool instead."""
        return self._learn(data.aux, data, seed)

    def _learn(self, known: Split, data: AuxiliaryData, seed: int) -> nn.Module:
        copy = surrogate.build(self.surrogate, data, seed).to(known.x.device)
        fit(copy, known, self.recipe, seed=derive("surrogate", seed))
        convergence.classifies(data, "the surrogate", copy, known.x, known.y)
        return copy

    def _adaptive(
        self, target: BlackBox, pool: Split, data: AuxiliaryData, budget: int, seed: int
    ) -> Split:
        """The inputs that the bandit asked, in the pool's order, and the answers."""
        bandit = Bandit(pool.y.cpu().numpy(), derive("bandit", seed))
        # This surrogate only says what is surprising; the one that is kept sees all answers.
        pupil = surrogate.build(self.surrogate, data, derive("pupil", seed)).to(pool.x.device)
        optimizer = make_optimizer(list(pupil.parameters()), self.recipe)
        rows, answers = [], []
        for start in range(0, budget, self.batch_size):
            chosen, actions = bandit.draw(min(self.batch_size, budget - start))
            x = pool.x[torch.from_numpy(chosen).to(pool.x.device)]
            answer = surrogate.ask(target, x)
            wanted = surrogate.probabilities(answer, data.num_classes)
            with torch.no_grad():
                surprise = F.cross_entropy(pupil.eval()(x), wanted, reduction="none")
            bandit.learn(actions, wanted.cpu().numpy(), surprise.cpu().numpy())
            if len(x) > 1:  # batch norm cannot be trained on one example
                optimizer.zero_grad()
                F.cross_entropy(pupil.train()(x), wanted).backward()
                optimizer.step()
            rows.append(torch.from_numpy(chosen))
            answers.append(answer)
        # In the pool's order, so that where all of it is asked both policies teach the same.
        asked, order = torch.cat(rows).sort()
        device = pool.x.device
        return Split(pool.x[asked.to(device)], torch.cat(answers)[order.to(device)])


class Bandit:
    """A gradient bandit over the classes of a pool; no member of the pool is drawn twice.

    Attributes:
        preference: (num_actions,) the larger, the more often a class is drawn.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        order = self._rng.permutation(len(labels))
        self._left = [list(order[labels[order] == label]) for label in np.unique(labels)]
        self.preference = np.zeros(len(self._left))
        self._times = np.zeros(len(self._left), dtype=int)
        self._rewards: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._answers: deque[np.ndarray] = deque(maxlen=WINDOW)

    @property
    def policy(self) -> np.ndarray:
        """Probability of each class; 0 where nothing is left."""
        return softmax(np.where([bool(left) for left in self._left], self.preference, -np.inf))

    def draw(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices (n,) into the pool, and the class that each was drawn from."""
        chosen, actions = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        for i in range(n):
            actions[i] = self._rng.choice(len(self._left), p=self.policy)
            chosen[i] = self._left[actions[i]].pop()
        return chosen, actions

    def learn(self, actions: np.ndarray, answers: np.ndarray, surprise: np.ndarray) -> None:
        """Update the preferences, one answer after the other.

        Args:
            actions: (n,) the classes that were drawn.
            answers: (n, num_classes) probabilities.
            surprise: (n,) cross-entropy between the answers and what was expected.
        """
        usual = np.mean(self._answers, axis=0) if self._answers else answers.mean(axis=0)
        top = np.partition(answers, -2, axis=1)
        certainty = top[:, -1] - top[:, -2]
        diversity = np.maximum(0, answers - usual).sum(axis=1)
        rewards = np.stack([certainty, diversity, surprise], axis=1)  # (n, 3)
        self._answers.extend(answers)
        self._rewards.extend(rewards)
        # Each reward rescaled to [0, 1] and less its mean, so that all three count the same.
        past = np.array(self._rewards)
        spread = np.ptp(past, axis=0)
        scale = np.divide(1, spread, out=np.zeros(3), where=spread > 0)
        gains = ((rewards - past.mean(axis=0)) * scale).sum(axis=1)
        for action, gain in zip(actions, gains, strict=True):
            self._times[action] += 1
            drawn = np.arange(len(self.preference)) == action
            self.preference += gain / self._times[action] * (drawn - softmax(self.preference))
