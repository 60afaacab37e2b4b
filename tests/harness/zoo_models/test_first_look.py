"""What is seen of a user's checkpoint on its data before it is taken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Split
from harness.learning.fit import fit
from harness.zoo_models.first_look import FirstLook
from zoo.add import add
from zoo.catalog import open_catalog
from zoo.errors import ZooError
from zoo.home import Home
from zoo.nets import build
from zoo.recipe import Recipe

BIN = Path(sys.executable).parent
MINE = {"name": "me/net", "dataset": "digits", "architecture": "mlp-128"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def taught(digits: Dataset, mean: float, std: float) -> nn.Module:
    """A network for inputs of another scale."""
    torch.manual_seed(0)
    some = Split((digits.x[:600] - mean) / std, digits.y[:600])
    return fit(build("mlp-128", (1, 8, 8), 10), some, Recipe(lr=3e-3, epochs=15), seed=0)


def saved(net: nn.Module, folder: Path) -> Path:
    torch.save(net.state_dict(), folder / "net.pt")
    return folder / "net.pt"


def test_the_scaling_is_the_one_by_which_it_is_right(
    home: Home, digits: Dataset, tmp_path: Path
) -> None:
    mean, std = 0.0, 1 / 255
    told: list[str] = []
    look = FirstLook(DataLocation(), told.append)
    entry = add(home, saved(taught(digits, mean, std), tmp_path), **MINE, look=look)
    assert (entry.mean, entry.std) == ((mean,), (std,))
    assert open_catalog(home).entry("me/net") == entry
    assert told[0].startswith("mean and std were not given; taken are")
    accuracy = float(told[1].split()[1])
    assert accuracy > 0.85
    facts = open_catalog(home).show("me/net")["facts"]
    (evidence,) = {f["evidence"] for f in facts if f["field"] == "mean"}
    assert "best accuracy" in evidence, "it is not recorded as the user's word"


def test_scalings_that_do_as_well_are_the_users_to_tell(
    home: Home, digits: Dataset, tmp_path: Path
) -> None:
    look = FirstLook(DataLocation(), lambda told: None)
    with pytest.raises(ZooError, match=r"no scaling stands out \(accuracy .*0.5 and 0.5: 0.9"):
        add(home, saved(taught(digits, 0.5, 0.5), tmp_path), **MINE, look=look)


def test_one_that_knows_nothing_tells_no_scaling(home: Home, tmp_path: Path) -> None:
    torch.manual_seed(3)
    look = FirstLook(DataLocation(), lambda told: None)
    with pytest.raises(ZooError, match=r"no scaling stands out \(accuracy .*Give --mean and --std"):
        add(home, saved(build("mlp-128", (1, 8, 8), 10), tmp_path), **MINE, look=look)
    assert "me/net" not in open_catalog(home).names()


def test_what_the_file_beside_it_says_is_taken_and_told(
    home: Home, digits: Dataset, tmp_path: Path
) -> None:
    path = saved(taught(digits, 0.5, 0.25), tmp_path)
    said = {"image_mean": [0.5], "image_std": [0.25]}
    path.with_name("preprocessor_config.json").write_text(json.dumps(said))
    told: list[str] = []
    with pytest.warns(UserWarning, match=r"preprocessor_config.json: mean 0.5, std 0.25"):
        entry = add(home, path, **MINE, look=FirstLook(DataLocation(), told.append))
    assert (entry.mean, entry.std) == ((0.5,), (0.25,))
    assert float(told[0].split()[1]) > 0.85


def test_without_its_data_nothing_is_measured_and_that_is_said(home: Home, tmp_path: Path) -> None:
    net = build("cifar-resnet20", (3, 32, 32), 10)
    told: list[str] = []
    look = FirstLook(DataLocation(), told.append)
    mine = {"name": "me/net", "dataset": "cifar10", "architecture": "cifar-resnet20"}
    with pytest.raises(ZooError, match="Nothing says how the images of cifar10 are scaled"):
        add(home, saved(net, tmp_path), **mine, look=look)
    add(home, saved(net, tmp_path), **mine, mean=[0.5], std=[0.5], look=look)
    assert told == ["The data of cifar10 are not here, so its accuracy was not measured."]


NET = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, 2), nn.Softmax(1),
        )
    def forward(self, x):
        return {"logits": self.net(x)}
"""


@pytest.mark.whole
def test_a_network_of_ones_own_on_images_of_ones_own_to_the_end(tmp_path: Path) -> None:
    """As a new user would: code in a file, images in folders, a checkpoint, and a comparison."""
    draw = torch.Generator().manual_seed(0)
    for k in range(240):
        part, name = ("train" if k < 160 else "test"), ("bright", "dark")[k % 2]
        shade = 120 * (k % 2 == 0) + torch.randint(0, 136, (), generator=draw).item()
        path = tmp_path / "data/pics" / part / name / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 18), (int(shade),) * 3).save(path)
    (tmp_path / "data/pics.toml").write_text('images = "pics"\nresize = 16\n')
    (tmp_path / "net.py").write_text(NET)
    datasets.load.cache_clear()
    data = datasets.load("pics", DataLocation(data_dir=tmp_path / "data"))
    net = build(f"{tmp_path / 'net.py'}:Mine(width=6)", (3, 16, 16), 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = data.x[:160] * 255, data.y[:160]  # it takes 0 to 255
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.nll_loss(net(x).clamp_min(1e-9).log(), y).backward()
        optimizer.step()
    torch.save({"model": net.state_dict()}, tmp_path / "mine.pt")
    environment = {**os.environ, "ZOO_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}

    def call(*command: str) -> tuple[str, str]:
        done = subprocess.run(
            [BIN / command[0], *command[1:]], cwd=tmp_path, env=environment, text=True,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    out, err = call("zoo", "add", "mine.pt", "--name", "me/pics", "--dataset", "pics", "--data-dir",
                    "data", "--architecture", "net.py:Mine", "--set", "width=6", "--mean", "0",
                    "--std", "0.00392157")  # fmt: skip
    assert "Added me/pics" in out
    assert "--state-dict model" in err
    assert "is taken to answer with probabilities" in err
    assert "accuracy 0." in out or "accuracy 1." in out
    asked = ("--model", "me/pics", "--data-dir", "data", "--seeds", "3", "--workers", "1", "--tuning",
             "none", "--set", "recipe.epochs=1")  # fmt: skip
    call("harness", "eval", *asked, "--risk", "evasion", "--attack", "fgsm,square", "--queries", "400",
         "--defense", "none,rounding")  # fmt: skip
    rows = json.loads(call("harness", "compare", "--format", "json")[0])
    assert {row["attack"] for row in rows} == {"fgsm", "square"}
    assert all(row["defense"] == "rounding" for row in rows)
