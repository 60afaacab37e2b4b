"""A mixture answers with the weighted mean of its networks' scores, all of it in its state dict."""

import pytest
import torch
from torch import nn

from harness.defenses.shared.repair import need_convolutions
from harness.learning.features import features, head
from harness.learning.mixture import Mixture, need_one_network
from harness.types import NotApplicableError

X = torch.tensor([[1.0, 0.0], [0.5, -2.0]])


def _linear(*rows: tuple[float, float]) -> nn.Linear:
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = torch.tensor(rows).float(), torch.zeros(2)
    return layer


def _mixture() -> Mixture:
    members = [_linear((0, 0), (1, 0)), _linear((0, 0), (0, 2)), _linear((9, 9), (0, 0))]
    return Mixture(members, 2).eval()


def test_it_starts_as_its_first_member() -> None:
    mixture = _mixture()
    torch.testing.assert_close(mixture(X).softmax(1), mixture.members[0](X).softmax(1))


def test_its_scores_are_the_mean_of_its_members_weighted_by_share() -> None:
    mixture = _mixture()
    mixture.shares.copy_(torch.tensor([0.5, 0.3, 0.0]))
    mixture.constant.copy_(torch.tensor([0.0, 0.2]))
    # Sigmoids of the members' margins: 1 and 0, then 0.5 and -4.
    wanted = 0.5 * torch.tensor([1.0, 0.5]).sigmoid() + 0.3 * torch.tensor([0.0, -4.0]).sigmoid()
    torch.testing.assert_close(mixture(X).softmax(1)[:, 1], wanted + 0.2)
    x = X.clone().requires_grad_()
    mixture(x).softmax(1)[:, 1].sum().backward()
    score = torch.tensor([1.0, 0.5]).sigmoid()
    torch.testing.assert_close(x.grad[:, 0], 0.5 * score * (1 - score))
    other = _mixture()
    other.load_state_dict(mixture.state_dict())
    assert torch.equal(other(X), mixture(X))


def test_one_that_only_answers_the_same_can_still_be_differentiated() -> None:
    mixture = _mixture()
    mixture.shares.zero_()
    mixture.constant.copy_(torch.tensor([0.0, 1.0]))
    x = X.clone().requires_grad_()
    logits = mixture(x)
    assert logits.argmax(1).tolist() == [1, 1]
    logits.sum().backward()
    assert x.grad.abs().sum() == 0


def test_it_has_no_layer_to_be_looked_at() -> None:
    mixture = nn.Sequential(_mixture())
    for look in (
        lambda: head(mixture, X),
        lambda: features(mixture, X),
        lambda: need_convolutions("nad", mixture, "wants some"),
        lambda: need_one_network(mixture),
    ):
        with pytest.raises(NotApplicableError, match="a mixture of 1 networks, which have no lay"):
            look()
