"""Membership attacks on a target whose scores are written down."""

import math

import pytest
import torch
from torch import nn

from harness.attacks.correctness import Correctness
from harness.attacks.loss_threshold import LossThreshold
from harness.attacks.modified_entropy import ModifiedEntropy, modified_entropy
from harness.attacks.protocol import AttackedPoints
from harness.data.examples import Split
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access

SCORES = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8]])
LABELS = torch.tensor([0, 0, 2])


class Written(nn.Module):
    """Answers row ``i`` of `SCORES` to the input ``i``."""

    def forward(self, x):
        return SCORES[x.flatten().long()].log()


DATA = AttackedPoints(
    points=Split(torch.arange(3.0).view(3, 1, 1, 1), LABELS),
    num_classes=3,
    architecture="none",
    input_shape=(1, 1, 1),
)


def test_correctness_says_who_is_right() -> None:
    found = Correctness().run(BlackBox(Written(), Access.LABELS), DATA, seed=0)
    assert found.tolist() == [1.0, 0.0, 1.0]


def test_the_loss_is_the_log_of_the_own_score() -> None:
    found = LossThreshold().run(BlackBox(Written(), Access.SCORES), DATA, seed=0)
    expected = [math.log(0.7), math.log(0.25), math.log(0.8)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_modified_entropy_by_hand() -> None:
    def by_hand(p: list[float], y: int) -> float:
        total = -(1 - p[y]) * math.log(p[y])
        return total - sum(q * math.log(1 - q) for i, q in enumerate(p) if i != y)

    found = ModifiedEntropy().run(BlackBox(Written(), Access.SCORES), DATA, seed=0)
    expected = [-by_hand(p, y) for p, y in zip(SCORES.tolist(), LABELS.tolist(), strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_modified_entropy_is_nothing_for_a_certain_right_answer_and_large_for_a_wrong_one() -> None:
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right, wrong = modified_entropy(certain, torch.tensor([0, 0])).tolist()
    assert right == 0
    assert wrong > 100
    assert math.isfinite(wrong)


def test_scores_that_rounded_to_one_are_still_told_apart() -> None:
    """Two confident members have one float32 score of 1.0, but different remainders."""
    scores = torch.tensor([[1.0, 1e-9], [1.0, 1e-12]])
    entropy = modified_entropy(scores, torch.tensor([0, 0]))
    assert entropy[0] > entropy[1] > 0


@pytest.mark.parametrize("attack", [LossThreshold(), ModifiedEntropy()])
def test_scores_are_not_given_to_who_may_see_labels_only(attack) -> None:
    with pytest.raises(AccessDeniedError, match="wants scores, but the target gives labels only"):
        attack.run(BlackBox(Written(), Access.LABELS), DATA, seed=0)


@pytest.mark.parametrize("attack", [Correctness(), LossThreshold(), ModifiedEntropy()])
def test_every_candidate_is_asked_once(attack) -> None:
    target = BlackBox(Written(), Access.SCORES, budget=3)
    attack.run(target, DATA, seed=0)
    assert target.queries == 3
