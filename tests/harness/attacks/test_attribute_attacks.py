"""Attribute attacks on targets whose every answer is known, beside what needs no model."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.attacks.attribute_embeddings import AttributeEmbeddings
from harness.attacks.attribute_scores import AttributeScores
from harness.attacks.shared.attacker_data import InfersAttribute, Records, granted
from harness.data.examples import Attribute, Split
from harness.metrics.attribute import auc
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access, NotApplicableError
from zoo.errors import ZooError

BOTH = [AttributeScores(epochs=5), AttributeEmbeddings(epochs=5)]
N = 600


class Answers(nn.Module):
    """Gives column 0 of its input as the first class's logit, which nothing else depends on."""

    def forward(self, x):
        return torch.stack([x[:, 0], torch.zeros(len(x), device=x.device)], dim=1)


def _records(x, y, z, *, num_values: int = 2) -> Records:
    """The first half is the attacker's, the second in question."""
    half = len(x) // 2
    return Records(
        points=Split(x[half:], y[half:]), aux=Split(x[:half], y[:half]), aux_z=z[:half],
        seen=torch.zeros(half, 0), num_values=num_values, num_classes=2, architecture="none", input_shape=(x.shape[1],),
    )  # fmt: skip


def _run(attack, target, data, seed):
    """The attack on what the game hands it: what it knows of each record, and what it sees."""
    points, seen = granted(data.points, attack.knows), attack.see(target, data.points.x)
    return attack.run(target, replace(data, points=points, seen=seen), seed=seed)


@pytest.fixture
def independent() -> tuple[torch.Tensor, ...]:
    """Inputs (2n, 3), labels and attributes that have nothing to do with each other."""
    stream = torch.Generator().manual_seed(0)
    x = torch.rand(2 * N, 3, generator=stream)
    y, z = torch.randint(2, (2, 2 * N), generator=stream)
    return x, y, z


@pytest.mark.parametrize("attack", BOTH)
def test_it_is_what_the_game_wants(attack) -> None:
    assert isinstance(attack, InfersAttribute)


