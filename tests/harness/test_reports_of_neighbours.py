"""Public bug reports about other tools, each as a small input to ours."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from opacus.accountants import RDPAccountant
from sklearn.metrics import roc_curve
from torch import nn

from harness import registry
from harness.attacks.autoattack import AutoAttack
from harness.attacks.correctness import Correctness
from harness.attacks.lira import LiRA
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared.attacker_data import Candidates, Shadow
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.finite import NotFiniteError
from harness.games.counted import judged
from harness.metrics.fairness import fairness
from harness.metrics.membership import membership, tpr_at_fpr
from harness.target import BlackBox
from harness.types import Access, NotApplicableError, Regime
from zoo import nets
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.files import canonical_json, write_json
from zoo.loading import load_model, to_safetensors
from zoo.recipe import Recipe


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
    data = AttackedPoints(
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


@pytest.mark.parametrize("given", ["noise_multiplyer", "noise-multiplier", "sigma"])
def test_no_misspelt_noise_trains_without_privacy(given) -> None:
    """LeakPro 447."""
    with pytest.raises(ZooError, match=f"No setting of dpsgd '{given}'"):
        registry.make("defense", "dpsgd", {given: "1.0"})


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("variance", ["global", "per-sample"])
def test_two_shadow_models_on_most_of_the_data_give_numbers(online, variance) -> None:
    """LeakPro 441, 345: examples that both were trained on, or neither."""
    stream = torch.Generator().manual_seed(0)
    held = torch.rand(2, 40, generator=stream) < 0.7
    assert set(held.sum(0).tolist()) == {0, 1, 2}
    x, y = torch.randn(40, 1, 2, 2, generator=stream), torch.arange(40) % 3
    boxes = [BlackBox(nets.build("mlp-32", (1, 2, 2), 3).eval(), Access.SCORES) for _ in range(3)]
    candidates = Candidates(
        points=Split(x, y),
        aux=Split(x[:0], y[:0]),
        aux_member=torch.zeros(0, dtype=torch.bool),
        shadows=tuple(
            Shadow(box=box, members=own, aux_members=own[:0])
            for box, own in zip(boxes, held, strict=False)
        ),
        num_classes=3,
        architecture="mlp-32",
        input_shape=(1, 2, 2),
    )
    scores = LiRA(online=online, variance=variance, queries=1).run(boxes[2], candidates, seed=0)
    assert scores.isfinite().all()
    assert len(scores.unique()) > 20


def test_being_right_gives_a_member_away_by_the_overfitting() -> None:
    """SACRO-ML 472: .9 on the training data and .7 on others is .2, with its sign."""
    right = torch.cat([torch.arange(10) < 9, torch.arange(10) < 7])
    y = torch.zeros(20).long()
    logits = torch.where(right, 1.0, -1.0)[:, None] * torch.tensor([1.0, -1.0])
    box = BlackBox(nn.Flatten(), Access.LABELS)
    data = AttackedPoints(
        points=Split(logits, y), num_classes=2, architecture="none", input_shape=(2,)
    )
    called = Correctness().run(box, data, seed=0)
    advantage = called[:10].mean() - called[10:].mean()
    assert advantage.item() == pytest.approx(0.2)
    member = np.arange(20) < 10
    assert membership(called.numpy(), member)["auc"] == pytest.approx(0.6)  # (1 + .2) / 2


def test_who_has_members_alone_has_no_area_under_a_curve() -> None:
    """scikit-learn 30079: neither 0 nor 1 nor NaN, but no measurement, in one line."""
    member = np.ones(6, dtype=bool)
    with pytest.raises(NotApplicableError, match="leave out all 0 non-members in question"):
        judged(np.arange(6.0), member, member, None)


def test_a_group_without_positives_and_an_empty_group_are_undefined() -> None:
    """Fairlearn 1698, FairPipe 29: None, and the others are compared without them."""
    y = np.array([0, 1] * 20 + [0] * 20)
    group = np.array([0] * 20 + [1] * 20 + [2] * 20)
    found = fairness(y, y, group, ["a", "b", "c", "empty"], num_classes=2, smallest=5).metrics
    assert found["tpr[c]"] is None
    assert found["accuracy[empty]"] is None
    assert found["n[empty]"] == 0
    assert found["equal_opportunity_difference"] == 0
    assert all(value is None or np.isfinite(value) for value in found.values())


def test_a_prediction_that_is_none_is_refused() -> None:
    """FairPipe 25."""
    y, group = np.array([0.0, 1, 0, 1]), np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="wants answers from 0 to 1, found nan"):
        fairness(np.array([0, 1, np.nan, 1]), y, group, ["a", "b"], num_classes=2, smallest=1)


def test_labels_of_any_kind_give_one_report() -> None:
    """FairPipe 38, 28: and the first equals every later one."""
    rng = np.random.default_rng(0)
    predicted, y, group = (rng.integers(0, 2, 200) for _ in range(3))
    found = [
        fairness(
            predicted.astype(kind), y.astype(kind), group, ["a", "b"], num_classes=2, smallest=5
        ).metrics
        for kind in (int, np.int8, float, object, int)
    ]
    assert all(one == found[0] for one in found)
    assert found[0]["equalized_odds_difference"] is not None


def test_labels_of_any_kind_give_one_report_of_a_users_table(tmp_path, measure) -> None:
    """FairPipe 38: whole numbers, decimals, words and truth values, from either kind of file."""
    rng = np.random.default_rng(0)
    size, y, sex = rng.random(200).round(3), rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    reports = {}
    for kind in ("int64", "int8", "Int64", "float64", "str", "object", "category", "bool"):
        frame = pd.DataFrame({"size": size, "sex": np.array(["f", "m"])[sex]})
        frame["y"] = pd.Series(y).astype(kind)
        for file in ("t.csv", "t.parquet"):
            if file == "t.csv":
                frame.to_csv(tmp_path / file, index=False)
            else:
                frame.to_parquet(tmp_path / file, index=False)
            classes = "[false, true]" if kind == "bool" else "[0, 1]"
            (tmp_path / "t.toml").write_text(
                f'file = "{file}"\nlabel = "y"\nclasses = {classes}\n[sensitive.sex]\n'
            )
            datasets.load.cache_clear()
            data = datasets.load("t", DataLocation(data_dir=tmp_path))
            torch.manual_seed(0)
            model = nets.build("mlp-32", data.input_shape, 2).eval()
            found, _ = measure(data, model, 0, "group-audit")
            reports[kind, file] = found.metrics
    first = reports["int64", "t.csv"]
    assert all(one == first for one in reports.values())
    assert first["n[f]"] + first["n[m]"] == 50
    assert first["equalized_odds_difference"] is not None


def test_an_answer_that_is_none_is_no_prediction(measure) -> None:
    """FairPipe 25: of a model whose weights are fine, and which is NaN on a few inputs."""
    data = datasets.load("digits-tinted", DataLocation())
    test = quarters(data, 0, Regime.FROM_SCRATCH).target_test

    class Gap(nn.Module):
        def forward(self, x):
            logits = x.flatten(1)[:, :10]
            return torch.where(
                (x == data.x[test[-1]]).flatten(1).all(1)[:, None], torch.nan, logits
            )

    with pytest.raises(NotFiniteError, match="the target is not finite"):
        measure(data, Gap(), 0, "group-audit")


def test_a_class_that_a_split_lacks_is_left_out() -> None:
    """DashAI 250."""
    y, group = np.array([0, 1] * 20), np.arange(40) // 20
    found = fairness(y, y, group, ["a", "b"], num_classes=3, smallest=5).metrics
    assert found["classes_judged"] == 2
    assert found["equalized_odds_difference[class 2]"] is None
    assert found["equalized_odds_difference"] == 0


def test_empty_poisson_batches_are_steps_that_are_paid_for() -> None:
    """Opacus 813, 676: 20 examples, one at a time, 200 steps, of which a third draws nobody."""
    torch.manual_seed(0)
    model, data = nn.Linear(3, 2), Split(torch.randn(20, 3), torch.arange(20) % 2)
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=10, batch_size=1)
    spent = DPSGD(noise_multiplier=1.0, dp_delta=1e-3).fit(model, data, recipe, seed=0)
    assert spent["steps"] == 200
    assert all(p.isfinite().all() for p in model.parameters())
    expected = RDPAccountant()
    expected.history = [(1.0, 1 / 20, 200)]
    assert spent["dp_epsilon_rdp"] == pytest.approx(expected.get_epsilon(1e-3))


def test_half_precision_weights_are_attacked_in_single(tmp_path) -> None:
    """Rig3R 35: the gradient of what was stored in 16 bits does not vanish in 16 bits."""
    entry = ModelEntry(
        name="me/half", source="local", purpose="other", dataset="digits", architecture="mlp-32",
        input_shape=(1, 4, 4), num_classes=3, mean=(0.0,), std=(1.0,), licence=None,
        backdoored=False, artifact=Artifact(), recipe=None,
    )  # fmt: skip
    torch.manual_seed(0)
    state = {k: v.half() for k, v in nets.build("mlp-32", (1, 4, 4), 3).state_dict().items()}
    to_safetensors(state, tmp_path / "half.safetensors")
    model = load_model(entry, tmp_path / "half.safetensors")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    x = torch.rand(8, 1, 4, 4)
    points = Split(x, model(x).argmax(1))
    data = AttackedPoints(
        points=points, num_classes=3, architecture="mlp-32", input_shape=(1, 4, 4)
    )
    attack = PGD(epsilon=0.5, norm="linf", steps=5, step_size=0.2)
    found = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=0)
    assert found.dtype == torch.float32
    assert (model(found).argmax(1) != points.y).any()
