"""The evasion attacks on public robust models, next to foolbox and what the mirror measured.

The manifest's figures are over 1,000 images; `tests/benchmarks/evasion.py` compares those.
"""

import foolbox
import pytest
import torch

from harness.attacks.autoattack import AutoAttack
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.data import datasets
from harness.data.dataset import DataLocation
from zoo.catalog import open_catalog
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model

pytestmark = pytest.mark.mirror


@pytest.fixture(scope="module")
def public(mirror, tmp_path_factory):
    """A model of the mirror, and the first images of its test data."""
    home = Home.open(tmp_path_factory.mktemp("home"))
    catalog = open_catalog(home)

    def load(name, n):
        entry = catalog.entry(name)
        model = load_model(entry, fetch(entry, home, mirror=mirror, accept_licence=True).path)
        data = datasets.load(entry.dataset, DataLocation(mirror=mirror))
        return model.eval(), data.all.take(data.n_train + torch.arange(n))

    return load


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [
        ("verified-intelligence/marabou-small-cifar10", 2 / 255),
        ("verified-intelligence/oval-base-cifar10", 2 / 255),
        ("verified-intelligence/sdp-cnn-a-adv-cifar10", 2 / 255),
        ("locuslab/convex-adversarial-mnist", 0.1),
    ],
)
def test_the_order_and_foolbox_agree(name, epsilon, public, robust) -> None:
    model, few = public(name, 100)
    step = 2.5 * epsilon / 20
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    theirs = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=20)
    _, _, broken = theirs(wrapped, few.x, few.y, epsilons=epsilon)
    expected = (~broken & (model(few.x).argmax(1) == few.y)).double().mean().item()
    pgd = robust(model, PGD(epsilon=epsilon, step_size=step), few)
    assert pgd == pytest.approx(expected, abs=0.0101)
    ensemble = AutoAttack(epsilon=epsilon, steps=20, targets=3, queries=20)
    auto = robust(model, ensemble, few)
    assert auto <= pgd
    # From a random start, small steps can miss one image that the one long step happens to break.
    assert pgd <= robust(model, FGSM(epsilon=epsilon), few) + 0.0101
    assert auto <= expected


@pytest.mark.parametrize(
    ("name", "epsilon", "measured"),
    [
        ("verified-intelligence/marabou-small-cifar10", 2 / 255, 0.214),
        ("locuslab/convex-adversarial-mnist", 0.1, 0.955),
    ],
)
def test_no_more_robust_than_the_mirror_measured(name, epsilon, measured, public, robust) -> None:
    model, images = public(name, 1000)
    found = robust(model, PGD(epsilon=epsilon, step_size=epsilon / 8), images)
    assert found == pytest.approx(measured, abs=0.0101)
