"""One workload of `amulet.py`, done by Amulet 0.6.0 in the environment that it is installed in.

`amulet.py` starts it: PYTHON -P tests/benchmarks/amulet_side.py FOLDER ROW SEED. With -P, because
the folder of this script has a file of Amulet's name. It reads FOLDER/data.npz and the weights
beside it, and writes FOLDER/answer.json: CPU seconds of the work alone, and what came of it.
"""

import argparse
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from amulet.attribute_inference.attacks import DudduCIKM2022
from amulet.attribute_inference.metrics import evaluate_attribute_inference
from amulet.data_reconstruction.attacks import FredriksonCCS2015
from amulet.discriminatory_behavior.defenses import AdversarialDebiasing
from amulet.discriminatory_behavior.metrics import DiscriminatoryBehavior
from amulet.distribution_inference.attacks import SuriEvans2022
from amulet.distribution_inference.metrics import evaluate_distinguishing_accuracy
from amulet.evasion.attacks import EvasionPGD
from amulet.evasion.defenses import AdversarialTrainingPGD
from amulet.membership_inference.attacks import LiRA
from amulet.membership_inference.defenses import DPSGD
from amulet.membership_inference.metrics import compute_mi_metrics
from amulet.models import SimpleCNN
from amulet.poisoning.attacks import BadNets
from amulet.poisoning.defenses import OutlierRemoval
from amulet.unauth_model_ownership.attacks import ModelExtraction
from amulet.unauth_model_ownership.defenses import DatasetInference, WatermarkNN
from amulet.unauth_model_ownership.metrics import evaluate_extraction
from amulet.utils import get_accuracy, train_classifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

Work = tuple[Callable[[], Any], Callable[[Any], dict[str, float]]]
"""What is timed, and what makes numbers of its result."""


