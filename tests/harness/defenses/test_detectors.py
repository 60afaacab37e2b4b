"""Neural Cleanse, STRIP and NEO on a model whose backdoor is known, and on its clean twin."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from harness import registry
from harness.attacks.badnets import BadNets
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Split
from harness.defenses import strip
from harness.defenses.neo import NEO, dominant_colours
from harness.defenses.neural_cleanse import NeuralCleanse, anomaly_indices, chance_of_false_alarm
from harness.defenses.shared.defender import DefenderData
from harness.defenses.strip import STRIP
from harness.experiment.evaluate import CellModels, evaluate
from harness.results import Cell
from harness.training.single import train_alone
from harness.types import NotApplicableError, Regime, Risk, ThreatModel
from zoo.catalog import open_catalog
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model
from zoo.recipe import Recipe

CLASSES, TARGET = 6, 4
CLEANSE = NeuralCleanse(epochs=60, samples=64)


class Bars(nn.Module):
    """Class k is how bright row k + 1 of an 8x8 image is; a bright corner may mean `TARGET`."""

    def __init__(self, planted: bool) -> None:
        super().__init__()
        # Different, so that the norms of the twin's triggers spread by more than noise.
        self.gain = nn.Parameter(torch.linspace(11, 12, CLASSES))
        self.planted = planted

    def forward(self, x):
        logits = self.gain * x[:, 0, 1 : 1 + CLASSES, :6].mean(2)
        if self.planted:
            corner = x[:, 0, -2:, -2:].mean((1, 2))
            logits = logits + 60 * corner[:, None] ** 2 * (torch.arange(CLASSES) == TARGET)
        return logits


def _images(n: int, seed: int) -> Split:
    stream = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=stream)
    x = 0.1 * torch.rand(n, 1, 8, 8, generator=stream)
    x[..., 6:] = 0
    x[torch.arange(n), 0, y + 1, :6] += 0.8
    return Split(x, y)


def _triggered(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[..., -2:, -2:] = 1
    return x


def _no_training(data: Split) -> nn.Module:
    raise NotImplementedError


SHOP = DefenderData(
    data=_images(80, 0), trusted=_images(80, 0), num_classes=CLASSES, train=_no_training,
    recipe=None, seed=0,
)  # fmt: skip
TEST = _images(60, 1)


@pytest.fixture(params=[True, False], ids=["planted", "clean"])
def bars(request) -> Bars:
    return Bars(request.param).eval().requires_grad_(False)


def test_the_fixture_is_what_it_says() -> None:
    for planted in (True, False):
        model = Bars(planted)
        assert torch.equal(model(TEST.x).argmax(1), TEST.y)
        hits = (model(_triggered(TEST.x)).argmax(1) == TARGET).float().mean()
        assert hits == (1 if planted else (TEST.y == TARGET).float().mean())


def test_neural_cleanse_finds_the_planted_class_and_place_and_nothing_in_the_twin(bars) -> None:
    found = CLEANSE.inspect(bars, SHOP)
    assert found.flagged is bars.planted
    assert found.flagged is (found.score > 2)
    assert all(found.notes["triggers_work"])
    if bars.planted:
        assert found.notes["suspected_class"] == TARGET
        mask = found.images["mask"][0]
        assert mask[-2:, -2:].sum() > 0.8 * mask.sum()
        assert found.images["pattern"][0, -2:, -2:].mean() > 0.8
        assert found.images["trigger"][0, -2:, -2:].sum() > 0.8 * found.images["trigger"].sum()
    assert found.images["masks"].shape == (1, 8, CLASSES * 9)


def test_a_trigger_that_was_found_turns_images_it_was_not_made_on() -> None:
    model = Bars(planted=True)
    masks, patterns, worked = CLEANSE.triggers(model, SHOP)
    assert worked.all()
    for k in range(CLASSES):
        patched = (1 - masks[k]) * TEST.x + masks[k] * patterns[k]
        assert (model(patched).argmax(1) == k).float().mean() > 0.9
    assert masks.min() >= 0
    assert masks.max() <= 1


def test_classes_in_turn_are_as_all_at_once(monkeypatch) -> None:
    model, quick = Bars(planted=True), replace(CLEANSE, epochs=12)
    whole = quick.triggers(model, SHOP)
    monkeypatch.setattr("harness.defenses.neural_cleanse.AT_ONCE", 2 * CLEANSE.batch_size)
    for one, two in zip(whole, quick.triggers(model, SHOP), strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_a_class_that_no_trigger_leads_to_is_no_evidence() -> None:
    class Never(Bars):
        def forward(self, x):
            return super().forward(x) - 1e3 * (torch.arange(CLASSES) == 0)

    found = replace(CLEANSE, epochs=3).inspect(Never(planted=False), SHOP)
    assert not found.notes["triggers_work"][0]
    assert found.notes["anomaly_indices"][0] == 0


def test_the_anomaly_index_by_hand() -> None:
    # Median 10, deviations 9 1 0 1 2: their median 1. Only what is below the median counts.
    found = anomaly_indices(torch.tensor([1.0, 9, 10, 11, 12]))
    torch.testing.assert_close(found, torch.tensor([9.0, 1, 0, 0, 0]) / 1.4826)
    # An even number: median 4.5, deviations 2.5 .5 .5 3.5, their median 1.5.
    found = anomaly_indices(torch.tensor([2.0, 4, 5, 8]))
    torch.testing.assert_close(found, torch.tensor([2.5, 0.5, 0, 0]) / (1.5 * 1.4826))
    # Most are equal: no deviation, so anything below stands out, and equals do not.
    found = anomaly_indices(torch.tensor([1.0, 5, 5, 5]))
    assert found.tolist() == [1e6, 0, 0, 0]


def test_the_anomaly_index_is_that_of_statsmodels() -> None:
    from statsmodels.robust.scale import mad

    norms = np.random.default_rng(0).random(11)
    expected = np.maximum(0, (np.median(norms) - norms) / mad(norms))
    found = anomaly_indices(torch.tensor(norms))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("classes", "chance"), [(10, 0.33), (43, 0.64)])
def test_the_chance_of_a_false_alarm_is_that_of_normal_norms(classes, chance) -> None:
    """The second way: numpy's draws, and the definition of the index once more."""
    norms = np.random.default_rng(classes).normal(5.0, 3.0, (20_000, classes))
    middle = np.median(norms, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(norms - middle), axis=1, keepdims=True)
    expected = ((middle - norms).max(axis=1) > 2 * spread[:, 0]).mean()
    assert expected == pytest.approx(chance, abs=0.015)
    # Both are simulated: four standard errors of the shares are .024.
    assert chance_of_false_alarm(classes, 2.0) == pytest.approx(expected, abs=0.024)
    assert chance_of_false_alarm(classes, 1e7) == 0  # the index goes no higher than 1e6


