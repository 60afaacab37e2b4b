"""Tiny data and models that methods are tried on, and one cell of them at a time, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Attribute, Column, Split
from harness.data.ood import adapt
from harness.experiment.evaluate import CellModels, scenario_of
from harness.experiment.plan import Planned, plan
from harness.experiment.request import Request
from harness.games.game import Scenario
from harness.seeds import generator
from harness.training.job import Job, Trained
from harness.training.single import train_alone
from harness.types import NotApplicableError, Risk
from zoo.entry import ModelEntry
from zoo.recipe import Recipe

N = 600
RECIPE = Recipe(epochs=3, lr=1e-2, batch_size=32)
QUICK: Mapping[str, int] = {"epochs": 1, "steps": 2, "iterations": 2}
"""What a setting of this name is tried with, whatever method has it, if it is a number."""

SMALL: Mapping[str, Mapping[str, Any]] = {
    "anp": {"steps": 20},
    "autoattack": {"queries": 3},
    "boundary": {"queries": 40, "samples": 5},
    "data-free": {"queries": 100, "width": 4},
    "dataset-inference": {"references": 1, "independents": 2},
    "distribution-kl": {"victims": 1, "models": 1},
    "distribution-loss": {"victims": 1},
    "distribution-pin": {"victims": 1, "models": 1},
    "distribution-threshold": {"victims": 1},
    "gmi": {"gan_steps": 2, "width": 2},
    "gradient-inversion": {"observed": 2},
    "lira": {"shadows": 8},
    "memguard": {"steps": 5, "epochs": 2},
    "mlp-black-box": {"shadows": 2},
    "mlp-white-box": {"shadows": 2},
    "plg-mi": {"gan_steps": 2, "width": 2},
    "radioactive-data": {"decoys": 9, "independents": 2},
    "randomized-smoothing": {"votes": 10, "n": 100},
    "rmia": {"shadows": 2},
    "square": {"queries": 3},
    "strip": {"overlays": 5},
    "top-k": {"k": 1},
    "watermark": {"independents": 2},
}
"""Small settings of single methods, so that one run takes a fraction of a second."""

SHORTEST: Mapping[Risk, str] = {
    Risk.EVASION: "fgsm",
    Risk.POISONING: "badnets",
    Risk.EXTRACTION: "distillation",
    Risk.MEMBERSHIP_INFERENCE: "loss-threshold",
    Risk.ATTRIBUTE_INFERENCE: "attribute-scores",
    Risk.DATA_RECONSTRUCTION: "fredrikson",
    Risk.DISTRIBUTION_INFERENCE: "distribution-threshold",
    Risk.DISCRIMINATORY_BEHAVIOR: "group-audit",
}
"""The quickest attack of each risk, which a defense is tried against."""


def small(kind: registry.Kind, name: str) -> dict[str, str]:
    """Settings by which a method is tried, as texts."""
    made = registry.get(kind, name)()
    found = {
        f.name: QUICK[f.name]
        for f in fields(made)
        if f.name in QUICK and type(getattr(made, f.name)) is int
    }
    return {f"{name}.{k}": str(v) for k, v in {**found, **SMALL.get(name, {})}.items()}


def pictures() -> Dataset:
    """Stripes of three directions with noise, of which an attribute says the brightness."""
    stream = generator("doctor", "pictures")
    y = torch.arange(N) % 3
    row, column = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    phase = torch.randint(4, (N, 1, 1), generator=stream)
    bright = torch.randint(2, (N,), generator=stream)
    waves = torch.stack([row, column, row + column])[y] + phase
    x = 0.4 + 0.25 * torch.sin(torch.pi / 2 * waves) + 0.15 * bright[:, None, None]
    x = (x + 0.1 * torch.randn(N, 8, 8, generator=stream)).clamp(0, 1)
    return Dataset(
        name="doctor-pictures",
        num_classes=3,
        x=x[:, None],
        y=y,
        z={"brightness": Attribute(bright, ("dark", "bright"))},
        epsilon={"linf": 0.1, "l2": 0.5},
    )


def rows() -> Dataset:
    """A table of two numbers, a category and the sex of people whose income depends on all."""
    stream = generator("doctor", "rows")
    sex = torch.randint(2, (N,), generator=stream)
    work = torch.randint(3, (N,), generator=stream)
    age, hours, luck = torch.rand(3, N, generator=stream)
    rich = age + hours + 0.3 * (work == 1) + 0.3 * sex + 0.2 * luck > 1.3
    parts = [age[:, None], hours[:, None], torch.eye(3)[work], torch.eye(2)[sex]]
    return Dataset(
        name="doctor-rows",
        num_classes=2,
        x=torch.cat(parts, 1),
        y=rich.long(),
        z={"sex": Attribute(sex, ("female", "male"))},
        columns=(
            Column("age", 0, 1, low=17, high=90),
            Column("hours", 1, 2, low=1, high=99),
            Column("work", 2, 5, values=("none", "private", "state")),
            Column("sex", 5, 7, values=("female", "male")),
        ),
        epsilon={"linf": 0.1, "l2": 0.5},
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class TinyModel:
    """A tiny dataset and a model of it; what was trained is kept.

    Attributes:
        dataset: Of `pictures` or `rows`.
        architecture: Of the model.
        models: What was trained, by the key of its job.
    """

    dataset: Dataset
    architecture: str
    models: dict[str, Trained] = field(default_factory=dict)

    @property
    def entry(self) -> ModelEntry:
        """The model as a catalog would have it."""
        shape = self.dataset.input_shape
        channels = shape[0] if len(shape) == 3 else 1
        return ModelEntry(
            name=self.dataset.name, source="selftrained", purpose="benchmark",
            dataset=self.dataset.name, architecture=self.architecture, input_shape=shape,
            num_classes=self.dataset.num_classes, mean=(0.0,) * channels, std=(1.0,) * channels,
            licence=None, backdoored=False, artifact=None, recipe=RECIPE,
        )  # fmt: skip

    def planned(self, attack: str, defense: str | None = None) -> Planned:
        """The cell of an attack on the model with a defense, or on the plain one.

        Raises:
            NotApplicableError: It is not defined here.
            ZooError: The method refuses this model.
        """
        settings = small("attack", attack) | (small("defense", defense) if defense else {})
        request = Request(
            models=(self.entry,),
            stacks=((defense,) if defense else (),),
            risks=(registry.get("attack", attack).risk,),
            attacks=(attack,),
            adversaries=(True,),
            seeds=1,
            settings=settings,
        )
        photos = datasets.load(datasets.OOD_DEFAULT, DataLocation())
        known = {self.dataset.name: self.dataset, photos.name: photos}
        made = plan(request, known, {}, is_done=lambda key: False, is_trained=lambda job: False)
        wanted = (defense,) if defense else ()
        (item,) = (i for i in made.cells if tuple(m.name for m in i.cell.stack) == wanted)
        if item.refused:
            raise NotApplicableError(item.refused)
        return item

    def examples(self, job: Job) -> Split:
        """What a job is trained on."""
        return self.dataset.collected.take(job.index)

    def trained(self, job: Job) -> Trained:
        """The model of a job."""
        if job.key not in self.models:
            self.models[job.key] = train_alone(job, self.examples(job), None)
        return self.models[job.key]

    def scenario(self, item: Planned) -> Scenario:
        """What the game of a planned cell is played on."""
        assert item.job is not None
        loaded = CellModels.of(item, self.trained(item.job), item.job, self.trained)
        ood = None
        if item.cell.threat.ood:
            ood = adapt(datasets.load(item.cell.threat.ood, DataLocation()), self.dataset)
        return scenario_of(
            item.cell, loaded, self.dataset, ood, architecture=self.architecture, device="cpu"
        )


def tiny_models() -> Sequence[TinyModel]:
    """The pictures, and the rows for what pictures are nothing for."""
    return (
        TinyModel(dataset=pictures(), architecture="cnn-small"),
        TinyModel(dataset=rows(), architecture="mlp-32"),
    )
