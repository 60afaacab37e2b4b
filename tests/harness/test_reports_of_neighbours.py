"""Public bug reports about other tools, each as a small input to ours."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve
from torch import nn

from harness.attacks.autoattack import AutoAttack
from harness.attacks.protocol import AttackerData
from harness.metrics.membership import membership, tpr_at_fpr
from harness.target import BlackBox
from harness.types import Access, Split
from zoo import nets
from zoo.errors import ZooError
from zoo.files import canonical_json, write_json


def test_tied_scores_are_half_right_and_share_a_threshold() -> None:
    """LeakPro 465."""
    scores, member = np.array([9.0, 9, 5, 5]), np.array([True, False, True, False])
    assert membership(scores, member)["auc"] == 0.5
    assert roc_curve(member, scores)[0].tolist() == [0.0, 0.5, 1.0]
    assert [tpr_at_fpr(scores, member, fpr) for fpr in (0.49, 0.5, 1.0)] == [0.0, 0.5, 1.0]


def test_one_huge_score_changes_no_rank() -> None:
    """LeakPro 282."""
    rng = np.random.default_rng(0)
    scores, member = rng.normal(size=200), np.arange(200) % 2 == 0
    largest = scores.argmax()
    before = membership(scores, member)
    scores[largest] = 1e9
    assert membership(scores, member) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_json_of_ours_has_a_number_that_is_none(tmp_path, value) -> None:
    """SACRO-ML 421."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"auc": value})
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([value])
    assert json.loads(canonical_json({"auc": None})) == {"auc": None}


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_few_classes_can_be_attacked(classes) -> None:
    """auto-attack 110, ART 2399: fewer targets than the customary nine."""
    torch.manual_seed(0)
    model = nets.build("mlp-32", (1, 4, 4), classes).eval()
    x = torch.rand(6, 1, 4, 4)
    points = Split(x, model(x).argmax(1))
    data = AttackerData(
        points=points, num_classes=classes, architecture="mlp-32", input_shape=(1, 4, 4)
    )
    attack = AutoAttack(epsilon=1.0, norm="linf", steps=5, queries=20)
    found = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=0).x
    fooled = BlackBox(model, Access.LABELS).labels(found) != points.y
    assert fooled.double().mean() >= 0.95  # ART 2590: a radius of the whole range


class Odd(nn.Module):
    """A network whose forward gives something else than logits."""

    def __init__(self, give) -> None:
        super().__init__()
        self.net = nets.build("mlp-32", (1, 4, 4), 2)
        self.give = give

    def forward(self, x):
        """Whatever it is."""
        return self.give(self.net(x))


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda logits: logits[:, :1], r"shape \(3, 1\)"),
        (lambda logits: logits[:, 0], r"shape \(3,\)"),
        (lambda logits: {"logits": logits}, "dict"),
        (lambda logits: (logits, logits), "tuple"),
    ],
)
def test_answers_that_are_no_logits_are_refused_in_one_line(give, said) -> None:
    """ART 306, torchattacks 201."""
    box = BlackBox(Odd(give), Access.LABELS)
    with pytest.raises(ZooError, match=rf"logits \(n, classes\) .* found {said}\. Wrap it"):
        box.labels(torch.rand(3, 1, 4, 4))


@pytest.mark.parametrize("attack", ["pgd", "square", "distillation", "loss-threshold", "badnets"])
def test_no_attack_moves_a_buffer_or_weight_of_its_target(digits, measure, attack) -> None:
    """gt-pyg 112: running statistics of batch norm, above all."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    ).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = {"pgd": {"steps": 2}, "square": {"queries": 4}, "distillation": {"epochs": 1}}
    measure(digits, model, 0, attack, **settings.get(attack, {}))
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