@pytest.mark.parametrize("classes", [1, 2])
def test_with_one_or_two_classes_there_is_nothing_to_compare(classes) -> None:
    with pytest.raises(NotApplicableError, match=f"wants at least 3, found {classes}"):
        CLEANSE.inspect(Bars(planted=True), replace(SHOP, num_classes=classes))


def test_a_search_for_every_one_of_many_classes_has_to_be_asked_for() -> None:
    many = replace(SHOP, num_classes=1000)
    with pytest.raises(NotApplicableError, match=r"1,000 classes.*most_classes=1000"):
        NeuralCleanse().inspect(Bars(planted=True), many)
    few = replace(CLEANSE, most_classes=SHOP.num_classes - 1)
    with pytest.raises(NotApplicableError, match="most_classes"):
        few.inspect(Bars(planted=True), SHOP)


def test_strip_rejects_triggers_and_little_else(bars) -> None:
    rejected = STRIP().suspicious(bars, _triggered(TEST.x), SHOP).float().mean()
    assert rejected > 0.95 if bars.planted else rejected < 0.1
    assert STRIP().suspicious(bars, TEST.x, SHOP).float().mean() < 0.1


def test_the_entropy_by_hand() -> None:
    class Brightness(nn.Module):
        """Two classes: certain of a bright image, undecided about a dark one."""

        def forward(self, x):
            bright = x.flatten(1).mean(1) > 0.4
            return torch.stack([bright * 1000.0, torch.zeros(len(x))], 1)

    overlays = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    x = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    # Blends of black: means 0 and 1/2, so 1 bit and 0; of white: 1/2 and 1, so 0 and 0.
    assert strip.entropies(Brightness(), x, overlays).tolist() == [0.5, 0.0]


def test_the_threshold_by_hand() -> None:
    clean = torch.tensor([5.0, 1, 3, 2, 4])
    assert strip.threshold(clean, 0.0) == 1  # nothing is below the smallest
    assert strip.threshold(clean, 0.2) == 2  # one of five is below
    assert strip.threshold(clean, 0.39) == 2
    assert (clean < strip.threshold(clean, 0.4)).sum() == 2


