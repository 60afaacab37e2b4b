"""The generator of rows: its draws could be in the table, and its slopes are those of the mean."""

import pytest
import torch
from torch import nn

from harness.attacks.data_free import DataFree, squash
from harness.attacks.protocol import AttackerData
from harness.attacks.shared.row_generator import RowGenerator, drawn, slope_of
from harness.data.examples import Column
from harness.target import BlackBox
from harness.types import Access

COLUMNS = (
    Column("age", 0, 1),
    Column("colour", 1, 4, values=("red", "green", "blue")),
    Column("height", 4, 5),
)
DATA = AttackerData(num_classes=2, architecture="mlp-128", input_shape=(5,), columns=COLUMNS)


def _stream(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_drawn_row_has_each_value_as_often_as_its_logit_says() -> None:
    logits = torch.tensor([0.2, 1.0, -0.5, 0.3, -2.0])
    x = drawn(logits.expand(6000, 5), COLUMNS, torch.sigmoid, _stream(1))
    assert (x[:, 1:4].sum(1) == 1).all()
    torch.testing.assert_close(x[:, 1:4].mean(0), logits[1:4].softmax(0), rtol=0, atol=0.02)
    torch.testing.assert_close(x[:, [0, 4]], logits[[0, 4]].sigmoid().expand(6000, 2))


def test_the_slope_is_that_of_the_mean_over_draws() -> None:
    """For worth = w . x it is known: w sigmoid' of numbers, p (w - p . w) of logits."""
    logits, w = torch.tensor([0.2, 1.0, -0.5, 0.3, -2.0]), torch.tensor([2.0, 1.0, 3.0, -2.0, 4.0])
    found = slope_of(
        lambda x: x @ w, logits.expand(40_000, 5), COLUMNS,
        squash=torch.sigmoid, directions=2, step=1e-2, stream=_stream(),
    )  # fmt: skip
    leaf = logits.clone().requires_grad_()
    mean = (leaf.sigmoid() * w)[[0, 4]].sum() + (leaf[1:4].softmax(0) * w[1:4]).sum()
    (expected,) = torch.autograd.grad(mean, leaf)
    torch.testing.assert_close(found.mean(0), expected, rtol=0, atol=0.03)


def test_a_single_row_has_nothing_to_be_compared_with() -> None:
    found = slope_of(
        lambda x: x.sum(1), torch.zeros(1, 5), COLUMNS,
        squash=torch.sigmoid, directions=1, step=1e-2, stream=_stream(),
    )  # fmt: skip
    assert found.isfinite().all()


def test_made_rows_vary() -> None:
    raw = RowGenerator(5, 16, 8)(torch.randn(64, 16, generator=_stream()))
    torch.testing.assert_close(raw.mean(0), torch.zeros(5), rtol=0, atol=1e-4)
    x = drawn(raw, COLUMNS, squash, _stream())
    assert (x[:, 1:4].sum(0) > 0).all()
    assert (x[:, [0, 4]].std(0) > 0.1).all()


class Table(nn.Module):
    """Class 1 for the old and blue; it counts questions about what is no row."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong = 0

    def forward(self, x):
        block = x[:, 1:4]
        valid = ((block == 0) | (block == 1)).all(1) & (block.sum(1) == 1)
        self.wrong += int((~valid).sum())
        z = 6 * (x[:, 0] - 0.5) + 3 * x[:, 3] - 3 * x[:, 1]
        return torch.stack([-z, z], 1)


@pytest.mark.parametrize("directions", [1, 2])
def test_only_rows_that_could_be_in_the_table_are_asked_and_the_budget_is_kept(directions) -> None:
    model = Table()
    target = BlackBox(model, Access.SCORES, budget=517)
    DataFree(epochs=1, directions=directions, batch_size=32).run(target, DATA, seed=0)
    assert target.queries == 517
    assert model.wrong == 0


def test_a_model_of_a_table_is_copied_without_any_data() -> None:
    model = Table()
    stream = _stream(3)
    x = torch.rand(500, 5, generator=stream)
    x[:, 1:4] = torch.eye(3)[torch.randint(3, (500,), generator=stream)]
    answers = model(x).argmax(1)
    assert 0.3 < answers.double().mean() < 0.7

    def fidelity(queries: int) -> float:
        target = BlackBox(model, Access.SCORES)
        copy = DataFree(queries=queries, epochs=5).run(target, DATA, seed=0)
        return (copy(x).argmax(1) == answers).double().mean().item()

    assert fidelity(3000) > 0.9
    assert fidelity(3000) > fidelity(4)


def test_the_generator_of_rows_learns_to_find_disagreement() -> None:
    """Target and surrogate differ where the colour is blue: that is what is drawn more often."""
    seen = []

    class Target(nn.Module):
        def forward(self, x):
            seen.append(x[:, 3])
            return torch.stack([8 * x[:, 3], -8 * x[:, 3]], 1)

    shares = {}
    for rate in (1e-12, 1e-2):
        seen.clear()
        DataFree(queries=6000, lr=1e-9, epochs=1, generator_lr=rate).run(
            BlackBox(Target(), Access.SCORES), DATA, seed=0
        )
        shares[rate] = torch.cat(seen)[-2000:].mean().item()
    assert shares[1e-2] > shares[1e-12] + 0.05
