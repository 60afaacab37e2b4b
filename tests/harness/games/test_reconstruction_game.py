"""Reconstructions are compared with what they are of, and with what knows nothing."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from harness.attacks.fredrikson import Fredrikson
from harness.attacks.gradient_inversion import GradientInversion
from harness.attacks.protocol import AuxiliaryData
from harness.data.examples import UNKNOWN
from harness.data.images import to_bytes
from harness.data.quarters import quarters
from harness.defenses.label_only import LabelOnly
from harness.games import reconstruction
from harness.games.game import Scenario
from harness.metrics.reconstruction import class_means
from harness.metrics.susceptibility import susceptibility
from harness.types import Access, Aux, NotApplicableError, Regime, Risk, ThreatModel
from zoo import nets
from zoo.errors import ZooError


@dataclass(frozen=True)
class Gives:
    """An attack that comes back with what it is told to, and remembers what it was handed."""

    x: torch.Tensor
    seen: list

    name: ClassVar[str] = "gives"
    risk: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = ""

    def run(self, target, data, *, seed):
        self.seen.append((target, data))
        return self.x


@dataclass(frozen=True)
class GivesExamples(Gives):
    batch: int = 3
    observed: int = 2
    labels: str = "infer"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nets.build("mlp-128", (1, 8, 8), 10).eval()


@pytest.fixture
def table(digits, scenario_for, model) -> Scenario:
    return scenario_for(digits, model)


@pytest.fixture
def members(digits, table):
    return digits.all.take(table.quarters.target_train)


def test_the_class_means_themselves_are_all_there_is_to_find(table, members) -> None:
    means = class_means(members, 10)
    outcome = reconstruction.play(Gives(means[:, None].repeat(1, 2, 1, 1, 1), []), table)
    assert outcome.metrics["mse"] == 0
    assert outcome.metrics["ssim"] == pytest.approx(1)
    assert outcome.metrics["centred_correlation"] == pytest.approx(1)
    assert susceptibility(Risk.DATA_RECONSTRUCTION, outcome.metrics) == 1
    assert outcome.samples["label"].tolist() == [c for c in range(10) for _ in range(2)]
    assert outcome.images["reconstructed"].shape == (3 * 9, 10 * 9)
    picture = outcome.images["reconstructed"]
    assert np.array_equal(picture[:8], picture[9:17])


def test_what_a_defense_left_out_is_no_truth(table, digits) -> None:
    left_out = torch.arange(0, 449, 2)
    rows = table.quarters.target_train[1::2]
    game = replace(table, left_out=left_out)
    means = class_means(digits.all.take(rows), 10)
    assert reconstruction.play(Gives(means[:, None], []), game).metrics["mse"] == 0
    steps = GivesExamples(torch.zeros(20, 11, 1, 8, 8), [], batch=11, observed=20)
    assert set(reconstruction.play(steps, game).samples["index"]) <= set(rows.tolist())
    most = GivesExamples(torch.zeros(1), [], batch=225, observed=1)
    with pytest.raises(NotApplicableError, match="looks at 1 steps of 225 .* leaves 224 to train"):
        reconstruction.play(most, game)


def test_the_mean_of_the_test_quarter_finds_nothing(table, digits) -> None:
    mean = digits.x[table.quarters.target_test].mean(0)
    outcome = reconstruction.play(Gives(mean.expand(10, 1, 1, 8, 8), []), table)
    assert outcome.metrics["mse"] == outcome.metrics["mean_image_mse"] != 0
    assert outcome.metrics["centred_correlation"] == 0
    assert susceptibility(Risk.DATA_RECONSTRUCTION, outcome.metrics) == 0


class Parity(torch.nn.Module):
    """Calls every image 0 or 1, by whether its upper half is the brighter one."""

    def forward(self, x):
        above = x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))
        return torch.nn.functional.one_hot(above.long(), 10).float()


def test_an_attacker_with_images_is_measured_against_sorting_them(table, digits, members) -> None:
    threat = ThreatModel(access=Access.WEIGHTS, aux=Aux.SHADOW)
    game = replace(table, model=Parity(), unguarded=Parity(), threat=threat)
    outcome = reconstruction.play(Gives(torch.zeros(10, 2, 1, 8, 8), []), game)
    quarters = table.quarters
    aux = digits.x[torch.cat([quarters.shadow_train, quarters.shadow_test])]
    mean, called = digits.x[quarters.target_test].mean(0), Parity()(aux).argmax(1)
    truth = class_means(members, 10)
    expected = []
    for label in range(10):  # what the target calls no image by is shown by all of them
        sorted_aux = (aux[called == label] if label < 2 else aux).mean(0)
        pair = np.stack([(sorted_aux - mean).flatten(), (truth[label] - mean).flatten()])
        expected.append(np.corrcoef(pair)[0, 1])
    found = outcome.metrics["sorted_aux_centred_correlation"]
    assert found == pytest.approx(np.mean(expected), abs=1e-4)
    without = reconstruction.play(Gives(torch.zeros(10, 2, 1, 8, 8), []), table)
    assert "sorted_aux_centred_correlation" not in without.metrics


def test_the_metrics_are_the_means_of_the_samples(table) -> None:
    x = torch.rand(10, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    judge = nets.build("mlp-128", (1, 8, 8), 10)
    outcome = reconstruction.play(Gives(x, []), replace(table, others={"evaluator": (judge,)}))
    metrics, samples = outcome.metrics, outcome.samples
    assert len({len(column) for column in samples.values()}) == 1
    for name in ("mse", "mean_image_ssim", "nearest_distance", "centred_correlation"):
        assert metrics[name] == pytest.approx(samples[name].mean(dtype=float))
    right = samples["evaluated"] == samples["label"]
    assert metrics["evaluation_accuracy"] == pytest.approx(right.mean())
    expected = judge(x.flatten(0, 1)).argmax(1).numpy()
    assert np.array_equal(samples["evaluated"], expected)
    # One image can be of one class only.
    assert metrics["mean_image_evaluation_accuracy"] == pytest.approx(0.1)


def test_without_an_evaluation_classifier_its_accuracy_is_left_out(table) -> None:
    outcome = reconstruction.play(Gives(torch.zeros(10, 1, 1, 8, 8), []), table)
    assert "evaluation_accuracy" not in outcome.metrics


def test_a_picture_has_the_truth_above(table, members) -> None:
    outcome = reconstruction.play(Gives(torch.zeros(10, 1, 1, 8, 8), []), table)
    picture = outcome.images["reconstructed"]
    assert np.array_equal(picture[:8, :8], to_bytes(class_means(members, 10)[0]))
    assert not picture[9:17, :8].any()


def test_a_class_that_the_target_never_saw_is_not_judged(table, digits, members) -> None:
    rest = table.quarters.target_train[members.y != 3]
    lacking = replace(table, quarters=replace(table.quarters, target_train=rest))
    outcome = reconstruction.play(Gives(class_means(members, 10)[:, None], []), lacking)
    assert outcome.metrics["mse"] == 0
    assert sorted(set(outcome.samples["label"].tolist())) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert np.isfinite(np.array(list(outcome.metrics.values()), dtype=float)).all()


@pytest.mark.parametrize(
    "x", [torch.zeros(9, 1, 1, 8, 8), torch.full((10, 1, 1, 8, 8), 1.1),
          torch.full((10, 1, 1, 8, 8), torch.nan)]
)  # fmt: skip
def test_what_is_no_input_is_a_defect_and_not_a_result(table, x) -> None:
    with pytest.raises(RuntimeError, match=r"gives has to give inputs \(10, 1, 1, 8, 8\)"):
        reconstruction.play(Gives(x, []), table)


@pytest.mark.parametrize("aux", [Aux.NONE, Aux.SHADOW, Aux.OOD])
def test_the_attacker_holds_what_the_threat_model_grants(table, digits, aux) -> None:
    attack = Gives(torch.zeros(10, 1, 1, 8, 8), [])
    threat = ThreatModel(access=Access.WEIGHTS, aux=aux)
    foreign = digits.all.take(torch.arange(5))
    reconstruction.play(attack, replace(table, threat=threat, ood=foreign))
    ((target, data),) = attack.seen
    assert target.access is Access.WEIGHTS
    assert type(data) is AuxiliaryData
    if aux is Aux.SHADOW:
        held = torch.cat([table.quarters.shadow_train, table.quarters.shadow_test])
        assert torch.equal(data.aux.x, digits.x[held])
        # With labels, the class means of its own would be as good as those of the target.
        assert (data.aux.y == UNKNOWN).all()
    else:
        assert len(data.aux) == (0 if aux is Aux.NONE else len(foreign))


def test_who_has_the_weights_leaves_the_guard_behind(table, model) -> None:
    attack = Gives(torch.zeros(10, 1, 1, 8, 8), [])
    guarded = replace(table, model=LabelOnly().guard(model, table.defender))
    reconstruction.play(attack, guarded)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(attack.seen[0][0].model(x), model(x))
    assert not torch.equal(guarded.model(x), model(x))


def test_examples_of_a_step_are_matched_whatever_their_order(table, digits) -> None:
    first = GivesExamples(torch.zeros(2, 3, 1, 8, 8), [])
    reconstruction.play(first, table)
    index = torch.from_numpy(reconstruction.play(first, table).samples["index"])
    assert set(index.tolist()) <= set(table.quarters.target_train.tolist())
    assert len(set(index.tolist())) == 6
    x = digits.x[index].unflatten(0, (2, 3))
    outcome = reconstruction.play(GivesExamples(x[:, [2, 0, 1]], []), table)
    assert outcome.metrics["mse"] == 0
    assert outcome.metrics["psnr"] == 100
    # Examples of one step are no good for another.
    other = reconstruction.play(GivesExamples(x[[1, 0]], []), table)
    assert (other.samples["mse"] > 0).all()


def test_what_is_found_counts_for_one_example_only() -> None:
    truth, found = torch.tensor([[0.4], [0.0]]), torch.tensor([[0.1], [1.0]])
    # Both are nearer to the first; .36 + .01 is less than .09 + 1.
    assert reconstruction._matching(found, truth).tolist() == [1, 0]


def test_the_attacker_sees_the_gradients_of_those_examples(table, digits, model) -> None:
    attack = GivesExamples(torch.zeros(2, 3, 1, 8, 8), [], labels="given")
    table = replace(
        table, model=LabelOnly().guard(model, table.defender)
    )  # training knows no guard
    index = torch.from_numpy(reconstruction.play(attack, table).samples["index"])
    released = attack.seen[0][1]
    assert torch.equal(released.labels, digits.y[index].view(2, 3))
    model.requires_grad_()
    for i, rows in enumerate(index.view(2, 3)):
        loss = torch.nn.functional.cross_entropy(model(digits.x[rows]), digits.y[rows])
        wanted = torch.autograd.grad(loss, list(model.parameters()))
        for seen, gradient in zip(released.gradients, wanted, strict=True):
            torch.testing.assert_close(seen[i], gradient)


def test_labels_are_not_given_to_who_infers_them(table) -> None:
    attack = GivesExamples(torch.zeros(2, 3, 1, 8, 8), [])
    reconstruction.play(attack, table)
    assert attack.seen[0][1].labels is None
    assert not {"points", "aux"} & vars(attack.seen[0][1]).keys()


def test_the_judge_is_trained_on_what_nobody_else_has(table) -> None:
    (wanted,) = reconstruction.needs(Fredrikson(), table.spec)["evaluator"]
    assert torch.equal(wanted.index, table.quarters.target_test)
    assert not wanted.defended
    published = replace(table.spec, regime=Regime.PUBLISHED)
    assert not reconstruction.needs(Fredrikson(), published)


def test_what_cannot_be_played_is_refused(table, digits) -> None:
    setting = table.spec
    reconstruction.check(Fredrikson(), setting)
    unknown = replace(setting, quarters=quarters(digits, 0, Regime.PUBLISHED))
    with pytest.raises(ZooError, match="judged by what the model was trained on"):
        reconstruction.check(Fredrikson(), unknown)
    reconstruction.check(GradientInversion(observed=449), setting)
    with pytest.raises(ZooError, match="450 steps of 1 training examples, but there are 449"):
        reconstruction.check(GradientInversion(observed=450), setting)
    threat = ThreatModel(access=Access.WEIGHTS, aux=Aux.OOD, ood="nothing")
    with pytest.raises(ZooError, match="The attacker's nothing data holds no inputs"):
        reconstruction.check(Fredrikson(), replace(setting, threat=threat))
