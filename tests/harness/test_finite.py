"""Nothing that is not finite is ever a result: in weights, answers, features, scores, evidence."""

import numpy as np
import pytest
import torch
from torch import nn

from harness import registry
from harness.analysis.compare import compare
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.label_only import LabelOnly
from harness.experiment import run
from harness.experiment.executors import local
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.experiment.store import EvaluationStore
from harness.finite import DivergedError, NotFiniteError, check_answers, check_result
from harness.learning.features import features
from harness.learning.fit import fit
from harness.target import BlackBox
from harness.training.artifacts import Artifacts
from harness.types import Access, Aux, Regime, Risk, ThreatModel
from zoo import nets
from zoo.catalog import open_catalog
from zoo.home import Home
from zoo.recipe import Recipe


@pytest.fixture
def evaluate(tmp_path):
    """Plan and measure one seed of digits-mlp; the evaluations."""

    def go(attacks, *, stacks=((),), **settings):
        home = Home.open(tmp_path / "home")
        request = Request(
            models=(open_catalog(home).entry("digits-mlp"),), stacks=stacks, risks=tuple(
                {registry.get("attack", name).risk: None for name in attacks}
            ), attacks=attacks, seeds=2, settings={"recipe.epochs": "2", **settings},
        )  # fmt: skip
        made = plan(
            request, {"digits": datasets.load("digits", DataLocation())}, {},
            is_done=EvaluationStore(home).is_done, is_trained=Artifacts(home).has,
        )  # fmt: skip
        for _ in run.run(
            made, run.Context(home, DataLocation(), "cpu", {}, "test"), local.pool, workers=1
        ):
            pass
        return EvaluationStore(home).evaluations()

    return go


def test_a_defended_training_that_diverged_is_failed_and_no_verdict(evaluate) -> None:
    found = evaluate(("fgsm", "loss-threshold"), stacks=(("dpsgd",),), **{"dpsgd.lr": "1e30"})
    defended = [e for e in found if e.cell.stack]
    assert len(defended) == 4
    for one in defended:
        assert one.status == "failed"
        assert one.reason.startswith("training diverged: net.")
        assert one.reason.endswith("values that are not finite")
    assert {e.status for e in found if not e.cell.stack} == {"ok"}
    assert {row.verdict for row in compare(found)} == {"failed"}


def test_an_undefended_training_that_diverged_is_failed_whatever_is_measured(evaluate) -> None:
    found = evaluate(
        ("fgsm", "correctness", "distillation"),
        **{"recipe.lr": "1e20"},
    )
    assert {e.cell.risk for e in found} == {
        Risk.EVASION,
        Risk.MEMBERSHIP_INFERENCE,
        Risk.EXTRACTION,
    }
    for one in found:
        assert one.status == "failed"
        assert "training diverged: " in one.reason


