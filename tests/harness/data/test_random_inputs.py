"""Made-up inputs: anything that could be there, each as often."""

import torch

from harness.attacks.shared.row_generator import drawn
from harness.attacks.tabular_inversion import hard
from harness.data.examples import Column
from harness.data.random_inputs import uniform

COLUMNS = (
    Column("age", 0, 1),
    Column("colour", 1, 5, values=("red", "green", "blue", "grey")),
    Column("size", 5, 7, values=("small", "large")),
    Column("height", 7, 8),
)


def test_a_row_has_one_value_of_each_category_and_each_as_often() -> None:
    x = uniform(8000, (8,), COLUMNS, torch.Generator().manual_seed(0))
    for start, stop in ((1, 5), (5, 7)):
        block = x[:, start:stop]
        assert ((block == 0) | (block == 1)).all()
        assert (block.sum(1) == 1).all()
        torch.testing.assert_close(
            block.mean(0), torch.full((stop - start,), 1 / (stop - start)), rtol=0.06, atol=0
        )
    for number in (0, 7):
        torch.testing.assert_close(
            x[:, number].quantile(torch.tensor([0.1, 0.5, 0.9])),
            torch.tensor([0.1, 0.5, 0.9]),
            rtol=0,
            atol=0.02,
        )
    assert x.T.corrcoef()[0, [1, 5, 7]].abs().max() < 0.05


def test_without_columns_it_is_noise() -> None:
    found = uniform(3, (2, 4, 5), (), torch.Generator().manual_seed(1))
    assert torch.equal(found, torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(1)))


def test_a_row_that_lacks_a_number_has_what_stands_in_for_it() -> None:
    columns = (
        Column("age", 0, 1, imputed=0.3),
        Column("age missing", 1, 3, values=("no", "yes")),
        Column("height", 3, 4),
    )
    stream = torch.Generator().manual_seed(0)
    raw = torch.randn(200, 4, generator=stream)
    for x in (
        uniform(200, (4,), columns, stream),
        drawn(raw, columns, torch.sigmoid, stream),
        hard(raw, columns),
    ):
        lacks = x[:, 2] == 1
        assert 50 < lacks.sum() < 150
        assert (x[lacks, 0] == 0.3).all()
        assert (x[~lacks, 0] != 0.3).all()
        assert (x[:, 3] != 0.3).all()
