"""Small data and models that the harness's tests share."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.stack import Stack
from harness.experiment.evaluate import CellModels, evaluate
from harness.games import extraction
from harness.games.by_risk import GAMES
from harness.games.game import Outcome, Scenario, ScenarioSpec, attack_seed
from harness.results import Cell
from harness.training.job import Job, Trained
from harness.training.single import defender_data, train_alone
from harness.types import Access, Regime, Risk, ThreatModel
from zoo.recipe import Recipe


@pytest.fixture(scope="session")
def defender() -> DefenderData:
    """Of an owner without data, for what looks at none."""
    nothing = Split(torch.zeros(0, 1), torch.zeros(0).long())
    return DefenderData(
        data=nothing,
        trusted=nothing,
        num_classes=10,
        train=lambda data: nn.Identity(),
        recipe=None,
        seed=0,
    )


@pytest.fixture(scope="session")
def photographs(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> DataLocation:
    """A mirror of photographs beside which hashes may be written."""
    if not (mirror / "imagenet-sample").is_dir():
        pytest.skip("the mirror has no photographs")
    folder = tmp_path_factory.mktemp("mirror")
    shutil.copytree(mirror / "imagenet-sample", folder / "imagenet-sample")
    return DataLocation(mirror=folder)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return datasets.load("digits", DataLocation())


@pytest.fixture(scope="session")
def job_for(digits: Dataset):
    """A job on the members' quarter of digits; keyword arguments replace the defaults."""

    def make(architecture: str = "mlp-128", seed: int = 0, **changes) -> Job:
        dataset = changes.pop("data", digits)
        split = quarters(dataset, seed, Regime.FROM_SCRATCH)
        return Job(
            **{
                "dataset": dataset.name,
                "fingerprint": dataset.fingerprint,
                "index": split.target_train,
                "architecture": architecture,
                "input_shape": dataset.input_shape,
                "num_classes": dataset.num_classes,
                "mean": (0.0,) * dataset.input_shape[0],
                "std": (1.0,) * dataset.input_shape[0],
                "recipe": Recipe(lr=3e-3, epochs=2),
                "seed": seed,
                **changes,
            }
        )

    return make


@pytest.fixture(scope="session")
def twins():
    """The surrogates that thieves train without the target, as a plan has them trained."""
    found = {}

    def trained(attack, setting: ScenarioSpec, architecture: str = "mlp-128") -> dict:
        made = {}
        for purpose, models in GAMES[attack.risk].needs(attack, setting).items():
            for wanted in models:
                if wanted.thief is None:
                    continue
                job = Job.stolen(
                    setting.dataset,
                    wanted.index,
                    architecture=wanted.thief.surrogate or architecture,
                    thief=wanted.thief,
                    seed=wanted.seed,
                )
                if job.key not in found:
                    held = setting.dataset.collected.take(job.index)
                    found[job.key] = train_alone(job, held, None).model
                made.setdefault(purpose, []).append(found[job.key])
        return made

    return trained


@pytest.fixture(scope="session")
def steal(twins):
    """Play the game of extraction at a table, with the seed and the other models of a cell."""

    def play(attack, table: Scenario) -> Outcome:
        others = twins(attack, table.spec, table.architecture)
        seed = attack_seed(attack.name, table.replicate)
        return extraction.play(attack, replace(table, seed=seed, others={**others, **table.others}))

    return play


@pytest.fixture(scope="session")
def measure(job_for, twins):
    """Evaluate one attack on one model: the evaluation and the outcome of the game.

    The attack is a name with settings, or an attack; keyword arguments of the threat model, ``ood``
    and ``others`` may be given.
    """

    def run(
        data, trained, seed, attack, *, stack=(), ood=None, others=None, threat=None, **settings
    ):
        if not isinstance(trained, Trained):
            trained = Trained(trained, {})
        if isinstance(attack, str):
            attack = registry.make("attack", attack, settings)
        if hasattr(attack, "resolve"):
            attack = attack.resolve(data)
        cell = Cell(
            model="m", model_key="", dataset=data.name, fingerprint=data.fingerprint,
            regime=Regime.FROM_SCRATCH, stack=tuple(map(registry.describe, stack)),
            risk=attack.risk, attack=registry.describe(attack),
            threat=threat or ThreatModel(access=attack.access[-1], aux=attack.aux[0]), seed=seed,
        )  # fmt: skip
        if attack.risk is Risk.EXTRACTION:
            setting = ScenarioSpec(
                dataset=data, quarters=quarters(data, seed, cell.regime),
                ood_size=0 if ood is None else len(ood), threat=cell.threat, stack=Stack(()),
                regime=cell.regime, seed=seed,
            )  # fmt: skip
            others = {**twins(attack, setting), **(others or {})}
        job = job_for(data=data, seed=seed, stack=cell.stack)
        loaded = CellModels(target=trained, job=job, others=others or {})
        return evaluate(
            cell, loaded, data, ood, architecture="mlp-128", device="cpu", provenance={}
        )

    return run


@pytest.fixture(scope="session")
def scenario_for(job_for):
    """A table for one game on one model; keyword arguments replace the defaults."""

    def make(data: Dataset, model, seed: int = 0, **changes) -> Scenario:
        split = quarters(data, seed, Regime.FROM_SCRATCH)
        held = split.target_train
        trusted = data.all.take(held[trusted_index(len(held), seed)])
        return Scenario(
            **{
                "model": model,
                "dataset": data,
                "quarters": split,
                "ood": None,
                "architecture": "mlp-128",
                "threat": ThreatModel(access=Access.WEIGHTS),
                "seed": seed,
                "replicate": seed,
                "device": "cpu",
                "stack": Stack(()),
                "unguarded": model,
                "defender": defender_data(
                    job_for(data=data, seed=seed), data.all.take(held), trusted, None
                ),
                "poison_seed": seed,
                "regime": Regime.FROM_SCRATCH,
                **changes,
            }
        )

    return make


@pytest.fixture
def tiny() -> Dataset:
    """64 images of 1x4x4 in three classes, from a fixed stream."""
    stream = torch.Generator().manual_seed(0)
    return Dataset(
        name="tiny",
        num_classes=3,
        x=torch.rand(64, 1, 4, 4, generator=stream),
        y=torch.arange(64) % 3,
        n_train=40,
        epsilon={"linf": 0.1, "l2": 0.5},
    )
