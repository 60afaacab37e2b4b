"""Training against membership inference: smoothed labels, a teacher, a relaxed loss; and effects."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.special import rel_entr
from torch import nn

from harness import registry
from harness.data.examples import Split
from harness.defenses import relaxloss
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dpsgd import DPSGD
from harness.defenses.early_stopping import EarlyStopping
from harness.defenses.hamp import HAMP
from harness.defenses.knowledge_distillation import KnowledgeDistillation
from harness.defenses.label_smoothing import LabelSmoothing, NegativeLabelSmoothing, cross_entropy
from harness.defenses.memguard import MemGuard
from harness.defenses.relaxloss import RelaxLoss, flattened, relaxed
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.defenses.trades import TRADES
from harness.games import membership
from harness.learning.fit import fit
from harness.metrics.classification import accuracy
from harness.seeds import generator
from harness.training.single import defender_data, train_alone
from harness.types import Access, NotApplicableError, ThreatModel
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe

LOOPS = [KnowledgeDistillation(), RelaxLoss(), EarlyStopping()]
QUICK = Recipe(lr=1e-2, epochs=3, batch_size=16)


def _logits(*rows: tuple[float, ...]) -> torch.Tensor:
    """Logits of these scores, shifted, as a softmax does not see."""
    return torch.tensor(rows, dtype=torch.float64).log() + 3


def _net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nets.Scaled(nets.build("mlp-128", (1, 4, 4), 3), (0.5,), (0.5,), (1, 4, 4))


def _same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Smoothed labels


def test_a_label_is_mixed_with_the_uniform_distribution() -> None:
    logits, y = _logits((0.75, 0.25), (0.75, 0.25)), torch.tensor([0, 1])
    found = cross_entropy(logits, y, 0.2)  # labels (.9, .1) and (.1, .9)
    certain, doubtful = -math.log(0.75), -math.log(0.25)
    expected = [0.9 * certain + 0.1 * doubtful, 0.1 * certain + 0.9 * doubtful]
    assert found.tolist() == pytest.approx(expected)


def test_a_negative_share_makes_a_label_more_than_certain() -> None:
    found = cross_entropy(_logits((0.75, 0.25)), torch.tensor([0]), -0.2)  # label (1.1, -.1)
    assert found.item() == pytest.approx(-1.1 * math.log(0.75) + 0.1 * math.log(0.25))


def test_smoothed_cross_entropy_equals_torchs() -> None:
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=stream, dtype=torch.float64)
    y = torch.randint(7, (50,), generator=stream)
    for alpha in (0.05, 0.4):
        expected = F.cross_entropy(logits, y, reduction="none", label_smoothing=alpha)
        torch.testing.assert_close(cross_entropy(logits, y, alpha), expected)


def test_what_is_learned_by_heart_is_the_smoothed_label() -> None:
    data = Split(torch.eye(3), torch.arange(3))
    recipe = Recipe(lr=0.1, epochs=300, batch_size=3)
    smooth = fit(nn.Linear(3, 3), data, recipe, seed=0, loss=LabelSmoothing(alpha=0.3).loss)
    expected = 0.7 * torch.eye(3) + 0.1
    torch.testing.assert_close(smooth(data.x).softmax(1), expected, atol=1e-3, rtol=0)
    negative = fit(nn.Linear(3, 3), data, recipe, seed=0, loss=NegativeLabelSmoothing().loss)
    plain = fit(nn.Linear(3, 3), data, recipe, seed=0)
    assert negative(data.x).amax(1).min() > 2 * plain(data.x).amax(1).max()


# A teacher


def test_distillation_at_temperature_1_by_hand() -> None:
    student, teacher = _logits((0.75, 0.25)), _logits((0.5, 0.5))
    found = KnowledgeDistillation(temperature=1.0).distance(student, teacher, torch.tensor([0]))
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert found.item() == pytest.approx(0.7 * divergence + 0.3 * -math.log(0.75))


def test_the_temperature_softens_both_and_its_square_is_the_factor() -> None:
    # Logits of odds 9 : 1 and 1 : 1, halved, have odds 3 : 1 and 1 : 1.
    student, teacher = _logits((0.9, 0.1)), _logits((0.5, 0.5))
    found = KnowledgeDistillation(temperature=2.0).distance(student, teacher, torch.tensor([0]))
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert found.item() == pytest.approx(0.7 * 4 * divergence + 0.3 * -math.log(0.9))


def test_distillation_equals_a_formula_of_scipys() -> None:
    stream = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 40, 6, generator=stream, dtype=torch.float64) * 5
    y = torch.randint(6, (40,), generator=stream)
    found = KnowledgeDistillation().distance(student, teacher, y).numpy()
    p, q, hard = (
        (x / t).softmax(1).numpy() for x, t in ((teacher, 20), (student, 20), (student, 1))
    )
    expected = 0.7 * 400 * rel_entr(p, q).sum(1) - 0.3 * np.log(hard[np.arange(40), y.numpy()])
    assert found == pytest.approx(expected)


def test_at_a_high_temperature_logits_are_matched() -> None:
    """Hinton et al. (2015), eq. 4: the gradient is the difference of centred logits over k."""
    student = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[3.0, 0.0, 0.0]], dtype=torch.float64)
    method = KnowledgeDistillation(temperature=1e4, alpha=1.0)
    method.distance(student, teacher, torch.tensor([0])).sum().backward()
    expected = torch.tensor([[-2.0 - 2.0, -1.0 + 1.0, 3.0 + 1.0]], dtype=torch.float64) / 3
    torch.testing.assert_close(student.grad, expected, atol=1e-3, rtol=0)


def test_without_the_teachers_share_nothing_changes(tiny) -> None:
    plain, student = _net(), _net()
    fit(plain, tiny.all, QUICK, seed=5)
    KnowledgeDistillation(alpha=0.0).fit(student, tiny.all, QUICK, seed=5)
    assert _same(plain, student)


@pytest.mark.parametrize("teacher", [None, "cnn-small"])
def test_the_labels_reach_the_student_through_the_teacher(teacher, digits) -> None:
    data = digits.all.take(torch.arange(400))
    test = digits.all.take(torch.arange(1000, 1400))
    torch.manual_seed(0)
    student = nets.Scaled(nets.build("mlp-128", (1, 8, 8), 10), (0.0,), (1.0,), (1, 8, 8))
    keys, recipe = student.state_dict().keys(), Recipe(lr=3e-3, epochs=15)
    KnowledgeDistillation(teacher=teacher, alpha=1.0).fit(student, data, recipe, seed=0)
    assert student.state_dict().keys() == keys
    assert (student(test.x).argmax(1) == test.y).double().mean() > 0.8


def test_a_teacher_of_wrong_labels_teaches_them(digits) -> None:
    """The control that must fail: what the student knows comes from the data alone."""
    data = digits.all.take(torch.arange(400))
    wrong = Split(data.x, (data.y + 1) % 10)
    torch.manual_seed(0)
    student = nets.Scaled(nets.build("mlp-128", (1, 8, 8), 10), (0.0,), (1.0,), (1, 8, 8))
    KnowledgeDistillation(alpha=1.0).fit(student, wrong, Recipe(lr=3e-3, epochs=15), seed=0)
    test = digits.all.take(torch.arange(1000, 1400))
    assert (student(test.x).argmax(1) == test.y).double().mean() < 0.1


def test_teacher_and_student_train_on_the_changed_inputs(tiny) -> None:
    seen = []

    def inputs(model, batch, stream):
        seen.append(model)
        return batch.x

    student = _net()
    KnowledgeDistillation().fit(student, tiny.all, QUICK, seed=0, inputs=inputs)
    assert len(seen) == 2 * 3 * 4  # both, three epochs, four batches
    assert sum(model is student for model in seen) == 3 * 4


def test_a_teacher_that_does_not_fit_is_refused_before_any_work(tiny) -> None:
    assert KnowledgeDistillation().resolve(tiny) == KnowledgeDistillation()
    with pytest.raises(ZooError, match="No architecture 'mlp-12'"):
        KnowledgeDistillation(teacher="mlp-12").resolve(tiny)
    table = replace(tiny, x=tiny.x.flatten(1))
    with pytest.raises(ZooError, match="The teacher wrn-16-1 cannot take inputs of 16"):
        KnowledgeDistillation(teacher="wrn-16-1").resolve(table)


# A relaxed loss


def test_a_flattened_posterior_keeps_the_label_and_shares_out_the_rest() -> None:
    found = flattened(_logits((0.5, 0.3, 0.2), (0.5, 0.3, 0.2)), torch.tensor([0, 2]))
    assert found.tolist() == [pytest.approx([0.5, 0.25, 0.25]), pytest.approx([0.4, 0.4, 0.2])]


def test_above_the_target_a_batch_descends() -> None:
    logits, y = _logits((0.5, 0.3, 0.2), (0.9, 0.05, 0.05)), torch.tensor([0, 0])
    losses = [-math.log(0.5), -math.log(0.9)]  # 0.69 and 0.11, 0.40 on average
    for flatten in (False, True):
        assert relaxed(logits, y, 0.39, flatten=flatten).tolist() == pytest.approx(losses)


def test_below_the_target_a_batch_ascends_or_flattens() -> None:
    logits, y = _logits((0.5, 0.3, 0.2), (0.9, 0.05, 0.05)), torch.tensor([0, 0])
    losses = [-math.log(0.5), -math.log(0.9)]
    assert relaxed(logits, y, 0.41, flatten=False).tolist() == pytest.approx([-z for z in losses])
    found = relaxed(logits, y, 0.41, flatten=True).tolist()
    first = -0.5 * math.log(0.5) - 0.25 * math.log(0.3) - 0.25 * math.log(0.2)
    second = -0.9 * math.log(0.9) - 0.1 * math.log(0.05)
    assert found == pytest.approx([first, second])


def test_flattening_leaves_a_flat_posterior_alone() -> None:
    """The target is no function of the weights: through it the gradient would not vanish."""
    logits = _logits((0.5, 0.25, 0.25)).requires_grad_()
    relaxed(logits, torch.tensor([0]), 9.0, flatten=True).sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_odd_epochs_flatten(batch_norm, tiny, monkeypatch) -> None:
    flags = []

    def spy(logits, y, alpha, *, flatten):
        flags.append(flatten)
        return relaxed(logits, y, alpha, flatten=flatten)

    monkeypatch.setattr(relaxloss, "relaxed", spy)
    layers = [nn.Flatten(), *([nn.BatchNorm1d(16)] if batch_norm else []), nn.Linear(16, 3)]
    rows = tiny.all.take(torch.arange(9))
    RelaxLoss().fit(nn.Sequential(*layers), rows, Recipe(epochs=4, batch_size=4), seed=0)
    # Three batches an epoch; batch norm cannot take the last one, of one example.
    steps = 2 if batch_norm else 3
    assert flags == ([False] * steps + [True] * steps) * 2


def test_the_training_loss_stays_near_the_target(digits) -> None:
    data = digits.all.take(torch.arange(400))
    torch.manual_seed(0)
    model = nets.build("mlp-128", (1, 8, 8), 10)
    plain = copy.deepcopy(model)
    recipe = Recipe(lr=3e-3, epochs=40)
    RelaxLoss(alpha=0.5).fit(model, data, recipe, seed=0)
    fit(plain, data, recipe, seed=0)
    found, usual = (F.cross_entropy(m(data.x), data.y).item() for m in (model, plain))
    assert usual < 0.05
    assert 0.25 < found < 1.0


# All of them


@pytest.mark.parametrize("defense", LOOPS, ids=lambda d: d.name)
def test_training_depends_on_the_seed_and_nothing_else(defense, tiny) -> None:
    found, state = [], torch.get_rng_state()
    for seed in (1, 1, 2):
        model = _net()
        torch.set_rng_state(state)
        evidence = defense.fit(model, tiny.all, QUICK, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        assert not model.training
        torch.rand(1)  # move the global generator: the training must not notice
        state = torch.get_rng_state()
        found.append((model, evidence))
    assert _same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not _same(found[0][0], found[2][0])


@pytest.mark.parametrize("defense", LOOPS, ids=lambda d: d.name)
@pytest.mark.parametrize("other", [DPSGD(), *LOOPS], ids=lambda d: d.name)
def test_two_training_loops_are_refused(defense, other) -> None:
    """A teacher or a held-out part that no noise covers would break the guarantee of dpsgd."""
    if defense.name == other.name:
        return
    for pair in ([defense, other], [other, defense]):
        with pytest.raises(NotApplicableError, match="both (have a training loop|change)"):
            Stack.of(pair)


@pytest.mark.parametrize("loss", [LabelSmoothing(), NegativeLabelSmoothing(), HAMP(), TRADES()])
def test_only_loops_that_keep_the_step_take_a_loss(loss, defender) -> None:
    for defense in (KnowledgeDistillation(), RelaxLoss()):
        with pytest.raises(NotApplicableError, match="both change|cannot use the loss"):
            Stack.of([defense, loss])
    stack = Stack.of([EarlyStopping(), loss])
    assert (stack.loop, stack.loss_for(defender)) == (EarlyStopping(), loss.loss)
    if isinstance(loss, TRADES):
        with pytest.raises(NotApplicableError, match="trades goes through the model several times"):
            Stack.of([DPSGD(), loss])
    else:
        assert Stack.of([DPSGD(), loss]).loss_for(defender) == loss.loss


def test_they_compose_with_defenses_of_other_parts() -> None:
    for defense in (*LOOPS, LabelSmoothing(), HAMP(), MemGuard()):
        assert len(Stack.of([defense, AdversarialTraining()]).defenses) == 2
    assert len(Stack.of([DPSGD(), MemGuard()]).defenses) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelSmoothing(alpha=0.0), "alpha between 0 and 1, found 0.0"),
        (lambda: LabelSmoothing(alpha=-0.1), "0 is negative-label-smoothing"),
        (lambda: NegativeLabelSmoothing(alpha=0.1), "0 is label-smoothing"),
        (lambda: NegativeLabelSmoothing(alpha=-1.0), "alpha between -1 and 0, found -1.0"),
        (lambda: KnowledgeDistillation(temperature=0.0), "temperature above 0, found 0.0"),
        (lambda: KnowledgeDistillation(alpha=1.1), "alpha from 0 to 1, found 1.1"),
        (lambda: RelaxLoss(alpha=float("nan")), "alpha above 0, found nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message) -> None:
    with pytest.raises(ZooError, match=message):
        make()


# What they do to an attack


@pytest.fixture(scope="module")
def effect(digits, job_for, scenario_for):
    """AUC of the loss threshold and accuracy of a stack on digits with 30 % wrong labels."""
    stream = generator("label noise")
    flip = torch.rand(len(digits), generator=stream) < 0.3
    shift = torch.randint(1, 10, (len(digits),), generator=stream)
    noisy = replace(
        digits, name="noisy-digits", y=torch.where(flip, (digits.y + shift) % 10, digits.y)
    )
    recipe = Recipe(lr=1e-2, epochs=80, batch_size=128)
    trained = {}

    def one(seed: int, stack: Stack) -> tuple[float, float]:
        makes = tuple(map(registry.describe, stack.makes_model))
        job = job_for(data=noisy, seed=seed, recipe=recipe, stack=makes)
        held = noisy.all.take(job.index)
        if job.key not in trained:
            trained[job.key] = train_alone(job, held, None).model
        model = trained[job.key]
        defender = defender_data(job, held, held.take(trusted_index(len(held), seed)), None)
        threat = ThreatModel(access=Access.SCORES)
        guarded = stack.guard(model, defender).eval()
        table = scenario_for(
            noisy, guarded, seed, unguarded=model, stack=stack, defender=defender, threat=threat
        )
        attack = registry.make("attack", "loss-threshold", {})
        auc = membership.play(attack, table).metrics["auc"]
        assert auc is not None
        test = table.examples_at(table.quarters.target_test)
        return auc, accuracy(table.target().labels(test.x), test.y)

    def mean(*defenses) -> np.ndarray:
        return np.mean([one(seed, Stack.of(defenses)) for seed in range(4)], axis=0)

    return mean


@pytest.mark.parametrize(
    ("defense", "lower", "cost"),
    [
        (KnowledgeDistillation(), 0.02, 0.03),
        (RelaxLoss(), 0.1, 0.0),
        (HAMP(), 0.02, 0.02),
        (MemGuard(), 0.01, 0.0),
        (EarlyStopping(), 0.15, 0.0),
    ],
    ids=lambda d: getattr(d, "name", None),
)
def test_a_threshold_on_the_loss_finds_fewer_members(defense, lower, cost, effect) -> None:
    (leaks, usual), (auc, right) = effect(), effect(defense)
    assert leaks > 0.7  # the control: without the defense the members are found
    assert auc < leaks - lower
    assert right >= usual - cost


def test_smoothed_labels_do_not_hide_members_here(effect) -> None:
    """They make answers to members stand out among the right ones: see the docstring."""
    assert effect(LabelSmoothing())[0] > effect()[0]
