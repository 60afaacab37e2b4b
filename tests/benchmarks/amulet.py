"""The same work by Amulet 0.6.0 and by this project: CPU seconds, and what came of it.

    python tests/benchmarks/amulet.py [--amulet PYTHON] [--rows bcdefgi] [--repeats 1] [--json FILE]

PYTHON is that of an environment with Amulet 0.6.0 (`amuletml`); if none is given, one is made
under build/amulet, for which Python 3.11 and 6 GB are wanted. Both sides are given the same arrays,
the same network (a CNN of 311,418 parameters), the same weights to start from and the same
settings: scikit-learn's digits at 28x28 with a tint on some, 1,297 for training and 500 for
testing, Adam at 0.001, batches of 64, one thread. A repeat has a seed of its own, which changes the
weights and the order of the batches; the side that goes first alternates.

Seconds are of CPU, of the process and its children, for the work alone: without imports, without
reading the data and without judging. Where a figure depends on how it is taken, such as robust
accuracy, both sides' models or images are judged by the same code here.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from harness.attacks.badnets import BadNets
from harness.attacks.distillation import Distillation
from harness.attacks.label_flipping import LabelFlipping
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackerData
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dataset_inference import DatasetInference
from harness.defenses.outlier_removal import OutlierRemoval
from harness.defenses.watermark import Watermark
from harness.images import to_bytes
from harness.metrics.classification import accuracy
from harness.metrics.extraction import extraction
from harness.metrics.robustness import robustness
from harness.ownership import Owner
from harness.target import BlackBox
from harness.training import fit
from harness.types import Access, Split
from harness.workshop import Workshop, trusted_index
from zoo.nets.registry import ARCHITECTURES
from zoo.recipe import Recipe

Numbers = dict[str, float]
Work = tuple[Callable[[], Any], Callable[[Any], Numbers]]
"""What is timed, and what makes numbers of its result."""

AMULET = "0.6.0"
SIDE = Path(__file__).with_name("amulet_side.py")
TINT = 0.15
TESTING = 500
HALF = 649  # the first so many train the target of extraction, the other 648 are the queries
FEW = torch.arange(32)  # images that dataset inference looks at, of each kind
RECIPE = Recipe(epochs=10)
ATTACK = PGD(epsilon=0.1, steps=40, step_size=0.01)
MARK = Watermark(triggers=99)


def network() -> nn.Sequential:
    """The network that Amulet's SimpleCNN is with these sizes, under the same names."""
    features = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    classifier = nn.Sequential(nn.Linear(24 * 7 * 7, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(
        OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
    )


class Common:
    """What both sides are given: made here, and left in a folder for Amulet's."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        folder.mkdir()
        self.train, self.test = tinted_digits()
        trusted = trusted_index(len(self.train), seed)
        self.wrong = LabelFlipping(rate=0.1).poison(
            self.train, trusted=trusted, num_classes=10, seed=seed
        )
        torch.manual_seed(seed)
        self._keep("initial", network())
        self._keep("target", self.fit(self.train))
        self._keep("half", self.fit(self.train.take(torch.arange(HALF))))
        self._keep("mislabelled", self.fit(self.wrong.data))
        self.shop = Workshop(
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
            x_test=self.test.x,
            y_test=self.test.y,
        )
        self._draw_triggers()

    def model(self, weights: str) -> nn.Module:
        net = network()
        net.load_state_dict(torch.load(self.folder / f"{weights}.pt", weights_only=True))
        return net

    def fit(self, data: Split, **settings: Any) -> nn.Module:
        return fit(self.model("initial"), data, RECIPE, seed=self.seed, **settings)

    def accuracy(self, model: nn.Module) -> float:
        return accuracy(BlackBox(model, Access.LABELS).labels(self.test.x), self.test.y)

    def evade(self, model: nn.Module) -> Tensor:
        return ATTACK.run(
            BlackBox(model, Access.WEIGHTS), self._attacker(points=self.test), seed=self.seed
        )

    def robust(self, model: nn.Module, x: Tensor) -> float:
        box = BlackBox(model, Access.LABELS)
        clean, perturbed = box.labels(self.test.x), box.labels(x)
        return robustness(clean, perturbed, self.test.y, x - self.test.x)["robust_accuracy"]

    def steal(self, target: BlackBox) -> nn.Module:
        # The attack builds its surrogate by name; this one starts where Amulet's does.
        ARCHITECTURES["amulet"] = lambda *_: self.model("initial")
        queries = self.train.take(torch.arange(HALF, len(self.train)))
        return Distillation(loss="mse", epochs=20).run(
            target, self._attacker(aux=queries), seed=self.seed
        )

    def owner(self, model: nn.Module, few: Tensor | None = None) -> Owner:
        members, unseen = self.train, self.test
        if few is not None:
            members, unseen = members.take(few), unseen.take(few)
        return Owner(model=model.eval(), members=members, unseen=unseen, shop=self.shop)

    def _attacker(self, **held: Split) -> AttackerData:
        return AttackerData(num_classes=10, architecture="amulet", input_shape=(1, 28, 28), **held)

    def _keep(self, name: str, model: nn.Module) -> None:
        torch.save(model.state_dict(), self.folder / f"{name}.pt")

    def _draw_triggers(self) -> None:
        folder = self.folder / "triggers"
        (folder / "images").mkdir(parents=True)
        marks = MARK.marks(self.train.x, self.shop)
        with open(folder / "labels.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["name", "label"])
            for number, (x, y) in enumerate(zip(marks.x, marks.y.tolist(), strict=True)):
                Image.fromarray(to_bytes(x)).convert("RGB").save(folder / f"images/{number}.png")
                table.writerow([f"{number}.png", y])


def tinted_digits() -> tuple[Split, Split]:
    """Training and test data; odd digits have a brighter background more often than even ones."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    x = F.interpolate(x, (28, 28), mode="bilinear", align_corners=False)
    chance = np.where(labels % 2, 0.8, 0.2)
    tint = torch.from_numpy(np.random.default_rng(0).random(len(labels)) < chance)
    x = x.maximum(TINT * tint.float()[:, None, None, None])
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TESTING, stratify=labels, random_state=0
    )
    everything = Split(x, torch.from_numpy(labels).long())
    return everything.take(torch.from_numpy(train)), everything.take(torch.from_numpy(test))


def evasion(common: Common) -> Work:
    model = common.model("target")
    return lambda: common.evade(model), lambda x: {"robust accuracy": common.robust(model, x)}


def adversarial_training(common: Common) -> Work:
    defense = AdversarialTraining(epsilon=0.1, steps=40, step_size=0.01)

    def work() -> nn.Module:
        recipe, model = Recipe(epochs=2), common.model("initial")
        return fit(model, common.train, recipe, seed=common.seed, inputs=defense.inputs)

    return work, lambda made: {
        "test accuracy": common.accuracy(made),
        "robust accuracy": common.robust(made, common.evade(made)),
    }


def badnets(common: Common) -> Work:
    attack, seed = BadNets(rate=0.1, target=0), common.seed
    trusted = trusted_index(len(common.train), seed)

    def work() -> nn.Module:
        found = attack.poison(common.train, trusted=trusted, num_classes=10, seed=seed)
        return common.fit(found.data)

    def judge(made: nn.Module) -> Numbers:
        rest = common.test.take(attack.applies(common.test.y).nonzero().flatten())
        triggered = BlackBox(made, Access.LABELS).labels(attack.trigger(rest.x, seed=seed))
        success = attack.success(triggered, rest.y, num_classes=10)
        return {
            "test accuracy": common.accuracy(made),
            "attack success rate": success.double().mean().item(),
        }

    return work, judge


def outlier_removal(common: Common) -> Work:
    defense = OutlierRemoval(share=0.1, k=5)
    # The model whose features are used is trained already, as the one that Amulet is given.
    shop = replace(common.shop, train=lambda _: common.model("mislabelled"))

    def work() -> tuple[nn.Module, Tensor]:
        found = defense.clean(common.wrong.data, shop)
        assert found.removed is not None
        return common.fit(found.data), found.removed

    def judge(found: tuple[nn.Module, Tensor]) -> Numbers:
        made, removed = found
        return {
            "test accuracy": common.accuracy(made),
            "wrong labels removed": removed[common.wrong.poisoned].double().mean().item(),
        }

    return work, judge


def watermark(common: Common) -> Work:
    def work() -> nn.Module:
        return common.fit(MARK.clean(common.train, common.shop).data)

    def judge(made: nn.Module) -> Numbers:
        verify = MARK.verifier(common.owner(made))
        own = verify(BlackBox(made, Access.LABELS))
        other = verify(BlackBox(common.model("target"), Access.LABELS))
        return {
            "test accuracy": common.accuracy(made),
            "watermark accuracy": own.statistic,
            "of a model without it": other.statistic,
            "p of the own model": own.p_value,
            "p of a model without it": other.p_value,
        }

    return work, judge


def dataset_inference(common: Common) -> Work:
    own, stolen = common.model("half"), common.model("stolen")
    defense = DatasetInference(distance="mingd")

    def work() -> Numbers:
        verify = defense.verifier(common.owner(own, FEW))
        return {
            "p of the own model": verify(BlackBox(own, Access.WEIGHTS)).p_value,
            "p of the stolen model": verify(BlackBox(stolen, Access.WEIGHTS)).p_value,
        }

    return work, lambda found: found


def model_extraction(common: Common) -> Work:
    target = BlackBox(common.model("half"), Access.SCORES)

    def judge(made: nn.Module) -> Numbers:
        answers = target.labels(common.test.x)
        copied = BlackBox(made, Access.LABELS).labels(common.test.x)
        found = extraction(copied, answers, common.test.y)
        return {
            "surrogate accuracy": found["surrogate_accuracy"] or 0.0,
            "fidelity": found["fidelity"] or 0.0,
        }

    return lambda: common.steal(target), judge


# The letters are those of the table that the workloads were first written down in.
ROWS: dict[str, tuple[str, Callable[[Common], Work], str]] = {
    "b": (
        "PGD, epsilon 0.1, 40 steps of 0.01, 500 images",
        evasion,
        "Amulet attacks the predicted label, not the true one, and counts inputs that the attack "
        "made right. Here an image that is broken is left alone.",
    ),
    "c": (
        "adversarial training, epsilon 0.1, 40 steps of 0.01, 2 epochs",
        adversarial_training,
        "Amulet takes a step on clean inputs before each adversarial one, so it takes two a batch.",
    ),
    "d": (
        "BadNets, 10 % poisoned, 10 epochs",
        badnets,
        "Amulet's trigger is black, as is the background of half the images.",
    ),
    "e": (
        "outlier removal, 10 % of the labels wrong, 10 % removed, k = 5, 10 epochs",
        outlier_removal,
        "Amulet values the examples by the test set and trains the poisoned weights further.",
    ),
    "f": (
        "watermark, 99 triggers, 10 epochs",
        watermark,
        "Amulet puts all triggers into every batch, with pixels of 0 to 255 beside data of 0 to 1, "
        "and has no p-value. Here a batch has 2 or more on average, as in the paper, so fewer are "
        "learnt in 10 epochs.",
    ),
    "g": (
        "dataset inference, 32 + 32 images, 10 classes, 3 norms, 100 steps, 2 models",
        dataset_inference,
        "Amulet's reshaping mixes the distances of 30 images in every row. Not the same work: here "
        "2 linearised steps go to the 3 likeliest classes, and 8 references are trained, so as not "
        "to take easy images for a proof. Neither side claims anything from so few images.",
    ),
    "i": (
        "extraction, mean squared error, 648 queries, 20 epochs",
        model_extraction,
        "Amulet asks the target anew in every epoch and is given its logits; here it is asked once "
        "and gives probabilities.",
    ),
}


def by_zoo(row: str, common: Common) -> tuple[float, Numbers]:
    """CPU seconds and numbers of one workload, done by this project."""
    work, judge = ROWS[row][1](common)
    begin = os.times()
    found = work()
    end = os.times()
    return sum(end[:4]) - sum(begin[:4]), judge(found)


def by_amulet(row: str, common: Common, python: Path) -> tuple[float, Numbers, dict[str, str]]:
    """The same, done by Amulet in its own environment, and the versions of what is in there."""
    done = subprocess.run(
        [python, "-P", SIDE, common.folder, row, str(common.seed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        sys.exit(f"Amulet failed at row {row}:\n{done.stderr[-2000:]}")
    answer = json.loads((common.folder / "answer.json").read_text())
    numbers = answer["numbers"]
    if row == "b":
        found = torch.from_numpy(np.load(common.folder / "answer.npy"))
        numbers = {"robust accuracy": common.robust(common.model("target"), found)} | numbers
    if row == "c":
        made = common.model("answer")
        numbers["robust accuracy"] = common.robust(made, common.evade(made))
    return answer["seconds"], numbers, answer["versions"]


def environment() -> Path:
    """The Python of an environment with Amulet, made if there is none."""
    folder = Path(__file__).parents[2] / "build" / "amulet"
    python, done = folder / "bin" / "python", folder / "done"
    if done.exists():
        return python
    found = shutil.which("python3.11")
    if found is None:
        sys.exit(
            f"Amulet {AMULET} wants Python 3.11, and there is no python3.11 here. Install it, or "
            "name the Python of an environment that has amuletml with --amulet."
        )
    print(f"Installing Amulet {AMULET} to {folder}, once; it takes 6 GB and some minutes.")
    subprocess.run([found, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", f"amuletml=={AMULET}"], check=True)
    done.touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--amulet", type=Path, metavar="PYTHON")
    parser.add_argument("--rows", default="".join(ROWS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no row {sorted(unknown)[0]}; choose among {''.join(ROWS)}")
    python = given.amulet or environment()
    torch.set_num_threads(1)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    here = {"torch": version("torch"), "numpy": version("numpy")}
    versions: dict[str, str] = {}
    record = []
    with tempfile.TemporaryDirectory() as folder:
        commons = [Common(Path(folder) / str(seed), seed) for seed in range(given.repeats)]
        for row in given.rows:
            sides: dict[str, list[tuple[float, Numbers]]] = {"amulet": [], "zoo": []}
            for common in commons:
                for side in sorted(sides, reverse=bool(common.seed % 2)):
                    if side == "amulet":
                        seconds, numbers, versions = by_amulet(row, common, python)
                    else:
                        seconds, numbers = by_zoo(row, common)
                    sides[side].append((seconds, numbers))
            ratio = show(row, sides)
            workload = ROWS[row][0]
            record.append({"row": row, "workload": workload, "ratio": ratio, "runs": sides})
    print(f"\n{machine}, one thread, repeats: {given.repeats}")
    for side, found in (("Amulet", versions), ("Zoo", here)):
        print(f"{side:6} ", ", ".join(f"{name} {number}" for name, number in found.items()))
    if given.json:
        facts = {"machine": machine, "amulet": versions, "zoo": here, "rows": record}
        given.json.write_text(json.dumps(facts, indent=2) + "\n")


def show(row: str, sides: dict[str, list[tuple[float, Numbers]]]) -> float:
    """Print what both sides did, and give the ratio of their CPU seconds."""
    what, _, remark = ROWS[row]
    means = {side: mean(runs) for side, runs in sides.items()}
    ratio = means["amulet"][0] / means["zoo"][0]
    print(f"\n{row}  {what}: Amulet takes {ratio:.1f} times the CPU time")
    for side, (seconds, numbers) in means.items():
        shown = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        print(f"   {side:6} {seconds:7.1f} s   {shown}")
    print(f"   {remark}", flush=True)
    return ratio


def mean(runs: list[tuple[float, Numbers]]) -> tuple[float, Numbers]:
    """Mean seconds and mean numbers over the repeats."""
    names = runs[0][1]
    return statistics.mean(seconds for seconds, _ in runs), {
        name: statistics.mean(numbers[name] for _, numbers in runs) for name in names
    }


if __name__ == "__main__":
    main()