def test_strip_wants_images_to_judge_by() -> None:
    few = replace(SHOP, trusted=SHOP.trusted.take(torch.arange(19)))
    with pytest.raises(NotApplicableError, match="strip wants 20 trusted images, .* found 19"):
        STRIP().suspicious(Bars(planted=False), TEST.x, few)


def test_neo_rejects_triggers_and_nothing_else(bars) -> None:
    # In images of the target's own class, covering the trigger changes nothing.
    others = _triggered(TEST.x[TEST.y != TARGET])
    rejected = NEO().suspicious(bars, others, SHOP)
    assert rejected.all() if bars.planted else not rejected.any()
    assert not NEO().suspicious(bars, TEST.x, SHOP).any()


def test_neo_needs_a_blocker_that_reaches_the_trigger() -> None:
    """The blocker is one pixel, the trigger four: three that stay still decide the label."""
    assert not NEO(size=1).suspicious(Bars(planted=True), _triggered(TEST.x), SHOP).any()


def test_neo_counts_clean_images_that_could_change_at_all() -> None:
    """Most of the trusted images are of the target's class; a trigger cannot change those."""
    x = torch.cat([_images(200, 2).x[_images(200, 2).y == TARGET][:15], TEST.x[:5]])
    defender = replace(SHOP, trusted=Split(x, torch.zeros(20, dtype=torch.int64)))
    rejected = NEO().suspicious(Bars(planted=True), _triggered(TEST.x[TEST.y != TARGET]), defender)
    assert rejected.all()


def test_neo_draws_as_many_places_as_it_says_and_all_where_there_are_fewer() -> None:
    x = TEST.x[:3]
    regions = NEO(regions=10)._regions(x, 3, seed=0)
    assert regions.shape == (3, 10, 1, 8, 8)
    assert (regions.sum((2, 3, 4)) == 9).all()
    assert len({tuple(region.flatten().tolist()) for region in regions[0]}) == 10
    assert not torch.equal(regions[0], regions[1])
    every = NEO()._regions(x, 3, seed=0)
    assert every.shape[1] == 36
    assert every[0].any(0).all()


def test_the_blocker_grows_with_the_image() -> None:
    sides = [NEO()._side(torch.zeros(1, 3, n, n)) for n in (8, 28, 32, 64, 224)]
    assert sides == [3, 4, 4, 8, 28]
    with pytest.raises(NotApplicableError, match="blocker of 3 x 3 pixels does not fit"):
        NEO()._side(torch.zeros(1, 1, 2, 8))


def test_the_dominant_colour_is_that_of_most_pixels() -> None:
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.0, 0.1, 0.9]])
    stream = torch.Generator().manual_seed(0)
    for most in range(3):
        which = torch.tensor([most] * 40 + [(most + 1) % 3] * 14 + [(most + 2) % 3] * 10)
        noise = 0.02 * torch.rand(64, 3, generator=stream)
        pixels = (colours[which] + noise)[torch.randperm(64, generator=stream)]
        found = dominant_colours(pixels.T.reshape(1, 3, 8, 8), 3)
        oracle = KMeans(3, n_init=5, random_state=0).fit(pixels.numpy())
        largest = np.bincount(oracle.labels_).argmax()
        np.testing.assert_allclose(found[0], oracle.cluster_centers_[largest], atol=1e-5)


@pytest.mark.parametrize("filter", [STRIP(), NEO(regions=20)], ids=lambda f: f.name)
def test_an_input_is_judged_by_itself(filter) -> None:
    model, x = Bars(planted=True), torch.cat([TEST.x[:10], _triggered(TEST.x[10:20])])
    whole = filter.suspicious(model, x, SHOP)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(filter.suspicious(model, x[order], SHOP), whole[order])
    alone = [filter.suspicious(model, x[i : i + 1], SHOP) for i in range(20)]
    assert torch.equal(torch.cat(alone), whole)


