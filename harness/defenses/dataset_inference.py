"""Dataset inference: a model made from the owner's data is surer of them than of other data.

Maini et al. embed an example by its distance to the decision boundary (how far it has to be moved
until the model gives another class; in white box by gradient steps, MinGD) and compare members with
unseen examples by Welch's test. Their confidence regressor learns from the owner's model alone; on
a few hundred examples it mostly learns which of them are easy for any model. Here the owner trains
references on unseen examples, and the suspect's distances are judged after what theirs predict is
taken out. No example is judged by a reference that was trained on it, and members and unseen
examples are cut into the same two halves, so for a model that has nothing to do with the owner's
they are draws from one distribution.

Independent models that share their training data share its luck: their p-values rise and fall
together, and the stated rate of false claims holds over owners, not among the suspects of one.

References:
    Maini, Yaghini and Papernot (2021). Dataset Inference: Ownership Resolution in Machine Learning.
    ICLR.
    Szyller et al. (2023). On the Robustness of Dataset Inference. TMLR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.ownership import Owner, margins
from harness.metrics.ownership import Verification
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, NotApplicableError, Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    import numpy as np

SMALLEST = 8
"""Examples of each kind below which there is no test."""


@dataclass(frozen=True, kw_only=True)
class DatasetInference:
    """Test whether a suspect is surer of the owner's training data than it would be by chance.

    Attributes:
        distance: ``margin``, the difference of the logits, which scores show; or ``mingd``, the L1,
            L2 and L∞ distance to the boundary, which takes the weights.
        steps: Of ``mingd``: each goes to where the boundary would be if the model were linear.
        rivals: Of ``mingd``: to how many other classes distances are computed, the likeliest first.
        references: How many models are trained on each half of the unseen examples.
        independents: How many independent models the false claims are counted on.
    """

    name: ClassVar[str] = "dataset-inference"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.EVIDENCE})
    looks_at: ClassVar[str] = "the training examples, which suspects are asked about"
    reference: ClassVar[str] = "Maini et al. (2021), https://arxiv.org/abs/2104.10706"

    distance: Literal["margin", "mingd"] = "margin"
    steps: int = 2
    rivals: int = 3
    references: int = 4
    independents: int = 20

    def __post_init__(self) -> None:
        if self.distance not in ("margin", "mingd"):
            raise ZooError(f"dataset-inference wants margin or mingd, found {self.distance!r}.")
        for name in ("steps", "rivals", "references", "independents"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"dataset-inference wants {name} of at least 1, found {getattr(self, name)}."
                )

    def verifier(self, owner: Owner) -> Callable[[BlackBox], Verification]:
        """Welch's test of members against unseen examples; ``statistic`` is its t.

        A published model as downloaded comes without a way to train references; the distances are
        then judged as they are.

        Raises:
            NotApplicableError: There are too few examples.
        """
        n, m = len(owner.members), len(owner.unseen)
        if min(n, m) < SMALLEST:
            raise NotApplicableError(
                f"dataset-inference wants at least {SMALLEST} members and unseen examples, found "
                f"{n} and {m}."
            )
        data = Split(
            torch.cat([owner.members.x, owner.unseen.x]),
            torch.cat([owner.members.y, owner.unseen.y]),
        )
        stream = generator("dataset inference", owner.defender.seed)
        # Halves of the members, halves of the unseen.
        half = torch.cat([torch.randperm(n, generator=stream), torch.randperm(m, generator=stream)])
        half = half % 2
        expected = None
        if owner.defender.recipe is not None:
            first, second = (
                self._expected(owner.unseen.take((half[n:] != h).nonzero()[:, 0].to(data.x.device)),
                               data, owner.defender, stream)
                for h in (0, 1)
            )  # fmt: skip
            expected = torch.where((half == 0)[:, None], first, second).numpy()

        def verify(suspect: BlackBox) -> Verification:
            return _welch(self._distances(suspect, data).numpy(), expected, half.numpy(), n)

        return verify

    def _expected(
        self, train: Split, data: Split, defender: DefenderData, stream: torch.Generator
    ) -> Tensor:
        """The mean distances (n, norms) of models that are trained on resamples of ``train``."""
        found = []
        for _ in range(self.references):
            sample = torch.randint(len(train), (len(train),), generator=stream)
            model = defender.train(train.take(sample.to(train.x.device)))
            found.append(self._distances(BlackBox(model, Access.WEIGHTS), data))
        return torch.stack(found).mean(0)

    def _distances(self, suspect: BlackBox, data: Split) -> Tensor:
        """One row for each example (n, norms), on the CPU; below 0 where the suspect is wrong."""
        if self.distance == "margin":
            return margins(suspect.scores(data.x), data.y)[:, None].cpu()
        return distances(suspect.model, data, steps=self.steps, rivals=self.rivals).cpu()


def distances(
    model: nn.Module, data: Split, *, steps: int, rivals: int, batch_size: int = 256
) -> Tensor:
    """How far each example is from the nearest other class, (n, 3) in L1, L2 and L∞.

    It is a fact about the function, so the path may leave the pixel range. Each example is treated
    by itself.

    Args:
        model: In eval mode.
        data: Examples with their true labels; a mistake has a negative distance.
        steps: Each goes to where the boundary would be if the model were linear.
        rivals: How many other classes are tried, the likeliest first.
        batch_size: Examples at once; each stands for its rivals in all three norms.
    """
    parts = [
        _nearest(model, x, y, steps, rivals)
        for x, y in zip(data.x.split(batch_size), data.y.split(batch_size), strict=True)
    ]
    return torch.cat(parts)


def _nearest(model: nn.Module, x: Tensor, y: Tensor, steps: int, rivals: int) -> Tensor:
    with torch.no_grad():
        logits = model(x).scatter(1, y[:, None], -torch.inf)
    rivals = min(rivals, logits.shape[1] - 1)
    others = logits.topk(rivals, 1).indices.flatten()
    start, labels = x.repeat_interleave(rivals, 0), y.repeat_interleave(rivals)

    def gap(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            found = model(z)
            found = (found.gather(1, labels[:, None]) - found.gather(1, others[:, None]))[:, 0]
            return found.detach(), torch.autograd.grad(found.sum(), z)[0].flatten(1)

    columns = []
    for norm, dual in ((1, torch.inf), (2, 2), (torch.inf, 1)):
        moved = torch.zeros_like(start).flatten(1)
        sign = None
        for _ in range(steps):
            value, slope = gap(start + moved.view_as(start))
            sign = value.sign() if sign is None else sign
            size = slope.norm(p=dual, dim=1, keepdim=True).clamp_min(1e-12)
            if norm == 1:  # the one pixel that changes the gap the most
                top = slope.abs().argmax(1, keepdim=True)
                step = torch.zeros_like(slope).scatter(1, top, slope.gather(1, top).sign())
            else:
                step = slope / size if norm == 2 else slope.sign()
            moved = moved - value[:, None] / size * step
        assert sign is not None
        columns.append((sign * moved.norm(p=norm, dim=1)).view(len(x), rivals).amin(1))
    return torch.stack(columns, 1)


def _welch(
    found: np.ndarray, expected: np.ndarray | None, half: np.ndarray, members: int
) -> Verification:
    """Whether the first ``members`` rows are larger than the others, given what is expected.

    Args:
        found: (n, norms) distances.
        expected: (n, norms) of the references; None without any.
        half: (n,) which references they are.
        members: How many rows are members.
    """
    import numpy as np
    from scipy.stats import ttest_ind

    if found.std(0).max() < 1e-9:  # a model that says the same of everything
        return Verification(p_value=1.0, statistic=0.0)
    rest = np.empty(len(found))
    for h in (0, 1):
        rows = half == h
        columns = [np.ones((rows.sum(), 1))]
        if expected is not None:
            columns.append(expected[rows])
        design = np.concatenate(columns, 1)
        scaled = (found[rows] / np.maximum(found[rows].std(0), 1e-12)).mean(1)
        rest[rows] = scaled - design @ np.linalg.lstsq(design, scaled, rcond=None)[0]
    statistic, p_value = np.asarray(
        ttest_ind(rest[:members], rest[members:], equal_var=False, alternative="greater")
    )
    return Verification(p_value=float(p_value), statistic=float(statistic))
