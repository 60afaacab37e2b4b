"""The reduction of Agarwal et al.: fairlearn's game over networks, and the mixture it leaves."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from harness import registry
from harness.data.dataset import Dataset
from harness.data.examples import Attribute, Split
from harness.defenses import exponentiated_gradient
from harness.defenses.exponentiated_gradient import ExponentiatedGradient, Member, gap
from harness.defenses.stack import Stack
from harness.learning.mixture import Mixture
from harness.training.job import network
from harness.training.single import train_alone
from harness.types import NotApplicableError
from zoo.errors import ZooError
from zoo.recipe import Recipe

RECIPE = Recipe(lr=0.05, epochs=12, batch_size=128)
PARITY = ExponentiatedGradient(constraint="demographic-parity", iterations=6)
ODDS = ExponentiatedGradient(constraint="equalized-odds", iterations=6)


def _people(n: int = 600, seed: int = 0) -> Split:
    """Merit says the label for sure; 20 % of the first group have it and 60 % of the second."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    y = (rng.random(n) < np.where(group, 0.6, 0.2)).astype(int)
    merit = 0.3 + 0.4 * y + 0.05 * rng.random(n)
    x = np.stack([merit, group], 1)
    z = {"sex": Attribute(torch.from_numpy(group), ("f", "m"))}
    return Split(torch.from_numpy(x).float(), torch.from_numpy(y), z)


def _dataset(data: Split, **changes) -> Dataset:
    known = {"name": "people", "num_classes": 2, "x": data.x, "y": data.y, "z": data.z}
    return Dataset(**{**known, **changes})


def _untrained(defense: ExponentiatedGradient) -> Mixture:
    torch.manual_seed(0)
    model, notes = defense.adapt(nn.Linear(2, 2), fine_tuned=False)
    assert notes == {}
    assert isinstance(model, Mixture)
    assert len(model.members) == defense.iterations
    return model


def test_parity_costs_what_it_must_and_the_odds_of_a_perfect_model_cost_nothing() -> None:
    """Whatever share of both groups is chosen, a fifth of the decisions have to be wrong."""
    data = _people()
    group, y = data.z["sex"].values.numpy(), data.y.numpy()
    base = abs(y[group == 0].mean() - y[group == 1].mean())
    found = {}
    for defense in (PARITY, ODDS):
        model = _untrained(defense)
        evidence = defense.fit(model, data, RECIPE, seed=0)
        decided = exponentiated_gradient.answers(model, data.x)
        found[defense.constraint] = (evidence, (decided == y).mean())
        assert evidence["decided_gap"] == gap(decided, y, group, defense.constraint)
        assert float(model.shares.sum() + model.constant.sum()) == pytest.approx(1.0)
    parity, accuracy = found["demographic-parity"]
    assert parity["randomised_gap"] <= 2 * (0.01 + 1 / 600)
    assert parity["trainings"] > parity["networks"] > 1
    assert accuracy > 1 - base
    assert parity["decided_gap"] < base - 0.1  # the mixture is not the classifier that is drawn
    odds, accuracy = found["equalized-odds"]
    assert (odds["decided_gap"], odds["randomised_gap"], accuracy) == (0.0, 0.0, 1.0)
    assert odds["networks"] == 1


