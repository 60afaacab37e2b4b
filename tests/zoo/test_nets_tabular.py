"""Networks for tables: against slow formulas, and every way of differentiating them."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from gradients import check_per_example, check_stacked
from torch import Tensor, nn

from zoo import nets
from zoo.counting import count
from zoo.errors import ZooError
from zoo.nets.attention import Attention
from zoo.nets.tabular import TabularTransformer, Tokenizer

WIDTHS = (1, 3, 1, 4)
TABULAR = ["residual-mlp", "tabular-transformer/1,3,1,4"]


@pytest.fixture(autouse=True)
def _double_precision() -> object:
    """So that a difference is a mistake and not rounding."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def rows(n: int) -> Tensor:
    """Two numbers and two categories."""
    numbers = torch.rand(2, n, 1)
    three, four = (F.one_hot(torch.randint(0, k, (n,)), k) for k in (3, 4))
    return torch.cat([numbers[0], three, numbers[1], four], dim=1)


def test_a_token_is_a_numbers_line_or_a_categorys_embedding() -> None:
    tokenizer = Tokenizer(WIDTHS, 5)
    matrix, bias = tokenizer.values.weight.T, tokenizer.biases.weight
    number, three, other, four = 0.25, 2, 0.75, 1
    row = torch.tensor([[number, 0, 0, 1, other, 0, 1, 0, 0]])
    found = tokenizer(row)[0]
    assert found.shape == (5, 5)
    torch.testing.assert_close(found[0], bias[0])
    torch.testing.assert_close(found[1], number * matrix[0] + bias[1])
    torch.testing.assert_close(found[2], matrix[1 + three] + bias[2])
    torch.testing.assert_close(found[3], other * matrix[4] + bias[3])
    torch.testing.assert_close(found[4], matrix[5 + four] + bias[4])


def slow_attention(layer: Attention, x: Tensor) -> Tensor:
    """One example's tokens (t, dim), with loops over heads and pairs of tokens."""
    q, k, v = layer.query(x), layer.key(x), layer.value(x)
    size = x.shape[1] // layer.heads
    mixed = torch.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for asking in range(len(x)):
            similar = [
                math.exp(float(q[asking, part] @ k[other, part]) / math.sqrt(size))
                for other in range(len(x))
            ]
            for other, weight in enumerate(similar):
                mixed[asking, part] += weight / sum(similar) * v[other, part]
    return mixed @ layer.out.weight.T + layer.out.bias


def slow_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    spread = (centred.square().mean(1, keepdim=True) + layer.eps).sqrt()
    return centred / spread * layer.weight + layer.bias


@torch.no_grad()
def slow_transformer(net: TabularTransformer, row: Tensor) -> Tensor:
    """The paper's equations for one row; every token passes every layer."""
    x = net.tokens(row[None])[0]
    layer: Any
    for i, layer in enumerate(net.layers):
        normed = x if i == 0 else slow_norm(layer.norm1, x)
        x = x + slow_attention(layer.attention, normed)
        wide = slow_norm(layer.norm2, x) @ layer.wide.weight.T + layer.wide.bias
        half = wide.shape[1] // 2
        gated = wide[:, :half] * wide[:, half:].clamp(min=0)
        x = x + gated @ layer.narrow.weight.T + layer.narrow.bias
    read = slow_norm(net.norm, x[:1]).clamp(min=0)
    return (read @ net.head.weight.T + net.head.bias)[0]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_transformer_is_the_papers(depth: int) -> None:
    net = TabularTransformer((9,), 3, widths=WIDTHS, dim=8, depth=depth, heads=2)
    for layer in net.modules():  # norms that do nothing yet would hide a wrong place
        if isinstance(layer, nn.LayerNorm):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    x = rows(4)
    expected = torch.stack([slow_transformer(net, row) for row in x])
    torch.testing.assert_close(net(x), expected)


def test_the_residual_perceptron_is_the_papers_with_layer_norm() -> None:
    net = nets.build("residual-mlp", (9,), 3)
    for layer in net.modules():
        if isinstance(layer, nn.LayerNorm):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    x = rows(4)
    part = net.get_submodule
    with torch.no_grad():
        h = part("first")(x)
        for i in range(2):
            inner = part(f"blocks.{i}.wide")(slow_norm(part(f"blocks.{i}.norm"), h)).clamp(min=0)  # type: ignore[arg-type]
            h = h + part(f"blocks.{i}.narrow")(inner)
        expected = part("head")(slow_norm(part("norm"), h).clamp(min=0))  # type: ignore[arg-type]
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("name", TABULAR)
def test_stacked_models_have_the_gradients_of_each(
    name: str, recwarn: pytest.WarningsRecorder
) -> None:
    check_stacked(name, torch.stack([rows(5), rows(5)]), torch.randint(0, 3, (2, 5)), 3)
    assert not [w for w in recwarn if "performance drop" in str(w.message)]  # a loop instead


@pytest.mark.parametrize("name", TABULAR)
def test_opacus_gives_every_parameter_the_gradient_of_each_sample(name: str) -> None:
    check_per_example(name, rows(4), torch.randint(0, 3, (4,)), 3)


def test_columns_of_the_same_values_are_told_apart() -> None:
    net = nets.build("tabular-transformer/1,1", (2,), 2)
    assert not torch.allclose(net(torch.tensor([[0.2, 0.7]])), net(torch.tensor([[0.7, 0.2]])))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("tabular-transformer/1,3", (9,), "Columns of 4 features in all were named, but an input is 9"),
        ("tabular-transformer/9", (1, 3, 3), "Columns of 9 features in all were named, but an input is 1x3x3"),
        ("tabular-transformer", (9,), "does not say how many features each column is"),
        ("tabular-transformer/", (9,), "does not say how many features each column is"),
        ("tabular-transformer/9,0", (9,), "does not say how many features each column is"),
        ("tabular-transformer/10,-1", (9,), "does not say how many features each column is"),
        ("tabular-transformer/4,,5", (9,), "does not say how many features each column is"),
        ("tabular-transformer/4 5", (9,), "does not say how many features each column is"),
        ("tabular-transformer/²", (2,), "does not say how many features each column is"),
    ],
)  # fmt: skip
def test_wrong_widths_are_refused_in_one_line(name: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ZooError, match=said) as caught:
        nets.build(name, shape, 2)
    assert "\n" not in str(caught.value)


def test_its_parts_are_counted_like_those_of_any_network() -> None:
    found = count("tabular-transformer/1,3,1,4", (9,), 2)
    net = nets.build("tabular-transformer/1,3,1,4", (9,), 2)
    assert found.parameters == sum(weight.numel() for weight in net.parameters())
    assert (found.has_batchnorm, found.has_dropout, found.has_dropout_layers) == (False,) * 3
    # The tokens alone: 5 tokens, 9 features, 32 dimensions, two operations each.
    assert found.flops > 5 * 9 * 32 * 2
