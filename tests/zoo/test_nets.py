"""Every architecture: its size, and that every way of differentiating it gives one answer."""

import pytest
import torch
from gradients import check_per_example, check_stacked
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from annotations.load import load
from zoo import nets
from zoo.errors import ZooError

SURROGATES = ["cnn-small", "mlp-128", "resnet8", "vit-tiny-patch2"]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 35, 35)]


@pytest.fixture(autouse=True)
def _double_precision() -> object:
    """So that a difference is a mistake and not rounding."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def test_every_architecture_of_ours_is_in_the_catalog() -> None:
    known = {row.key for row in load().rows["architectures"]}
    assert {name for name in known if "/" not in name} == set(nets.names())


OURS = load().rows["computed-nets"]
SMALL = [row for row in OURS if row.values["flops"] < 2e8]  # type: ignore[operator]


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.key)
def test_annotated_facts_of_an_architecture_are_those_of_the_network(row) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        net = nets.build(
            str(row.values["architecture"]), row.values["input_shape"], row.values["num_classes"]
        )
    assert sum(weight.numel() for weight in net.parameters()) == row.values["parameters"]
    norms = any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert norms == row.values["has_batchnorm"]


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.key)
def test_a_network_that_drops_units_answers_twice_differently(row) -> None:  # type: ignore[no-untyped-def]
    net = nets.build(
        str(row.values["architecture"]), row.values["input_shape"], row.values["num_classes"]
    ).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = torch.rand(2, *row.values["input_shape"])
    assert (not torch.equal(net(x), net(x))) == row.values["has_dropout"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as their papers, or the repositories that made them known, state them
        ("resnet18-stem3", 11_173_962),
        ("resnet50-stem3", 23_520_842),
        ("preactresnet18-stem3", 11_171_146),
        ("wrn-28-10", 36_479_194),
        ("wrn-34-10", 46_160_474),
        ("wrn-70-16", 266_796_506),
    ],
)
def test_well_known_networks_have_their_well_known_size(name: str, parameters: int) -> None:
    with torch.device("meta"):
        net = nets.build(name, (3, 32, 32), 10)
    assert sum(weight.numel() for weight in net.parameters()) == parameters


@pytest.mark.parametrize("name", ["resnet18-stem3", "resnet50-stem3", "preactresnet18-stem3"])
def test_four_stages_halve_an_image_three_times(name: str) -> None:
    net = nets.build(name, (3, 32, 32), 10).eval()
    sizes = []
    for stage in (1, 2, 3, 4):
        net.get_submodule(f"layer{stage}").register_forward_hook(
            lambda _, __, out: sizes.append(tuple(out.shape[1:]))
        )
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    wide = 4 if "50" in name else 1
    assert sizes == [(64 * wide * 2**i, 32 // 2**i, 32 // 2**i) for i in range(4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SURROGATES)
def test_stacked_models_in_train_mode_have_the_gradients_of_each(
    name: str, shape: tuple[int, ...]
) -> None:
    check_stacked(name, torch.rand(2, 3, *shape), torch.randint(0, 10, (2, 3)), 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)], ids=str)
@pytest.mark.parametrize("name", [name for name in SURROGATES if name != "resnet8"])
def test_opacus_gives_every_parameter_the_gradient_of_each_sample(
    name: str, shape: tuple[int, ...]
) -> None:
    check_per_example(name, torch.rand(3, *shape), torch.randint(0, 10, (3,)), 10)


def test_vit_runs_under_vmap_without_falling_back_to_a_loop(
    recwarn: pytest.WarningsRecorder,
) -> None:
    net = nets.build("vit-tiny-patch2", (1, 8, 8), 10)
    weights, buffers = stack_module_state([net, net])
    x = torch.rand(2, 1, 8, 8)
    vmap(lambda w, b: functional_call(net, (w, b), (x,)))(weights, buffers)
    assert not [w for w in recwarn if "performance drop" in str(w.message)]


def test_vit_sees_where_a_patch_is() -> None:
    net = nets.build("vit-tiny-patch2", (1, 8, 8), 10).eval()
    x = torch.rand(1, 1, 8, 8)
    moved = x.roll(2, dims=3)  # the same patches, elsewhere
    assert not torch.allclose(net(x), net(moved))
    nn.init.zeros_(net.get_parameter("positions.weight"))
    torch.testing.assert_close(net(x), net(moved))


def test_option_a_shortcut_pads_channels_with_zeros_on_both_sides() -> None:
    net = nets.build("resnet8", (1, 8, 8), 10).eval()
    block = net.get_submodule("layer2.0")
    nn.init.zeros_(block.get_parameter("bn2.weight"))  # leaves the shortcut alone
    x = torch.rand(1, 16, 4, 4)
    out = block(x)
    torch.testing.assert_close(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_weights_come_from_torchs_global_random_numbers() -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([w.flatten() for w in nets.build("resnet8", (1, 8, 8), 10).parameters()])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_an_unknown_architecture_shows_the_nearest() -> None:
    with pytest.raises(ZooError, match=r"No architecture 'resnet-8'\. Nearest: resnet8"):
        nets.build("resnet-8", (1, 8, 8), 10)


def test_an_input_that_is_too_small_is_refused() -> None:
    with pytest.raises(ZooError, match="gtsrb-stn cannot take inputs of 3x8x8"):
        nets.build("gtsrb-stn", (3, 8, 8), 43)


def test_scaled_normalises_each_channel() -> None:
    model = nets.Scaled(nn.Identity(), (0.1, 0.2), (0.5, 2.0), (2, 1, 1))
    x = torch.tensor([0.6, 1.2]).view(1, 2, 1, 1)
    torch.testing.assert_close(model(x).flatten(), torch.tensor([1.0, 0.5]))


def test_scaled_resizes_what_has_another_size_and_nothing_else() -> None:
    model = nets.Scaled(nn.Identity(), (0.0,), (1.0,), (1, 2, 2))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert model(x).shape == (1, 1, 2, 2)
    torch.testing.assert_close(model(x).mean(), x.mean())
    small = torch.rand(1, 1, 2, 2)
    assert torch.equal(model(small), small)


def test_scaling_is_not_part_of_the_state_dict() -> None:
    model = nets.Scaled(nn.Linear(1, 1), (0.0,), (1.0,), (1, 1, 1))
    assert set(model.state_dict()) == {"net.weight", "net.bias"}
