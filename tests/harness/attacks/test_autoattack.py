"""AutoAttack: no weaker than its parts, and honest about models that only seem robust."""

from dataclasses import replace

import foolbox
import pytest
import torch
from torch import nn

from harness.attacks.autoattack import AutoAttack
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import reliability
from harness.attacks.square import Square
from harness.data.examples import Split
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access
from zoo.errors import ZooError

QUICK = AutoAttack(epsilon=0.1, steps=10, targets=2, queries=120)


def _flags(model, points) -> tuple[str, ...]:
    data = AttackedPoints(points=points, num_classes=10, architecture="", input_shape=(1, 8, 8))
    return QUICK.run(BlackBox(model, Access.WEIGHTS), data, seed=0).flags


class Answering(nn.Module):
    """A model whose logits are changed on their way out."""

    def __init__(self, model, change) -> None:
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        return self.change(self.model(x))


@pytest.fixture(scope="module")
def few(points) -> Split:
    return points.take(torch.arange(100))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.5)])
def test_autoattack_is_no_weaker_than_pgd_nor_pgd_than_fgsm(
    norm, epsilon, trained, few, robust
) -> None:
    auto = robust(trained, replace(QUICK, norm=norm, epsilon=epsilon, steps=30), few)
    pgd = robust(trained, PGD(epsilon=epsilon, norm=norm, step_size=epsilon / 8), few)
    assert auto <= pgd <= robust(trained, FGSM(epsilon=epsilon, norm=norm), few)
    assert auto > 0.3


def test_autoattack_equals_the_worst_that_foolbox_finds(trained, points, robust) -> None:
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    standing = trained(points.x).argmax(1) == points.y
    torch.manual_seed(0)
    for theirs in (
        foolbox.attacks.LinfPGD(steps=50, rel_stepsize=0.05),
        foolbox.attacks.LInfFMNAttack(steps=100),
    ):
        standing = standing & ~theirs(wrapped, points.x, points.y, epsilons=0.1)[2]
    rate = standing.double().mean().item()
    assert robust(trained, replace(QUICK, steps=30)) == pytest.approx(rate, abs=0.0101)


def test_robust_accuracy_never_rises_with_the_radius(trained, few, robust) -> None:
    rates = [robust(trained, replace(QUICK, epsilon=e), few) for e in (0.0, 0.05, 0.1, 0.2)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == (trained(few.x).argmax(1) == few.y).double().mean().item()
    assert rates[-1] < 0.1


def test_only_what_still_stands_is_attacked(trained, few, monkeypatch) -> None:
    sizes = []
    real = Square.run

    def counted(self, target, data, *, seed):
        sizes.append(len(data.points))
        return real(self, target, data, seed=seed)

    monkeypatch.setattr(Square, "run", counted)
    data = AttackedPoints(points=few, num_classes=10, architecture="", input_shape=(1, 8, 8))
    found = QUICK.run(BlackBox(trained, Access.WEIGHTS), data, seed=0).x
    standing = int((trained(found).argmax(1) == few.y).sum())
    assert 0 < standing <= sizes[0] < 70


def test_a_plain_model_gets_no_flag(trained, few) -> None:
    assert _flags(trained, few) == ()


def test_rounded_logits_are_found_out(trained, few, robust) -> None:
    """Nothing to follow, but the model is as easily broken as before."""
    hidden = Answering(trained, lambda z: (4 * z).round() / 4)
    flags = _flags(hidden, few)
    assert "zero gradients: of the cross-entropy at 100% of the inputs" in flags
    assert any(flag.startswith("gradient masking: square broke ") for flag in flags)
    honest = robust(trained, QUICK, few)
    climbed = robust(hidden, PGD(epsilon=0.1, step_size=0.02), few)
    assert climbed > honest + 0.3
    assert robust(hidden, QUICK, few) < climbed - 0.1


def test_scaled_logits_are_found_out_and_broken_by_the_ratio(trained, few, robust) -> None:
    """A softmax that is sure of itself to the last digit has no cross-entropy to climb."""
    sure = Answering(trained, lambda z: 1000 * z)
    flags = _flags(sure, few)
    assert any(flag.startswith("zero gradients: of the cross-entropy at ") for flag in flags)
    assert not any("difference of logits" in flag for flag in flags)
    honest = robust(trained, QUICK, few)
    assert robust(sure, PGD(epsilon=0.1, step_size=0.02), few) > honest + 0.2
    assert robust(sure, QUICK, few) == pytest.approx(honest, abs=0.02)


def test_a_random_model_is_found_out(trained, few) -> None:
    torch.manual_seed(0)
    noisy = Answering(trained, lambda z: z + torch.randn_like(z))
    assert _flags(noisy, few)[0].startswith("randomised defense: ")


def test_probabilities_are_found_out(trained, few) -> None:
    (flag,) = [f for f in _flags(Answering(trained, lambda z: z.softmax(1)), few) if "logits" in f]
    assert flag == "no logits: the model gives probabilities"


def test_a_model_without_any_gradient_is_no_crash(trained, few) -> None:
    cut = Answering(trained, lambda z: z.detach())
    assert "zero gradients: of the cross-entropy at 100% of the inputs" in _flags(cut, few)


def test_one_example_may_be_luck_and_two_of_a_thousand_are_not_many() -> None:
    assert reliability.of_search(1, 50, 100) == []
    assert reliability.of_search(2, 500, 1000) == []
    assert reliability.of_search(3, 500, 1000) == [
        "gradient masking: square broke 3 of 500 that withstood the gradients"
    ]


def test_two_classes_leave_out_what_needs_three(few) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    data = AttackedPoints(
        points=Split(few.x, model(few.x).argmax(1)),
        num_classes=2, architecture="", input_shape=(1, 8, 8),
    )  # fmt: skip
    found = QUICK.run(BlackBox(model, Access.WEIGHTS), data, seed=0)
    by_pgd = PGD(epsilon=0.1, step_size=0.02).run(BlackBox(model, Access.WEIGHTS), data, seed=0)
    broken, also = ((model(x).argmax(1) != data.points.y).sum() for x in (found.x, by_pgd))
    assert broken >= also > 0
    assert found.flags == ()


def test_flags_reach_the_result(trained, digits, measure) -> None:
    hidden = Answering(trained, torch.round)
    attack = replace(QUICK, queries=60, steps=2)
    evaluation, _ = measure(digits, hidden, 0, attack)
    assert any(flag.startswith("zero gradients") for flag in evaluation.evidence["flags"])
    evaluation, _ = measure(digits, trained, 0, attack)
    assert evaluation.evidence["flags"] == []


def test_needs_the_weights_and_sensible_settings(trained, few, tiny, robust) -> None:
    with pytest.raises(AccessDeniedError, match="wants weights, but the target gives scores only"):
        robust(trained, QUICK, few, access=Access.SCORES)
    with pytest.raises(ZooError, match="steps of at least 1, found 0"):
        AutoAttack(steps=0)
    with pytest.raises(ZooError, match=r"pixel range \[0, 1\], found 8"):
        AutoAttack(epsilon=8).resolve(tiny)
