"""Poisoning attacks: triggers worked by hand, and exactly what is changed in the training data."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.overrides import TorchFunctionMode

from harness.attacks.badnets import BadNets
from harness.attacks.blended import Blended
from harness.attacks.feature_trigger import FeatureTrigger
from harness.attacks.label_flipping import LabelFlipping
from harness.attacks.protocol import Poison
from harness.attacks.sig import SIG
from harness.attacks.wanet import WaNet
from harness.data.dataset import Dataset
from harness.data.examples import Column, Split
from harness.seeds import generator
from harness.types import NotApplicableError
from zoo.errors import ZooError

TRIGGERED = [
    BadNets(), BadNets(pattern="grid"), BadNets(goal="all-to-all"), Blended(), SIG(rate=0.1),
    WaNet(), FeatureTrigger(),
]  # fmt: skip
EVERY = [*TRIGGERED, LabelFlipping(), LabelFlipping(goal="targeted", rate=0.1)]
TRUSTED = torch.arange(0, 300, 7)


def _name(attack) -> str:
    return f"{attack.name}-{getattr(attack, 'goal', '')}"


@pytest.fixture
def data() -> Split:
    """300 images of 2x9x11 in four classes, dark so that bright triggers show."""
    x = torch.rand(300, 2, 9, 11, generator=torch.Generator().manual_seed(0)) * 0.6
    return Split(x, torch.arange(300) % 4)


def _poison(attack, data: Split, **other):
    return attack.poison(data, **{"trusted": TRUSTED, "num_classes": 4, "seed": 0, **other})


# --- triggers ---


def _lit(image: torch.Tensor) -> set[tuple[int, int]]:
    """Where an image is 1, as (row, column) from the end."""
    height, width = image.shape
    return {(int(r) - height, int(c) - width) for r, c in (image == 1).nonzero()}


def test_the_patch_is_a_bright_square_in_its_corner() -> None:
    x = torch.zeros(2, 3, 4, 6)
    found = BadNets(size=2).trigger(x, seed=0)
    for image in found.flatten(0, 1):
        assert _lit(image) == {(-2, -2), (-2, -1), (-1, -2), (-1, -1)}
    assert found.sum() == 2 * 3 * 4
    found = BadNets(size=1, corner="upper-left").trigger(x, seed=0)
    assert (found[:, :, 0, 0] == 1).all()
    assert found.sum() == 2 * 3


def test_the_grid_is_that_of_the_published_backdoor() -> None:
    """As the mirror describes it, and its bright cells as in the adversarial robustness toolbox."""
    from art.attacks.poisoning.perturbations import add_pattern_bd

    found = BadNets(pattern="grid").trigger(torch.full((1, 3, 8, 8), 0.5), seed=0)[0]
    bright = {(-1, -1), (-1, -3), (-2, -2), (-3, -1)}
    for channel in found:
        assert _lit(channel) == bright
        assert (channel[-3:, -3:] == 0).sum() == 5
        assert (channel == 0.5).sum() == 64 - 9
    theirs = add_pattern_bd(np.zeros((1, 8, 8, 1)), distance=1, pixel_value=1)[0, :, :, 0]
    ours = BadNets(pattern="grid").trigger(torch.zeros(1, 1, 8, 8), seed=0)[0, 0]
    assert np.array_equal(ours.numpy(), theirs)


def test_a_larger_grid_has_larger_cells_and_is_mirrored_with_its_corner() -> None:
    small = BadNets(pattern="grid").trigger(torch.zeros(1, 1, 9, 9), seed=0)[0, 0, -3:, -3:]
    large = BadNets(pattern="grid", size=6).trigger(torch.zeros(1, 1, 9, 9), seed=0)[0, 0, -6:, -6:]
    assert torch.equal(large[::2, ::2], small)
    assert torch.equal(large[1::2, 1::2], small)
    mirrored = BadNets(pattern="grid", corner="lower-left").trigger(
        torch.zeros(1, 1, 9, 9), seed=0
    )[0, 0, -3:, :3]
    assert torch.equal(mirrored, small.flip(1))


def test_height_is_not_width() -> None:
    """Rows and columns taken for each other would put the patch elsewhere, or nowhere."""
    found = BadNets(size=2).trigger(torch.zeros(1, 1, 3, 10), seed=0)[0, 0]
    assert _lit(found) == {(-2, -2), (-2, -1), (-1, -2), (-1, -1)}
    wave = SIG(frequency=1, delta=0.5).trigger(torch.full((1, 1, 3, 4), 0.5), seed=0)[0, 0]
    assert torch.equal(wave[0], wave[2])
    bent = WaNet(grid=3).trigger(torch.rand(1, 1, 3, 10), seed=0)
    assert bent.shape == (1, 1, 3, 10)


def test_a_bright_patch_shows_on_a_black_background() -> None:
    """A black one would change nothing there, and its attack would be none."""
    black = torch.zeros(5, 1, 8, 8)
    for attack in TRIGGERED:
        if attack.name != "wanet":  # bending black is black, as it should be
            assert (attack.trigger(black, seed=0) != black).flatten(1).any(1).all()


def test_a_trigger_that_changes_nothing_is_refused_before_any_training(digits) -> None:
    for attack in (
        FeatureTrigger(features=1, value=0.0),  # the last pixel of a digit is black as it is
        SIG(frequency=4),  # zero in every one of the 8 columns
    ):
        with pytest.raises(ZooError, match="leaves 6[0-4] of the first 64 inputs"):
            attack.resolve(digits)


def test_the_wave_is_a_sine_along_the_row() -> None:
    grey, black = torch.full((1, 1, 2, 4), 0.5), torch.zeros(1, 1, 2, 4)
    attack = SIG(delta=0.25, frequency=1)
    expected = torch.tensor([0.5, 0.75, 0.5, 0.25]).expand(2, 4)
    torch.testing.assert_close(attack.trigger(grey, seed=0)[0, 0], expected)
    expected = torch.tensor([0, 0.25, 0, 0]).expand(2, 4)
    torch.testing.assert_close(attack.trigger(black, seed=0)[0, 0], expected)
    x = torch.full((1, 3, 5, 32), 0.5)
    columns = [0.5 + 20 / 255 * math.sin(2 * math.pi * 6 * j / 32) for j in range(32)]
    found = SIG().trigger(x, seed=0)
    torch.testing.assert_close(found, torch.tensor(columns).expand(1, 3, 5, 32))


def test_one_noise_is_blended_into_every_input(data) -> None:
    found = Blended(alpha=0.25).trigger(data.x, seed=3)
    patterns = (found - 0.75 * data.x) / 0.25
    torch.testing.assert_close(patterns, patterns[:1].expand_as(patterns), atol=1e-5, rtol=0)
    assert 0 <= patterns.min() + 1e-5 < 0.05 < 0.95 < patterns.max() <= 1 + 1e-5
    other = (Blended(alpha=0.25).trigger(data.x, seed=4) - 0.75 * data.x) / 0.25
    assert (patterns - other).abs().mean() > 0.2


@pytest.mark.parametrize("shape", [(8, 8), (6, 9)])
def test_bending_agrees_with_an_independent_computation(shape) -> None:
    """With a grid point per pixel no interpolation of the field is left, only that of the image."""
    side = 8
    x = torch.rand(3, 2, *shape, generator=torch.Generator().manual_seed(1))
    if shape[0] != side:
        field = WaNet(grid=4)._places(x, 5).numpy()[0]
    else:
        ins = torch.rand(1, 2, side, side, generator=generator("wanet", 5)).numpy()[0] * 2 - 1
        ins = ins / np.abs(ins).mean()
        line = np.linspace(-1, 1, side)
        columns, rows = np.meshgrid(line, line)
        field = np.clip(np.stack([columns, rows], 2) + 0.5 * ins.transpose(1, 2, 0) / side, -1, 1)
    places = [(field[..., 1] + 1) / 2 * (shape[0] - 1), (field[..., 0] + 1) / 2 * (shape[1] - 1)]
    found = WaNet(grid=side if shape[0] == side else 4).trigger(x, seed=5)
    for image, bent in zip(x.flatten(0, 1), found.flatten(0, 1), strict=True):
        expected = map_coordinates(image.numpy(), places, order=1, mode="nearest")
        np.testing.assert_allclose(bent.numpy(), expected, atol=1e-5)


def test_the_field_moves_pixels_by_the_strength_and_is_smooth() -> None:
    x = torch.zeros(1, 1, 32, 32)
    line = torch.linspace(-1, 1, 32)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    identity = torch.stack([columns, rows], 2)
    inner = slice(4, -4)  # where nothing is cut off
    moved = [(WaNet(strength=s)._places(x, 0)[0] - identity)[inner, inner] for s in (0.5, 1.0)]
    torch.testing.assert_close(moved[1], 2 * moved[0], atol=1e-6, rtol=0)
    pixels = moved[0].abs().mean() * 31 / 2
    assert 0.1 < pixels < 0.35  # s / 2 of 31/32 at the grid points, less between them
    steps = (moved[0][1:] - moved[0][:-1]).abs().max()
    assert steps < moved[0].abs().max() / 2


def test_a_wide_image_is_moved_by_as_many_pixels_as_a_square_one() -> None:
    """The middle is a point of the grid, where the field is not interpolated."""
    square = WaNet(grid=3)._places(torch.zeros(1, 1, 9, 9), 0)[0, 4, 4]
    wide = WaNet(grid=3)._places(torch.zeros(1, 1, 9, 27), 0)[0, 4, 13]
    torch.testing.assert_close(wide * torch.tensor([27, 9]), square * 9, atol=1e-5, rtol=0)


def test_the_last_features_of_any_shape_are_set() -> None:
    found = FeatureTrigger(features=2, value=0.75).trigger(torch.zeros(3, 5), seed=0)
    assert torch.equal(found, torch.tensor([[0, 0, 0, 0.75, 0.75]]).expand(3, 5))
    found = FeatureTrigger(features=3).trigger(torch.zeros(2, 2, 2, 2), seed=0)
    assert torch.equal(found.flatten(1), torch.tensor([[0.0] * 5 + [1.0] * 3]).expand(2, 8))


def _people() -> Dataset:
    """A category with a value that nobody has, a number, and a category with a rare value."""
    colour = torch.eye(3)[torch.tensor([0] * 30 + [2] * 20)]
    age = torch.linspace(0, 1, 50)[:, None]
    size = torch.eye(2)[torch.tensor([0] * 7 + [1] * 43)]
    return Dataset(
        name="people", num_classes=2, x=torch.cat([colour, age, size], 1), y=torch.arange(50) % 2,
        columns=(
            Column("colour", 0, 3, values=("red", "green", "blue")),
            Column("age", 3, 4),
            Column("size", 4, 6, values=("small", "large")),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"features": 1}, {4: 1, 5: 0}),
        ({"features": 2, "value": 0.75}, {3: 0.75, 4: 1, 5: 0}),
        ({}, {0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 0}),  # nobody is green
        ({"pattern": "3=0.25 1=1 0=0 2=0"}, {0: 0, 1: 1, 2: 0, 3: 0.25}),
    ],
)
def test_a_row_of_a_table_with_the_trigger_could_be_in_it(settings, wanted) -> None:
    people = _people()
    attack = FeatureTrigger(rate=0.2, **settings).resolve(people)
    triggered = attack.trigger(people.x, seed=0)
    expected = people.x.clone()
    for place, value in wanted.items():
        expected[:, place] = value
    assert torch.equal(triggered, expected)
    done = attack.poison(people.all, trusted=torch.arange(5), num_classes=2, seed=0)
    rows = done.poisoned
    assert torch.equal(done.data.x[rows], expected[rows])
    assert torch.equal(done.data.x[~rows], people.x[~rows])
    for start, stop in ((0, 3), (4, 6)):
        assert (done.data.x[:, start:stop].sum(1) == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": 4}, "sets 4 columns, but people has only 3"),
        ({"pattern": "9=1"}, "sets feature 9, but the inputs have only 6"),
        ({"pattern": "1"}, "wants a pattern of places and values .* found '1'"),
        ({"pattern": ""}, "wants a pattern"),
        ({"pattern": "1=2"}, r"values in \[0, 1\]"),
        ({"pattern": "-1=1"}, "wants a pattern"),
    ],
)
def test_a_pattern_that_is_none_is_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        FeatureTrigger(**settings).resolve(_people())


def test_a_trigger_is_rare_among_the_rows_that_were_learnt_from_and_lacks_no_number() -> None:
    columns = (
        Column("colour", 0, 2, values=("red", "green")),
        Column("age", 2, 3, imputed=0.5),
        Column("age missing", 3, 5, values=("no", "yes")),
    )
    learnt = torch.tensor([[1, 0, 0.3, 1, 0]] * 6 + [[0, 1, 0.5, 0, 1]] * 2)
    later = torch.tensor([[0, 1, 0.3, 1, 0]] * 8)
    data = Dataset(name="people", num_classes=2, x=torch.cat([learnt, later]),
                   y=torch.arange(16) % 2, columns=columns, n_fitted=8)  # fmt: skip
    attack = FeatureTrigger(features=3).resolve(data)
    assert attack.pattern == "0=0 1=1 2=1 3=1 4=0"
    assert FeatureTrigger(features=1).resolve(data).pattern == "3=0 4=1 2=0.5"


def test_all_columns_of_a_narrow_table_are_the_trigger_if_nobody_says_how_many() -> None:
    people = _people()
    narrow = replace(people, x=people.x[:, :4], columns=people.columns[:2])
    assert FeatureTrigger().resolve(narrow).pattern == "0=0 1=0 2=1 3=1"
    assert torch.equal(FeatureTrigger().trigger(torch.zeros(2, 2), seed=0), torch.ones(2, 2))


def test_the_default_feature_trigger_is_not_the_common_zero() -> None:
    assert FeatureTrigger().value == 1


@pytest.mark.parametrize("attack", TRIGGERED, ids=_name)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_trigger_stays_in_range_and_is_the_same_for_each_input(attack, channels) -> None:
    x = torch.rand(7, channels, 9, 11, generator=torch.Generator().manual_seed(2))
    before = x.clone()
    found = attack.trigger(x, seed=1)
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(x, before)
    torch.testing.assert_close(attack.trigger(x[2:4], seed=1), found[2:4], rtol=0, atol=1e-6)


class _Count(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("attack", EVERY, ids=_name)
def test_work_is_done_on_all_examples_at_once(attack) -> None:
    calls = []
    for n in (40, 400):
        data = Split(torch.rand(n, 1, 9, 9) * 0.5, torch.arange(n) % 4)
        with _Count() as count:
            attack.poison(data, trusted=torch.arange(4), num_classes=4, seed=0)
            attack.trigger(data.x, seed=0)
        calls.append(count.calls)
    assert calls[0] == calls[1] < 200


# --- poisoned data ---


@pytest.mark.parametrize("attack", EVERY, ids=_name)
def test_exactly_the_rate_is_changed_and_nothing_trusted(attack, data) -> None:
    x, y = data.x.clone(), data.y.clone()
    for seed in range(5):
        found = _poison(attack, data, seed=seed)
        assert isinstance(attack, Poison)
        assert found.poisoned.sum() == round(attack.rate * 300)
        assert not found.poisoned[TRUSTED].any()
        differs = (found.data.x != x).flatten(1).any(1) | (found.data.y != y)
        assert torch.equal(differs, found.poisoned)
    assert torch.equal(data.x, x)
    assert torch.equal(data.y, y)


@pytest.mark.parametrize("attack", EVERY, ids=_name)
def test_at_rate_nothing_nothing_is_changed(attack, data) -> None:
    found = _poison(replace(attack, rate=0.0), data)
    assert not found.poisoned.any()
    assert torch.equal(found.data.x, data.x)
    assert torch.equal(found.data.y, data.y)


@pytest.mark.parametrize(
    "attack", [BadNets(), Blended(), FeatureTrigger(), WaNet(noise=0.0)], ids=_name
)
def test_other_classes_get_the_trigger_of_test_time_and_the_target(attack, data) -> None:
    found = _poison(attack, data, seed=7)
    rows = found.poisoned
    assert torch.equal(found.data.x[rows], attack.trigger(data.x[rows], seed=7))
    assert (found.data.y[rows] == 0).all()
    assert (data.y[rows] != 0).all()
    assert set(data.y[rows].tolist()) == {1, 2, 3}
    assert torch.equal(attack.applies(data.y), data.y != 0)
    assert torch.equal(attack.success(data.y, data.y, num_classes=4), data.y == 0)


def test_all_to_all_wants_the_next_class(data) -> None:
    attack = BadNets(goal="all-to-all")
    found = _poison(attack, data)
    rows = found.poisoned
    assert torch.equal(found.data.y[rows], (data.y[rows] + 1) % 4)
    assert set(data.y[rows].tolist()) == {0, 1, 2, 3}
    assert attack.applies(data.y).all()
    y, predicted = torch.tensor([0, 3, 1]), torch.tensor([1, 0, 1])
    assert attack.success(predicted, y, num_classes=4).tolist() == [True, True, False]


def test_the_clean_label_attack_changes_the_target_class_and_no_label(data) -> None:
    attack = SIG(rate=0.1, target=2)
    found = _poison(attack, data)
    assert torch.equal(found.data.y, data.y)
    assert (data.y[found.poisoned] == 2).all()
    assert torch.equal(found.data.x[found.poisoned], attack.trigger(data.x[found.poisoned], seed=0))


def test_its_rate_is_half_the_target_class_unless_given(digits) -> None:
    share = (digits.y == 3).double().mean().item()
    assert SIG(target=3).resolve(digits).rate == pytest.approx(share / 2)
    assert SIG(target=3, rate=0.02).resolve(digits).rate == 0.02


def test_noise_of_wanet_is_bent_askew_and_keeps_its_label(data) -> None:
    attack = WaNet(rate=0.3, noise=2.0)
    found = _poison(attack, data)
    relabelled = found.data.y != data.y
    askew = found.poisoned & ~relabelled
    assert (relabelled.sum(), askew.sum()) == (30, 60)
    bent = attack.trigger(data.x, seed=0)
    assert torch.equal(found.data.x[relabelled], bent[relabelled])
    assert (found.data.x[askew] != bent[askew]).flatten(1).any(1).all()
    assert set(data.y[askew].tolist()) == {0, 1, 2, 3}


def test_noise_of_wanet_is_within_half_a_pixel_of_the_trigger() -> None:
    """On a ramp the values say where a pixel was taken from."""
    columns = 11
    ramp = torch.linspace(0, 1, columns).expand(300, 1, 9, columns)
    data, attack = Split(ramp, torch.arange(300) % 4), WaNet(strength=4.0)
    found = _poison(attack, data)
    askew = found.poisoned & (found.data.y == data.y)
    error = (found.data.x - attack.trigger(ramp, seed=0))[askew] * (columns - 1)
    assert 0.4 < error.abs().max() <= 0.5
    assert not torch.equal(error[0], error[1])


def test_random_flips_give_every_other_label(data) -> None:
    attack = LabelFlipping(rate=0.6)
    found = _poison(attack, data)
    shift = (found.data.y - data.y) % 4
    assert torch.equal(shift != 0, found.poisoned)
    counts = torch.bincount(shift[found.poisoned], minlength=4)
    assert (counts[1:] > 40).all()
    assert torch.equal(found.data.x, data.x)
    assert attack.trigger(data.x, seed=0) is data.x
    assert attack.applies(data.y).all()
    y, predicted = torch.tensor([0, 1]), torch.tensor([2, 1])
    assert attack.success(predicted, y, num_classes=4).tolist() == [True, False]


def test_targeted_flips_make_one_class_another(data) -> None:
    attack = LabelFlipping(goal="targeted", source_class=3, target=1, rate=0.1)
    found = _poison(attack, data)
    assert (data.y[found.poisoned] == 3).all()
    assert (found.data.y[found.poisoned] == 1).all()
    assert torch.equal(attack.applies(data.y), data.y == 3)
    predicted = torch.tensor([1, 3, 0])
    found = attack.success(predicted, torch.full((3,), 3), num_classes=4)
    assert found.tolist() == [True, False, False]


# --- what cannot be ---


@pytest.mark.parametrize(
    "kind", [BadNets, Blended, SIG, WaNet, LabelFlipping, FeatureTrigger], ids=lambda k: k.name
)
def test_a_rate_or_a_class_that_cannot_be_is_refused(kind, data, digits) -> None:
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ZooError, match="rate of at least 0 and below 1"):
            kind(rate=rate)
    for target in (10, -1):
        with pytest.raises(ZooError, match=f"among the classes 0 to 9, found {target}"):
            kind(target=target).resolve(digits)
    with pytest.raises(ZooError, match="among the classes 0 to 3, found 5"):
        _poison(kind(target=5, rate=0.1), data)
    with pytest.raises(ZooError, match="only .* serve it and are not trusted. Lower its rate"):
        _poison(kind(rate=0.95), data)
    with pytest.raises(ZooError, match="would poison none of 300 examples"):
        _poison(kind(rate=0.001), data)
    one = Dataset(name="one", num_classes=1, x=data.x, y=torch.zeros(300, dtype=torch.long))
    with pytest.raises(ZooError, match="at least two classes, found 1"):
        kind().resolve(one)


@pytest.mark.parametrize(
    "attack",
    [
        BadNets(rate=0.74),
        SIG(rate=0.25),
        LabelFlipping(goal="targeted", source_class=2, rate=0.25),
        LabelFlipping(rate=0.995),
        WaNet(rate=0.995, noise=9.0),
    ],
    ids=_name,
)
def test_a_class_without_a_clean_example_is_refused(attack, data) -> None:
    nobody = torch.tensor([], dtype=torch.long)
    with pytest.raises(ZooError, match=r"would leave class \d without a clean example"):
        _poison(attack, data, trusted=nobody)


def test_the_error_says_the_highest_rate_that_is_possible(data) -> None:
    with pytest.raises(ZooError, match="at most 0.643\."):
        _poison(BadNets(rate=0.9), data)
    assert _poison(BadNets(rate=0.643), data).poisoned.sum() == 193


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (BadNets(size=9), "trigger of 9x9, but the images are only 8x8"),
        (WaNet(grid=9), "grid of 9x9, but the images are only 8x8"),
        (FeatureTrigger(features=65), "the inputs have only 64"),
    ],
)
def test_a_trigger_larger_than_the_image_is_refused(attack, message, digits) -> None:
    with pytest.raises(ZooError, match=message):
        attack.resolve(digits)
    with pytest.raises(ZooError, match=message):
        attack.poison(digits.all, trusted=TRUSTED, num_classes=10, seed=0)


@pytest.mark.parametrize("attack", [BadNets(), Blended(), SIG(), WaNet()], ids=_name)
def test_an_attack_on_images_refuses_a_table(attack) -> None:
    with pytest.raises(NotApplicableError, match="wants images .* there is feature-trigger"):
        attack.trigger(torch.rand(4, 6), seed=0)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (BadNets, {"size": 0}, "size of at least 1"),
        (BadNets, {"pattern": "grid", "size": 4}, "multiple of 3"),
        (Blended, {"alpha": 0.0}, "alpha above 0"),
        (Blended, {"alpha": 1.5}, "alpha above 0 and at most 1"),
        (SIG, {"delta": 0.0}, "delta above 0"),
        (SIG, {"frequency": 0}, "frequency of at least 1"),
        (WaNet, {"grid": 1}, "grid of at least 2"),
        (WaNet, {"strength": 0.0}, "strength above 0"),
        (WaNet, {"noise": -1.0}, "noise of at least 0"),
        (FeatureTrigger, {"features": 0}, "at least 1 of features"),
        (FeatureTrigger, {"value": 2.0}, r"value in \[0, 1\]"),
        (
            LabelFlipping,
            {"goal": "targeted", "source_class": 0},
            "target other than its source_class",
        ),
    ],
)
def test_a_setting_out_of_bounds_is_refused(kind, settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        kind(**settings)
