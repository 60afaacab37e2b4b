"""Extraction with few queries: answers to some inputs, and many inputs without an answer.

The surrogate is trained by MixMatch: the unanswered inputs get the surrogate's own sharpened
guess as their label, and all examples are mixed in pairs.

References:
    Jagielski et al. (2020). High Accuracy and High Fidelity Extraction of Neural Networks. USENIX
    Security.
    Berthelot et al. (2019). MixMatch: A Holistic Approach to Semi-Supervised Learning. NeurIPS.
    Yoon et al. (2020). VIME: Extending the Success of Self- and Semi-supervised Learning to Tabular
        Domain. NeurIPS. (How rows of a table are augmented.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared import convergence, surrogate
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.data.images import moved
from harness.learning.fit import make_optimizer
from harness.seeds import derive, seeded
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class SemiSupervised:
    """Ask for a part of the attacker's inputs, and learn from the others as well.

    Images are augmented by random shifts only: a mirrored digit is another one. In rows of a table
    some columns are replaced by those of other rows of the attacker's. Of MixMatch, the moving
    average of the weights is left out.

    Attributes:
        share: Of the attacker's inputs that are asked if the threat model sets no budget.
        surrogate: Architecture of the surrogate; the target's own if not given.
        lr: Learning rate of Adam.
        epochs: Passes over the unanswered inputs.
        batch_size: Answered inputs per step, and as many unanswered ones.
        temperature: Of the guesses; 1 leaves them as they are, below 1 sharpens them.
        alpha: Of the Beta distribution that mixing weights are drawn from.
        weight: Of the loss on unanswered inputs, after a linear rise over the whole training.
        shift: Largest random shift, as a share of the image's side; .125 is customary for natural
            images, and 0 assumes nothing about what the target is blind to.
        corruption: Probability with which a column of a row is replaced; 0 likewise.
    """

    name: ClassVar[str] = "semi-supervised"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL, Aux.OOD)
    reference: ClassVar[str] = "Jagielski et al. (2020), https://arxiv.org/abs/1909.01838"

    share: float = 0.2
    surrogate: str | None = None
    lr: float = 2e-3
    epochs: int = 60
    batch_size: int = 64
    temperature: float = 0.5  # Berthelot et al. 2019
    alpha: float = 0.75  # Berthelot et al. 2019
    weight: float = 75.0  # Berthelot et al. 2019, CIFAR-10
    shift: float = 0.0
    corruption: float = 0.0

    def __post_init__(self) -> None:
        _ = self.recipe
        for name, fits, words in (
            ("share", 0 < self.share <= 1, "above 0 and at most 1"),
            ("temperature", self.temperature > 0, "above 0"),
            ("alpha", self.alpha > 0, "above 0"),
            ("weight", self.weight >= 0, "of at least 0"),
            ("shift", 0 <= self.shift < 1, "of at least 0 and below 1"),
            ("corruption", 0 <= self.corruption < 1, "of at least 0 and below 1"),
        ):
            if not fits:
                raise ZooError(
                    f"semi-supervised wants {name} {words}, found {getattr(self, name)}."
                )

    @property
    def recipe(self) -> Recipe:
        """How the surrogate is trained."""
        return Recipe(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a surrogate, or an augmentation, that does not fit the dataset.

        Raises:
            ZooError: It is unknown, or its input or its classes do not fit; or rows are to be
                shifted, or images to be corrupted.
        """
        surrogate.check(self.surrogate, dataset)
        other = "shift" if len(dataset.input_shape) == 1 else "corruption"
        if getattr(self, other):
            raise ZooError(
                f"semi-supervised wants no {other} for inputs of {dataset.name}, which are "
                f"{'rows of a table' if other == 'shift' else 'images'}, found "
                f"{getattr(self, other)}. Set it to 0."
            )
        return self

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """Steal ``target`` and return the surrogate, in eval mode."""
        x = data.aux.x
        n = target.budget or max(1, round(self.share * len(x)))
        chosen = torch.zeros(len(x), dtype=torch.bool)
        chosen[surrogate.choice(len(x), n, seed)] = True
        asked, rest = x[chosen.to(x.device)], x[~chosen.to(x.device)]
        return self._learn(Split(asked, surrogate.ask(target, asked)), rest, data, seed)

    def unasked(self, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The same surrogate if it learns the true labels of all the attacker's inputs instead."""
        return self._learn(data.aux, data.aux.x[:0], data, seed)

    def _learn(self, taught: Split, rest: Tensor, data: AuxiliaryData, seed: int) -> nn.Module:
        """The surrogate, from inputs with an answer or a label and the ``rest`` without."""
        pool, asked = data.aux, taught.x
        answers = surrogate.probabilities(taught.y, data.num_classes)
        model = surrogate.build(self.surrogate, data, seed).to(asked.device)
        if not len(rest):  # what is known stands in for what is not
            rest = asked
        optimizer = make_optimizer(list(model.parameters()), self.recipe)
        rng = np.random.default_rng(derive("mixmatch", seed))
        size = self.batch_size
        steps = self.epochs * math.ceil(len(rest) / size)
        model.train()
        with seeded("dropout", derive("surrogate", seed)):
            for step in range(steps):
                known = torch.from_numpy(rng.integers(len(asked), size=size)).to(asked.device)
                unknown = torch.from_numpy(rng.integers(len(rest), size=size)).to(asked.device)
                views = [self._augmented(rest[unknown], pool, rng) for _ in range(2)]
                with torch.no_grad():
                    guess = torch.stack([model(view).softmax(1) for view in views]).mean(0)
                    guess = sharpen(guess, self.temperature)
                x = torch.cat([self._augmented(asked[known], pool, rng), *views])
                y = torch.cat([answers[known], guess, guess])
                x, y = mixed(x, y, self.alpha, rng)
                logits = model(x)
                loss = F.cross_entropy(logits[:size], y[:size])
                loss_unknown = F.mse_loss(logits[size:].softmax(1), y[size:])
                optimizer.zero_grad()
                (loss + self.weight * (step / steps) * loss_unknown).backward()
                optimizer.step()
        convergence.classifies(data, "the surrogate", model.eval(), asked, answers)
        return model

    def _augmented(self, x: Tensor, pool: Split, rng: np.random.Generator) -> Tensor:
        """Images that are shifted, or rows that are corrupted by those of ``pool``."""
        if x.dim() == 2:
            return corrupted(x, pool, self.corruption, rng)
        return self._shifted(x, rng)

    def _shifted(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """Each image moved by its own whole number of pixels; edges are repeated."""
        rows, columns = (
            torch.from_numpy(rng.integers(-most, most + 1, size=len(x)))
            for most in (int(self.shift * side) for side in x.shape[2:])
        )
        return moved(x, rows, columns, repeat_edges=True)


def corrupted(x: Tensor, pool: Split, share: float, rng: np.random.Generator) -> Tensor:
    """Rows (n, features) with some columns replaced by the same column of rows of ``pool``.

    Args:
        x: The rows.
        pool: Any of its rows may stand in, for each row and column another one.
        share: Probability with which a column of a row is replaced.
        rng: Of all that.
    """
    found = x.clone()
    places = [(c.start, c.stop) for c in pool.columns] or [(i, i + 1) for i in range(x.shape[1])]
    for start, stop in places:
        replaced = torch.from_numpy(rng.random(len(x)) < share).to(x.device)[:, None]
        other = torch.from_numpy(rng.integers(len(pool), size=len(x))).to(x.device)
        found[:, start:stop] = torch.where(replaced, pool.x[other, start:stop], x[:, start:stop])
    return found


def sharpen(scores: Tensor, temperature: float) -> Tensor:
    """Probabilities (n, classes) raised to 1 / ``temperature`` and made to sum to 1 again."""
    powered = scores ** (1 / temperature)
    return powered / powered.sum(1, keepdim=True)


def mixed(x: Tensor, y: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each example averaged with another one, of which it gets the smaller part."""
    part = rng.beta(alpha, alpha, size=len(x)).astype(np.float32)
    part = torch.from_numpy(np.maximum(part, 1 - part)).to(x.device)
    other = torch.from_numpy(rng.permutation(len(x))).to(x.device)
    of_x, of_y = part.view(-1, *[1] * (x.dim() - 1)), part[:, None]
    return of_x * x + (1 - of_x) * x[other], of_y * y + (1 - of_y) * y[other]