@pytest.mark.parametrize("name", ["neural-cleanse", "strip", "neo"])
def test_a_detector_depends_on_the_seed_and_leaves_everything_as_it_was(name) -> None:
    tiny = {"epochs": "2", "samples": "32"} if name == "neural-cleanse" else {}
    detector = registry.make("defense", name, tiny)
    model = Bars(planted=True)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    def run(seed: int):
        defender = replace(SHOP, seed=seed)
        if name == "neural-cleanse":
            return detector.inspect(model, defender).notes["mask_norms"]
        return detector.suspicious(model, _triggered(TEST.x), defender).tolist()

    first = run(1)
    torch.rand(1)  # move the global generator: the detector must not notice
    assert run(1) == first
    if name == "neural-cleanse":
        assert run(2) != first
    torch.set_rng_state(state)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("neural-cleanse", {"epochs": 0}, "epochs of at least 1, found 0"),
        ("neural-cleanse", {"lr": 0.0}, "lr above 0"),
        ("neural-cleanse", {"success": 1.5}, r"success in \(0, 1\], found 1.5"),
        ("neural-cleanse", {"multiplier": 1.0}, "a multiplier above 1"),
        ("strip", {"overlays": 0}, "overlays of at least 1"),
        ("strip", {"false_rejection": 1.0}, r"false_rejection in \[0, 1\), found 1"),
        ("neo", {"regions": 0}, "regions of at least 1"),
        ("neo", {"size": 0}, "size of at least 1"),
        ("neo", {"threshold": 0.0}, r"threshold in \(0, 1\], found 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        registry.make("defense", name, settings)


def test_a_game_keeps_the_mask_and_the_pattern_as_pictures(digits, job_for) -> None:
    attack = BadNets(rate=0.1).resolve(digits)
    job = job_for("cnn-small", recipe=Recipe(lr=3e-3, epochs=20), poison=registry.describe(attack))
    target = train_alone(job, digits.all.take(job.index), None)
    found = {}
    for detector in (NeuralCleanse(), NEO()):
        cell = Cell(
            model="m", model_key="", dataset="digits", fingerprint=digits.fingerprint,
            regime=Regime.FROM_SCRATCH, stack=(registry.describe(detector),), risk=Risk.POISONING,
            attack=registry.describe(attack), seed=0,
            threat=ThreatModel(access=attack.access[-1], aux=attack.aux[0]),
        )  # fmt: skip
        found[detector.name] = evaluate(
            cell, CellModels(target=target, job=job, others={"clean_twin": [target.model]}), digits,
            None, architecture="cnn-small", device="cpu", provenance={},
        )  # fmt: skip
    evaluation, outcome = found["neural-cleanse"]
    assert evaluation.metrics["attack_success_rate"] > 0.9
    assert evaluation.metrics["flagged"] == 1
    assert evaluation.evidence["suspected_class"] == attack.target
    assert outcome.images["mask"].shape == outcome.images["pattern"].shape == (8, 8)
    assert outcome.images["mask"][-3:, -3:].mean() > 3 * outcome.images["mask"].mean()
    evaluation, _ = found["neo"]
    assert evaluation.metrics["success_rate_without_filter"] > 0.9
    assert evaluation.metrics["attack_success_rate"] < 0.1
    assert evaluation.metrics["filter_tpr"] > 0.9
    assert evaluation.metrics["filter_fpr"] < 0.1


@pytest.mark.mirror
def test_a_public_backdoor_is_told_from_its_cleaned_teacher(mirror, home_dir) -> None:
    """The checkpoints of Li et al. (2021), with the trigger that they came with."""
    home = Home.open()
    data = datasets.load("cifar10", DataLocation(mirror=mirror))
    defender = replace(SHOP, trusted=data.all.take(torch.arange(120)), num_classes=10)
    test = data.all.take(torch.arange(10_000, 10_060))
    attack = BadNets(pattern="grid", target=5).resolve(data)
    triggered = attack.trigger(test.x, seed=0)[attack.applies(test.y)]
    rejected = {}
    for name in ("backdoored", "teacher"):
        entry = open_catalog(home).entry(f"bboylyg/nad-wrn16-1-{name}-cifar10")
        made = fetch(entry, home, mirror=mirror, accept_licence=True)
        model = load_model(entry, made.path)
        rejected[name] = [
            STRIP().suspicious(model, x, defender).float().mean() for x in (triggered, test.x)
        ]
    assert rejected["backdoored"][0] > 0.9
    assert rejected["teacher"][0] < 0.1
    assert max(rejected["backdoored"][1], rejected["teacher"][1]) < 0.1


def test_there_is_nothing_to_cover_in_a_row_of_a_table(tiny) -> None:
    with pytest.raises(NotApplicableError, match=r"images, but tiny has inputs of shape \(16,\)"):
        NEO().resolve(replace(tiny, x=tiny.x.flatten(1)))