def test_the_answer_is_how_often_the_value_goes_with_what_is_seen_and_known() -> None:
    """Each pair of an answer and a label has its own share of the value: (.9, .6, .3, .1)."""
    stream = torch.Generator().manual_seed(0)
    n = 8000
    answer, y = torch.randint(2, (2, n), generator=stream)
    chance = torch.tensor([[0.9, 0.6], [0.3, 0.1]])
    z = (torch.rand(n, generator=stream) < chance[answer, y]).long()
    data = _records(answer[:, None].float(), y, z)
    aux, asked = slice(0, n // 2), slice(n // 2, n)
    attack = AttributeScores(knows="label", epochs=15)
    seen = _run(attack, BlackBox(Answers(), Access.SCORES), data, seed=0)
    by_label = attack.impute(data, knows="label", seed=0)
    by_nothing = attack.impute(data, knows="nothing", seed=0)
    for a in (0, 1):
        for label in (0, 1):
            cell = (answer == a) & (y == label)
            expected = z[aux][cell[aux]].float().mean().item()
            assert seen[cell[asked], 1].tolist() == pytest.approx(
                [expected] * int(cell[asked].sum()), abs=0.03
            )
    for label in (0, 1):
        expected = z[aux][y[aux] == label].float().mean().item()
        found = by_label[y[asked] == label, 1]
        assert found.tolist() == pytest.approx([expected] * len(found), abs=0.03)
    assert torch.equal(by_nothing[:, 1], z[aux].double().mean().expand(n // 2))
    for found in (seen, by_label, by_nothing):
        assert found.sum(1).tolist() == pytest.approx([1] * (n // 2))


def test_three_values_are_told_apart() -> None:
    z = torch.arange(2 * N) % 3
    x = z[:, None] + 0.1 * torch.rand(2 * N, 1, generator=torch.Generator().manual_seed(0))
    data = _records(x, torch.zeros_like(z), z, num_values=3)
    found = _run(AttributeScores(epochs=20), BlackBox(Answers(), Access.SCORES), data, seed=0)
    assert found.shape == (N, 3)
    assert auc(found.numpy(), z[N:].numpy()) > 0.99


def test_small_scores_tell_as_much_as_large_ones(independent) -> None:
    """Half of the records are sure: their other class has 1e-8 or 1e-12, and the rest .01 to .1."""
    x, y, z = independent
    sure = x[:, 0] > 0.5
    x = torch.where(sure, torch.where(z == 1, 18.4, 27.6), 2 + 2 * x[:, 1])[:, None]
    target = BlackBox(Answers(), Access.SCORES)
    assert (target.scores(x)[sure, 0] == 1).all()
    attack = AttributeScores(epochs=20, knows="nothing")
    found = _run(attack, target, _records(x, y, z), seed=0)[sure[N:]]
    assert auc(found.numpy(), z[N:][sure[N:]].numpy()) > 0.99


def test_scores_of_exactly_zero_are_numbers(independent) -> None:
    x, y, z = independent
    x = torch.where(x[:, :1] > 0.5, 300.0, -300.0)
    found = _run(
        AttributeScores(epochs=2), BlackBox(Answers(), Access.SCORES), _records(x, y, z), seed=0
    )
    assert found.isfinite().all()


def test_the_smallest_differences_are_seen_too(independent) -> None:
    """The embedding's only unit differs by 1e-30, whose square is no float32."""
    _, y, z = independent
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 2))
    nn.init.constant_(model[0].weight, 1e-30)
    data = _records(z[:, None].float(), y, z)
    found = _run(AttributeEmbeddings(epochs=20), BlackBox(model, Access.WEIGHTS), data, seed=0)
    assert auc(found.numpy(), z[N:].numpy()) > 0.99


@pytest.mark.parametrize("knows", ["nothing", "label", "features"])
@pytest.mark.parametrize("attack", BOTH)
def test_a_model_that_gives_nothing_away_leaves_exactly_the_imputation(
    attack, knows, independent
) -> None:
    x, y, z = independent
    silent = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(silent[0].weight)
    attack, data = replace(attack, knows=knows), _records(x, y, z)
    found = _run(attack, BlackBox(silent, attack.access[0]), data, seed=3)
    assert torch.equal(found, attack.impute(data, knows=knows, seed=3))


@pytest.mark.parametrize("attack", BOTH)
def test_what_has_nothing_to_do_with_the_attribute_is_no_help(attack, independent) -> None:
    x, y, z = independent
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    found = _run(attack, BlackBox(model, attack.access[0]), _records(x, y, z), seed=0)
    assert auc(found.numpy(), z[N:].numpy()) == pytest.approx(0.5, abs=0.06)


def test_embeddings_show_what_the_last_layer_leaves_out(independent) -> None:
    x, y, z = independent
    x = torch.cat([x, z[:, None].float()], 1)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].weight.data, model[1].weight.data[:, 3] = torch.eye(4), torch.zeros(2)
    data, found = _records(x, y, z), {}
    for kind in (AttributeScores, AttributeEmbeddings):
        attack = kind(epochs=20, knows="label")
        scores = _run(attack, BlackBox(model, attack.access[0]), data, seed=0)
        found[attack.name] = auc(scores.numpy(), z[N:].numpy())
    assert found["attribute-embeddings"] > 0.99
    assert found["attribute-scores"] == pytest.approx(0.5, abs=0.06)


def test_what_is_known_is_used_and_no_more(independent) -> None:
    """The attribute is the label of half the records and a feature of the others."""
    x, y, _ = independent
    first = torch.arange(2 * N) % 4 < 2
    z = torch.where(first, y, (x[:, 1] > 0.5).long())
    data, found = _records(torch.cat([x, first[:, None].float()], 1), y, z), {}
    for knows in ("nothing", "label", "features"):
        scores = AttributeScores().impute(data, knows=knows, seed=0)
        found[knows] = auc(scores.numpy(), z[N:].numpy())
    assert found["nothing"] == 0.5
    assert found["label"] == pytest.approx(0.75, abs=0.05)
    assert found["features"] > 0.95


def test_it_asks_for_its_samples_and_the_records_in_question(independent) -> None:
    data = _records(*independent)
    for samples, asked in ((None, 2 * N), (50, N + 50)):
        target = BlackBox(Answers(), Access.SCORES)
        _run(AttributeScores(samples=samples, epochs=1), target, data, seed=0)
        assert target.queries == asked


def test_other_seeds_draw_other_samples(independent) -> None:
    x, y, z = independent
    data = _records(x, y, z)
    prior = {
        AttributeScores(samples=41).impute(data, knows="nothing", seed=seed)[0, 1].item()
        for seed in range(20)
    }
    assert len(prior) > 4
    assert all(round(share * 41, 9).is_integer() for share in prior)


def test_scores_are_not_given_to_who_may_see_labels_only(independent) -> None:
    with pytest.raises(AccessDeniedError, match="wants scores"):
        _run(AttributeScores(), BlackBox(Answers(), Access.LABELS), _records(*independent), seed=0)
    with pytest.raises(AccessDeniedError, match="wants weights"):
        _run(AttributeEmbeddings(), BlackBox(Answers(), Access.SCORES), _records(*independent), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "attribute-scores wants samples of at least 1, found 0"),
        ({"hidden": 0}, "attribute-scores wants hidden of at least 1, found 0"),
        ({"epochs": 0}, "wants epochs of at least 1, found 0"),
        ({"batch_size": 0}, "wants batch_size of at least 1, found 0"),
        ({"lr": 0.0}, "wants lr above 0"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        AttributeScores(**settings)


def test_the_datasets_first_attribute_is_filled_in_and_others_are_checked(tiny) -> None:
    values = Attribute(torch.arange(64) % 2, ("a", "b"))
    data = replace(tiny, z={"hat": values, "coat": values})
    assert AttributeScores().resolve(data).attribute == "hat"
    assert AttributeScores(attribute="coat").resolve(data).attribute == "coat"
    with pytest.raises(ZooError, match=r"No sensitive attribute of tiny 'cat'.*coat"):
        AttributeScores(attribute="cat").resolve(data)
    with pytest.raises(NotApplicableError, match="tiny has no sensitive attributes"):
        AttributeScores().resolve(tiny)