class Common:
    """What both sides are given."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        arrays = np.load(folder / "data.npz")
        self.data = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.criterion = nn.CrossEntropyLoss()

    def model(self, weights: str) -> SimpleCNN:
        net = SimpleCNN(conv_channels_kernel=[(12, 5), (24, 5)], fc_layers=[256])
        net.load_state_dict(torch.load(self.folder / f"{weights}.pt", weights_only=True))
        return net

    def set(self, x: str, y: str, rows: slice = slice(None)) -> TensorDataset:
        return TensorDataset(self.data[x][rows], self.data[y][rows])

    def loader(self, data: TensorDataset, size: int = 64, *, shuffle: bool = True) -> DataLoader:
        return DataLoader(data, batch_size=size, shuffle=shuffle)

    def accuracy(self, model: nn.Module, data: TensorDataset | None = None) -> float:
        data = self.set("x_test", "y_test") if data is None else data
        return get_accuracy(model.eval(), self.loader(data, 256), "cpu") / 100

    def keep(self, model: nn.Module) -> float:
        """Leave the weights for a judge that is the same for both, and give the test accuracy."""
        torch.save(model.state_dict(), self.folder / "answer.pt")
        return self.accuracy(model)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def evasion(common: Common) -> Work:
    model = common.model("target")
    test = common.loader(common.set("x_test", "y_test"), 256, shuffle=False)
    attack = EvasionPGD(model, test, "cpu", 256, epsilon=0.1, iterations=40, step_size=0.01)

    def judge(found: DataLoader) -> dict[str, float]:
        np.save(common.folder / "answer.npy", torch.cat([x for x, _ in found]).numpy())
        return {"robust accuracy as reported": get_accuracy(model, found, "cpu") / 100}

    return attack.attack, judge


def adversarial_training(common: Common) -> Work:
    model = common.model("initial")
    defense = AdversarialTrainingPGD(
        model,
        common.criterion,
        adam(model),
        common.loader(common.set("x", "y")),
        "cpu",
        epochs=2,
        epsilon=0.1,
        iterations=40,
        step_size=0.01,
    )
    return defense.train_robust, lambda made: {"test accuracy": common.keep(made)}


def badnets(common: Common) -> Work:
    model = common.model("initial")
    attack = BadNets(trigger_label=0, portion=0.1, random_seed=common.seed)

    def work() -> nn.Module:
        poisoned = common.loader(attack.poison_train(common.set("x", "y")))
        return train_classifier(model, poisoned, common.criterion, adam(model), 10, "cpu")

    def judge(made: nn.Module) -> dict[str, float]:
        triggered = attack.poison_test(common.set("x_test", "y_test"))
        return {
            "test accuracy": common.accuracy(made),
            "attack success rate": common.accuracy(made, triggered),
        }

    return work, judge


def outlier_removal(common: Common) -> Work:
    model = common.model("mislabelled")
    kept: list[TensorDataset] = []

    def train(model: nn.Module, loader: DataLoader, *rest: Any) -> nn.Module:
        kept.append(loader.dataset)  # the only place that says what was removed
        return train_classifier(model, loader, *rest)

    defense = OutlierRemoval(
        model,
        common.criterion,
        adam(model),
        common.loader(common.set("x", "y_wrong"), shuffle=False),
        common.loader(common.set("x_test", "y_test"), shuffle=False),
        "cpu",
        train_function=train,
        percent=10,
        epochs=10,
        batch_size=64,
    )

    def judge(made: nn.Module) -> dict[str, float]:
        stayed = {x.numpy().tobytes() for x in kept[0].tensors[0]}
        removed = torch.tensor([x.numpy().tobytes() not in stayed for x in common.data["x"]])
        wrong = common.data["y"] != common.data["y_wrong"]
        return {
            "test accuracy": common.accuracy(made),
            "wrong labels removed": removed[wrong].double().mean().item(),
        }

    return defense.train_robust, judge


def watermark(common: Common) -> Work:
    model = common.model("initial")
    defense = WatermarkNN(
        model,
        common.criterion,
        adam(model),
        common.loader(common.set("x", "y")),
        "cpu",
        common.folder / "triggers",
        gray=True,
        epochs=10,
        batch_size=99,
    )

    def share(model: nn.Module) -> float:
        model.eval()
        with torch.no_grad():
            right = [(model(x).argmax(1) == y).float() for x, y in defense.wm_loader]
        return torch.cat(right).mean().item()

    return defense.watermark, lambda made: {
        "test accuracy": common.accuracy(made),
        "watermark accuracy": share(made),
        "of a model without it": share(common.model("target")),
    }


def dataset_inference(common: Common) -> Work:
    few = slice(32)
    defense = DatasetInference(
        common.model("half"),
        common.model("stolen"),
        common.loader(common.set("x", "y", few), 32, shuffle=False),
        common.loader(common.set("x_test", "y_test", few), 32, shuffle=False),
        10,
        "cpu",
        "2D",
        num_iter=100,
        batch_size=32,
    )
    return defense.fingerprint, lambda found: {
        "p of the own model": found["target"]["p-value"],
        "p of the stolen model": found["suspect"]["p-value"],
    }


def extraction(common: Common) -> Work:
    target, copy = common.model("half"), common.model("initial")
    queries = common.loader(common.set("x", "y", slice(649, None)))
    attack = ModelExtraction(target, copy, adam(copy), queries, "cpu", 20, "mse")

    def judge(made: nn.Module) -> dict[str, float]:
        test = common.loader(common.set("x_test", "y_test"), 256)
        found = evaluate_extraction(target, made, test, "cpu")
        return {
            "surrogate accuracy": found["stolen_accuracy"] / 100,
            "fidelity": found["fidelity"] / 100,
        }

    return attack.attack, judge


def dpsgd(common: Common) -> Work:
    model = common.model("initial")
    defense = DPSGD(
        model,
        common.criterion,
        adam(model),
        common.loader(common.set("x", "y")),
        "cpu",
        delta=1e-5,
        max_per_sample_grad_norm=1.0,
        sigma=1.0,
        epochs=10,
    )
    return defense.train_private, lambda made: {
        "test accuracy": common.accuracy(made),
        "epsilon": defense.privacy_engine.get_epsilon(1e-5),
    }


def lira(common: Common) -> Work:
    folder = common.folder / "shadows"
    folder.mkdir()
    attack = LiRA(
        common.model("half"),
        np.arange(649),
        "cnn",
        "m1",
        common.set("x", "y"),
        "digits",
        784,
        10,
        64,
        0.5,
        common.criterion,
        16,
        10,
        "cpu",
        folder,
        common.seed,
    )

    def work() -> dict[str, np.ndarray]:
        attack.prepare_shadow_models()
        return attack.attack()

    def judge(found: dict[str, np.ndarray]) -> dict[str, float]:
        numbers = {}
        for kind in ("online", "offline"):
            metrics = compute_mi_metrics(found[f"lira_{kind}_preds"], found["true_labels"])
            numbers[f"{kind} AUC"] = metrics["auc"]
            numbers[f"{kind} TPR at 1 % FPR"] = metrics["tpr_at_fpr"]
        return numbers

    return work, judge


def attribute_inference(common: Common) -> Work:
    own = slice(649, None)
    attack = DudduCIKM2022(
        common.model("half"),
        common.data["x"][own].numpy(),
        common.data["x_test"].numpy(),
        common.data["z"][own, None].numpy(),
        64,
        "cpu",
    )

    def judge(found: dict[int, dict[str, np.ndarray]]) -> dict[str, float]:
        metrics = evaluate_attribute_inference(common.data["z_test"][:, None].numpy(), found)[0]
        return {"AUC": metrics["auc_score"], "balanced accuracy": metrics["attack_accuracy"]}

    return attack.attack, judge


def inversion(common: Common) -> Work:
    # It wants probabilities, and says so.
    model = nn.Sequential(common.model("target"), nn.Softmax(1))
    attack = FredriksonCCS2015(model, (1, 1, 28, 28), 10, "cpu", alpha=1000)

    def judge(found: list[torch.Tensor]) -> dict[str, float]:
        np.save(common.folder / "answer.npy", torch.cat(found).detach().numpy())
        return {}

    return attack.attack, judge


def distribution_inference(common: Common) -> Work:
    halves = {name: (common.data[name] >= 5).long().numpy() for name in ("y", "y_test")}
    attack = SuriEvans2022(
        common.data["x"].numpy(),
        halves["y"],
        common.data["z"][:, None].numpy(),
        common.data["x_test"].numpy(),
        halves["y_test"],
        common.data["z_test"][:, None].numpy(),
        ["tint"],
        "tint",
        0.2,
        0.8,
        "cnn",
        "m1",
        784,
        2,
        10,
        10,
        64,
        "cpu",
        common.folder / "populations",
        "digits",
        exp_id=common.seed,
        train_subsample=60,
        test_subsample=44,
    )

    def work() -> dict[str, np.ndarray]:
        attack.prepare_model_populations()
        return attack.attack()

    def judge(found: dict[str, np.ndarray]) -> dict[str, float]:
        metrics = evaluate_distinguishing_accuracy(found["predictions"], found["ground_truth"])
        return {
            "distinguishing accuracy": metrics["distinguishing_accuracy"],
            "AUC": metrics["auc_score"],
            "training images": float(len(attack.splits.target_trainloader_1.dataset)),
            "test images": float(len(attack.splits.test_loader_1.dataset)),
        }

    return work, judge


def debiasing(common: Common) -> Work:
    model = common.model("initial")

    def loader(part: str, *, shuffle: bool) -> DataLoader:
        names = ("x", "y", "z") if part == "train" else ("x_test", "y_test", "z_test")
        x, y, z = (common.data[name] for name in names)
        return common.loader(TensorDataset(x, y, z[:, None].float()), shuffle=shuffle)

    def work() -> tuple[nn.Module, dict[str, float]]:
        data = common.loader(common.set("x", "y"))
        base = train_classifier(model, data, common.criterion, adam(model), 10, "cpu")
        defense = AdversarialDebiasing(
            base,
            common.criterion,
            adam(base),
            loader("train", shuffle=True),
            loader("test", shuffle=False),
            1,
            10,
            torch.tensor([30.0]),
            "cpu",
            epochs=10,
            pretrain_adversary_epochs=5,
        )
        made = defense.train_fair()
        metric = DiscriminatoryBehavior(made, loader("test", shuffle=False), "cpu")
        return made, metric.evaluate_subgroup_metrics()[0]

    def judge(found: tuple[nn.Module, dict[str, float]]) -> dict[str, float]:
        made, metrics = found
        return {
            "test accuracy": common.keep(made),
            "TPR gap of class 1": float(metrics["true_positive_parity"]),
        }

    return work, judge


ROWS = {
    "b": evasion,
    "c": adversarial_training,
    "d": badnets,
    "e": outlier_removal,
    "f": watermark,
    "g": dataset_inference,
    "h": dpsgd,
    "i": extraction,
    "j": lira,
    "k": attribute_inference,
    "l": inversion,
    "m": distribution_inference,
    "n": debiasing,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("seed", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    np.random.seed(given.seed)
    common = Common(given.folder, given.seed)
    # What happens only once in a process, such as imports, is not what is compared.
    warm = common.model("initial")
    few = common.loader(common.set("x", "y", slice(128)))
    train_classifier(warm, few, common.criterion, adam(warm), 1, "cpu")
    work, judge = ROWS[given.row](common)
    begin = os.times()
    found = work()
    end = os.times()
    numbers = judge(found)
    answer = {
        "seconds": sum(end[:4]) - sum(begin[:4]),  # of this process and of its children
        "numbers": numbers,
        "versions": {name: version(name) for name in ("amuletml", "torch", "numpy")},
    }
    (given.folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
