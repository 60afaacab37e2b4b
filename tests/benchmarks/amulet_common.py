"""What both sides of `amulet.py` are given: the data, the network, and models to start from."""

from __future__ import annotations

import csv
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from harness.attacks.distillation import Distillation
from harness.attacks.label_flipping import LabelFlipping
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints, AttackerData, AuxiliaryData
from harness.data.dataset import Dataset
from harness.data.examples import Attribute, Split
from harness.data.images import to_bytes
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.shared.ownership import Owner
from harness.defenses.watermark import Watermark
from harness.learning.fit import fit
from harness.metrics.classification import accuracy
from harness.target import BlackBox
from harness.types import Access
from zoo.nets.registry import ARCHITECTURES
from zoo.recipe import Recipe

Numbers = dict[str, float]
Work = tuple[Callable[[], Any], Callable[[Any], Numbers]]
"""What is timed, and what makes numbers of its result."""

TINT = 0.15
TESTING = 500
HALF = 649  # the first so many train the target of extraction, the other 648 are the queries
RECIPE = Recipe(epochs=10)
ATTACK = PGD(epsilon=0.1, steps=40, step_size=0.01)
MARK = Watermark(triggers=99)


def network(num_classes: int = 10) -> nn.Sequential:
    """The network that Amulet's SimpleCNN is with these sizes, under the same names."""
    features = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    classifier = nn.Sequential(nn.Linear(24 * 7 * 7, 256), nn.ReLU(), nn.Linear(256, num_classes))
    return nn.Sequential(
        OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
    )


class Common:
    """What both sides are given: made here, and left in a folder for Amulet's."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        folder.mkdir()
        self.data = tinted_digits()
        self.train = self.data.all.take(torch.arange(self.data.n_train))
        self.test = self.data.all.take(torch.arange(self.data.n_train, len(self.data)))
        trusted = trusted_index(len(self.train), seed)
        self.wrong = LabelFlipping(rate=0.1).poison(
            self.train, trusted=trusted, num_classes=10, seed=seed
        )
        torch.manual_seed(seed)
        self._keep("initial", network())
        self._keep("target", self.fit(self.train))
        self._keep("half", self.fit(self.train.take(torch.arange(HALF))))
        self._keep("mislabelled", self.fit(self.wrong.data))
        self.defender = DefenderData(
            data=self.train,
            trusted=self.train.take(trusted),
            num_classes=10,
            train=self.fit,
            recipe=RECIPE,
            seed=seed,
        )
        self._keep("stolen", self.steal(BlackBox(self.model("half"), Access.SCORES)))
        np.savez(
            folder / "data.npz",
            x=self.train.x,
            y=self.train.y,
            y_wrong=self.wrong.data.y,
            z=self.tint[: len(self.train)],
            x_test=self.test.x,
            y_test=self.test.y,
            z_test=self.tint[len(self.train) :],
        )
        self._draw_triggers()

    @property
    def tint(self) -> Tensor:
        """Whether each image is tinted, (n,) int64; the training images come first."""
        return self.data.attribute("tint").values

    def model(self, weights: str) -> nn.Module:
        net = network()
        net.load_state_dict(torch.load(self.folder / f"{weights}.pt", weights_only=True))
        return net

    def fit(self, data: Split, **settings: Any) -> nn.Module:
        return fit(self.model("initial"), data, RECIPE, seed=self.seed, **settings)

    def accuracy(self, model: nn.Module) -> float:
        return accuracy(BlackBox(model, Access.LABELS).labels(self.test.x), self.test.y)

    def evade(self, model: nn.Module) -> Tensor:
        data = AttackedPoints(**vars(self.attacker()), points=self.test)
        return ATTACK.run(BlackBox(model, Access.WEIGHTS), data, seed=self.seed)

    def robust(self, model: nn.Module, x: Tensor) -> float:
        box = BlackBox(model, Access.LABELS)
        clean, perturbed = box.labels(self.test.x), box.labels(x)
        return ((clean == self.test.y) & (perturbed == self.test.y)).double().mean().item()

    def steal(self, target: BlackBox) -> nn.Module:
        # The attack builds its surrogate by name; this one starts where Amulet's does.
        ARCHITECTURES["amulet"] = lambda *_: self.model("initial")
        queries = self.train.take(torch.arange(HALF, len(self.train)))
        data = AuxiliaryData(**vars(self.attacker()), aux=queries)
        return Distillation(loss="mse", epochs=20).run(target, data, seed=self.seed)

    def owner(self, model: nn.Module, few: Tensor | None = None) -> Owner:
        members, unseen = self.train, self.test
        if few is not None:
            members, unseen = members.take(few), unseen.take(few)
        return Owner(model=model.eval(), members=members, unseen=unseen, defender=self.defender)

    def attacker(self) -> AttackerData:
        return AttackerData(num_classes=10, architecture="amulet", input_shape=(1, 28, 28))

    def _keep(self, name: str, model: nn.Module) -> None:
        torch.save(model.state_dict(), self.folder / f"{name}.pt")

    def _draw_triggers(self) -> None:
        folder = self.folder / "triggers"
        (folder / "images").mkdir(parents=True)
        marks = MARK.marks(self.train.x, self.defender)
        with open(folder / "labels.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["name", "label"])
            for number, (x, y) in enumerate(zip(marks.x, marks.y.tolist(), strict=True)):
                Image.fromarray(to_bytes(x)).convert("RGB").save(folder / f"images/{number}.png")
                table.writerow([f"{number}.png", y])


def tinted_digits() -> Dataset:
    """Training, then test data; odd digits have a brighter background more often than even ones."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    x = F.interpolate(x, (28, 28), mode="bilinear", align_corners=False)
    chance = np.where(labels % 2, 0.8, 0.2)
    tint = torch.from_numpy(np.random.default_rng(0).random(len(labels)) < chance)
    x = x.maximum(TINT * tint.float()[:, None, None, None])
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TESTING, stratify=labels, random_state=0
    )
    order = torch.from_numpy(np.concatenate([train, test]))
    return Dataset(
        name="tinted",
        num_classes=10,
        x=x[order],
        y=torch.from_numpy(labels).long()[order],
        z={"tint": Attribute(tint.long()[order], ("plain", "tinted"))},
        n_train=len(train),
    )