@pytest.mark.parametrize("defense", [PARITY, ODDS], ids=lambda d: d.constraint)
def test_the_game_is_fairlearns_over_any_estimator(defense) -> None:
    from fairlearn.reductions import DemographicParity, EqualizedOdds
    from fairlearn.reductions import ExponentiatedGradient as Reduction

    data = _people()
    noise = torch.Generator().manual_seed(0)
    x = (data.x + 0.3 * torch.rand(data.x.shape, generator=noise)).numpy()
    y, group = data.y.numpy(), data.z["sex"].values.numpy()

    def train(labels, weight):
        fit = LogisticRegression().fit(x, labels, sample_weight=weight)
        layer = nn.Linear(2, 2)
        layer.weight.data = torch.tensor(np.stack([-fit.coef_[0], fit.coef_[0]]) / 2).float()
        layer.bias.data = torch.tensor(np.r_[-fit.intercept_, fit.intercept_] / 2).float()
        return layer, fit.predict(x)

    ours = defense._reduction(train).fit(np.arange(len(y))[:, None], y, sensitive_features=group)
    kind = {"demographic-parity": DemographicParity, "equalized-odds": EqualizedOdds}
    theirs = Reduction(
        LogisticRegression(), kind[defense.constraint](difference_bound=0.01), eps=0.01, max_iter=6
    ).fit(x, y, sensitive_features=group)
    wanted = theirs._pmf_predict(x)[:, 1]
    model = _untrained(defense)
    networks, chance, left_out = defense._fill(model, ours, len(y))
    np.testing.assert_allclose(chance, wanted, atol=1e-12)
    assert ours.best_gap_ == theirs.best_gap_
    assert left_out == 0
    # The same members with the same weights: so are the mean scores.
    scores = sum(
        weight * predictor.predict_proba(x)[:, 1]
        for weight, predictor in zip(theirs.weights_, theirs.predictors_, strict=True)
        if weight > 0 and isinstance(predictor, LogisticRegression)
    ) + sum(
        weight * predictor.predict(x)
        for weight, predictor in zip(theirs.weights_, theirs.predictors_, strict=True)
        if isinstance(predictor, DummyClassifier)
    )
    found = model(torch.from_numpy(x).float()).softmax(1)[:, 1]
    np.testing.assert_allclose(found.detach().numpy(), scores, atol=1e-5)
    assert networks == int((model.shares > 0).sum())


def test_each_training_has_the_games_labels_and_weights_and_marks_are_left_alone(
    monkeypatch,
) -> None:
    data = replace(_people(40), weight=torch.full((40,), 2.0))
    data = data.with_rows(torch.rand(4, 2), torch.tensor([1, 1, 0, 1]))
    seen = []

    def fit(model, data, recipe, *, seed, inputs):
        seen.append((data, recipe, seed, inputs))
        return model

    monkeypatch.setattr(exponentiated_gradient, "fit", fit)

    def inputs(*given):
        raise AssertionError

    PARITY.fit(_untrained(PARITY), data, RECIPE, seed=3, inputs=inputs)
    first = seen[0][0]
    assert torch.equal(first.y, data.y)  # at first nobody is better off
    torch.testing.assert_close(first.weight[:40], torch.full((40,), 2.0))
    assert any(not torch.equal(given.y[:40], data.y[:40]) for given, *_ in seen)
    for given, *rest in seen:
        assert rest == [RECIPE, 3, inputs]
        assert torch.equal(given.y[40:], data.y[40:])
        assert given.weight[40:].tolist() == [1.0] * 4
        assert float(given.weight[:40].mean()) == pytest.approx(2.0)
        assert torch.equal(given.x, data.x)


def test_the_mixture_is_filled_by_share_with_room_for_some_only() -> None:
    """Shares .4, .3, .2 of networks and .1 of a constant, and room for two."""
    predictors = []
    for k, answers in enumerate([[0, 0, 1], [1, 1, 1], [0, 1, 1]]):
        member = Member(lambda y, w: (nn.Linear(2, 2), np.zeros(3)))
        member.model, member._answers = nn.Linear(2, 2), np.array(answers)
        member.model.weight.data.fill_(float(k))
        predictors.append(member)
    always = DummyClassifier(strategy="constant", constant=1).fit(np.zeros((2, 1)), [0, 1])
    found = SimpleNamespace(
        predictors_=pd.Series([*predictors, always, predictors[0]]),
        weights_=pd.Series([0.3, 0.2, 0.4, 0.1, 1e-17]),
    )
    defense = ExponentiatedGradient(iterations=2)
    model = _untrained(defense)
    networks, chance, left_out = defense._fill(model, found, 3)
    np.testing.assert_allclose(chance, [0.3, 0.7, 1.0])
    assert (networks, left_out) == (2, 0.2)
    torch.testing.assert_close(model.shares, torch.tensor([0.4, 0.3]) / 0.8)
    torch.testing.assert_close(model.constant, torch.tensor([0.0, 0.1]) / 0.8)
    assert [m.weight[0, 0].item() for m in model.members] == [2.0, 0.0]