class Partly(nn.Module):
    """Finite weights and answers, but for every third input, beyond those that are tried first."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.net = nets.build("mlp-32", (1, 8, 8), 10)
        self.value = value

    def forward(self, x):
        """Logits, of which one is ``value`` for inputs whose first pixel is above 0."""
        logits = self.net(x)
        logits[x.flatten(1).sum(1) > 20, 3] = self.value
        return logits


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_never_given(value: float) -> None:
    x = torch.cat([torch.zeros(5, 1, 8, 8), torch.ones(2, 1, 8, 8)])
    box = BlackBox(Partly(value), Access.WEIGHTS)
    for ask in (box.labels, box.scores):
        assert len(ask(x[:5])) == 5
        with pytest.raises(NotFiniteError, match="not finite for 2 of 7 inputs"):
            ask(x)


def test_a_certain_answer_is_finite() -> None:
    check_answers(torch.tensor([[0.0, -torch.inf, -torch.inf]]))
    with pytest.raises(NotFiniteError):
        check_answers(torch.full((1, 3), -torch.inf))


@pytest.mark.parametrize(
    "attack",
    ["fgsm", "square", "badnets", "distillation", "loss-threshold", "lira", "fredrikson"],
)
@pytest.mark.parametrize("stack", [(), (LabelOnly(),)])
def test_a_target_with_nan_among_its_weights_is_failed_in_every_game(
    digits, measure, attack, stack
) -> None:
    """Behind a guard, too, that answers with labels and would hide it."""
    model = nets.build("mlp-32", (1, 8, 8), 10)
    next(model.parameters()).data[3, 5] = torch.nan
    with pytest.raises(NotFiniteError, match=r"^the target is not finite: 1\.weight holds 1 of"):
        measure(digits, model, 0, attack, stack=stack)


@pytest.mark.parametrize("attack", ["attribute-scores", "attribute-embeddings", "group-audit"])
def test_the_same_in_games_about_people(attack, measure) -> None:
    data = datasets.load("digits-tinted", DataLocation())
    model = nets.build("mlp-32", data.input_shape, 10)
    next(model.parameters()).data[0, 0] = torch.inf
    with pytest.raises(NotFiniteError, match="the target is not finite"):
        measure(data, model, 0, attack)


def test_other_models_of_a_game_are_looked_at_as_well(digits, measure) -> None:
    model, broken = (nets.build("mlp-32", (1, 8, 8), 10) for _ in range(2))
    next(broken.parameters()).data.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="^the evaluator is not finite"):
        measure(digits, model, 0, "fredrikson", others={"evaluator": [broken]})


def test_a_surrogate_that_diverged_is_no_copy(digits, measure) -> None:
    model = nets.build("mlp-32", (1, 8, 8), 10)
    threat = ThreatModel(access=Access.SCORES, aux=Aux.SHADOW)
    with pytest.raises(DivergedError):
        measure(digits, model, 0, "distillation", lr=1e25, epochs=2, threat=threat)


def test_logits_beyond_what_float32_tells_apart_are_a_diverged_training(digits) -> None:
    """The weights are finite, but of such logits no probabilities follow."""
    data = Split(digits.x[:100], digits.y[:100])
    model = nets.build("mlp-32", (1, 8, 8), 10)
    with pytest.raises(DivergedError, match="the loss of its last step is"):
        fit(model, data, Recipe(optimizer="adam", lr=1e6, epochs=1, batch_size=50), seed=0)


def test_features_that_are_not_finite_are_refused(digits) -> None:
    model = nets.build("mlp-32", (1, 8, 8), 10)
    next(model.parameters()).data.fill_(torch.inf)
    with pytest.raises(NotFiniteError, match="the model's features: "):
        features(model, digits.x[:4])


@pytest.mark.parametrize(
    ("metrics", "evidence", "samples", "said"),
    [
        ({"auc": np.nan}, {}, {}, "the metric auc = nan is not finite"),
        ({}, {"cuts": {"a": [1.0, np.inf]}}, {}, r"the evidence cuts\.a\.1 = inf is not finite"),
        ({}, {}, {"score": np.array([0, np.nan])}, "the column score of samples has 1 of 2"),
    ],
)
def test_a_result_with_such_a_number_anywhere_is_none(metrics, evidence, samples, said) -> None:
    check_result({"auc": None, "tpr": 0.5}, {"n": 3, "name": "x"}, {"label": np.arange(3)})
    with pytest.raises(NotFiniteError, match=said):
        check_result(metrics, evidence, samples)


@pytest.mark.parametrize(("right", "flagged"), [(5, True), (66, True), (67, False), (300, False)])
def test_a_model_at_chance_accuracy_carries_a_flag(digits, measure, right, flagged) -> None:
    """Of 449 test digits 54 are of one class: P[Binomial(449, 54/449) >= 66] = .0506, 67 .0379."""
    test = quarters(digits, 0, Regime.FROM_SCRATCH).target_test
    answers = digits.y.clone()
    answers[test[right:]] = (answers[test[right:]] + 1) % 10

    class Answers(nn.Module):
        def forward(self, x):
            match = (x.flatten(1)[:, None] == digits.x.flatten(1)[None]).all(2).int().argmax(1)
            return 10 * nn.functional.one_hot(answers[match], 10).float()

    found, _ = measure(digits, Answers(), 0, "correctness")
    flags = [flag for flag in found.evidence["flags"] if "majority class" in flag]
    assert bool(flags) == flagged
    if flagged:
        assert f"accuracy {found.utility:.3f}" in flags[0]