def test_gaps_are_fairlearns_and_of_chances_too() -> None:
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    rng = np.random.default_rng(0)
    y, group, decided = rng.integers(2, size=90), rng.integers(3, size=90), rng.integers(2, size=90)
    for constraint, theirs in (
        ("demographic-parity", demographic_parity_difference),
        ("equalized-odds", equalized_odds_difference),
    ):
        wanted = theirs(y, decided, sensitive_features=group)
        assert gap(decided, y, group, constraint) == pytest.approx(wanted)
    chance, group = np.array([0.2, 0.4, 1.0, 0.5]), np.array([0, 0, 1, 1])
    assert gap(chance, np.array([0, 1, 0, 1]), group, "demographic-parity") == pytest.approx(0.45)
    assert gap(chance, np.array([0, 1, 0, 1]), group, "equalized-odds") == pytest.approx(0.8)


def test_it_is_trained_stored_and_loaded_like_any_model(job_for) -> None:
    data = _dataset(_people(400))
    defense = PARITY.resolve(data)
    assert defense.attribute == "sex"
    changes = {"recipe": Recipe(lr=0.05, epochs=3), "architecture": "mlp-32"}
    job = job_for(data=data, stack=(registry.describe(defense),), **changes)
    job = replace(job, mean=(0.0,), std=(1.0,))
    made = train_alone(job, data.collected.take(job.index), None)
    assert made.evidence.keys() == {
        "networks", "trainings", "duality_gap", "left_out", "randomised_gap", "decided_gap",
    }  # fmt: skip
    stored = safetensors.torch.load(safetensors.torch.save(made.model.state_dict()))
    again, _ = network(job, None)
    again.load_state_dict(stored)
    assert torch.equal(again.eval()(data.x), made.model(data.x))
    second = train_alone(job, data.collected.take(job.index), None)
    assert torch.equal(second.model(data.x), made.model(data.x))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("dpsgd", "both change the gradients"),
        ("relaxloss", "both change the loss"),
        ("label-smoothing", "both change the loss"),
        ("trades", "both change the loss"),
        ("early-stopping", "both have a training loop"),
        ("dfr", "makes a mixture of networks, which have no layer in common that dfr could"),
        ("fine-pruning", "that fine-pruning could"),
        ("nad", "that nad could"),
    ],
)
def test_what_it_does_not_go_with_is_refused_before_any_training(other, reason) -> None:
    with pytest.raises(NotApplicableError, match=reason):
        Stack.of([ODDS, registry.make("defense", other, {})])


def test_it_composes_with_what_changes_inputs_and_data() -> None:
    others = [registry.make("defense", n, {}) for n in ("adversarial-training", "reweighing")]
    stack = Stack.of([ODDS, *others])
    assert stack.loop == ODDS
    assert stack.inputs is not None


def test_what_it_is_not_defined_for_is_refused() -> None:
    data = _people(40)
    with pytest.raises(NotApplicableError, match="two classes, but people has 3"):
        ODDS.resolve(_dataset(data, num_classes=3))
    with pytest.raises(NotApplicableError, match="no sensitive attributes"):
        ODDS.resolve(_dataset(data, z={}))
    with pytest.raises(ZooError, match="No sensitive attribute of people 'sx'. Nearest: sex"):
        replace(ODDS, attribute="sx").resolve(_dataset(data))
    with pytest.raises(NotApplicableError, match=r"labels 0 and 1, found \[0\]"):
        ODDS.fit(_untrained(ODDS), replace(data, y=0 * data.y), RECIPE, seed=0)
    for settings in ({"bound": 0.0}, {"iterations": 0}):
        with pytest.raises(ZooError, match="exponentiated-gradient wants"):
            ExponentiatedGradient(**settings)
