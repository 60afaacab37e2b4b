"""Every attack and every defense on tables: each combination is measured, or says why it is not.

Methods come from the registry, so a new one is played here at once. What is no result on a table is
written down below with its reason: a method that stops being measured for another one is noticed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Attribute, Column
from harness.doctor.tiny_models import small
from harness.experiment import run
from harness.experiment.attackers import resolve
from harness.experiment.executors import local
from harness.experiment.plan import Plan, plan
from harness.experiment.request import Request
from harness.experiment.store import EvaluationStore
from harness.learning.fit import fit
from harness.results import Evaluation
from harness.seeds import seeded
from harness.training.artifacts import Artifacts
from harness.types import Aux, Risk
from zoo import nets
from zoo.entry import ModelEntry
from zoo.files import sha256_file
from zoo.home import Home
from zoo.recipe import Recipe

pytestmark = pytest.mark.whole

N = 600
RECIPE = Recipe(epochs=8, lr=1e-2, batch_size=32)

IMAGES = r"wants images .* found inputs of shape \(\d+,\)"
NO_IMAGES = {
    "badnets": IMAGES,
    "blended": IMAGES,
    "gmi": IMAGES,
    "plg-mi": IMAGES,
    "sig": IMAGES,
    "wanet": IMAGES,
    "apgd-t": "at least 3 classes, found 2",
    "knockoff": "to be rows of a table .* photo-patches has inputs of 3x32x32.* --aux shadow",
}
STATED = {
    "attribute-embeddings": "features of people-stated say sex",
    "attribute-scores": "features of people-stated say sex",
}
NO_SHADOWS = "Shadow models imitate the target's training, which nobody can repeat"
NO_VICTIMS = "victims that are trained like the target"
AS_DOWNLOADED = {
    "canary-audit": "changes the training data, which is too late",
    "distribution-kl": NO_VICTIMS,
    "distribution-loss": NO_VICTIMS,
    "distribution-pin": NO_VICTIMS,
    "distribution-threshold": NO_VICTIMS,
    "lira": NO_SHADOWS,
    "mlp-black-box": NO_SHADOWS,
    "mlp-white-box": NO_SHADOWS,
    "rmia": NO_SHADOWS,
}

# How a model of a table comes to be: which table, whether its weights are published, the defense,
# and which attacks are no result there.
MODELS: dict[str, tuple[str, bool, str | None, dict[str, str]]] = {
    "withheld": ("people", False, None, NO_IMAGES),
    "stated": ("people-stated", False, None, NO_IMAGES | STATED),
    "published": ("people-stated", True, None, NO_IMAGES | STATED | AS_DOWNLOADED),
    "fine-tuned": ("people-stated", True, "dpsgd", NO_IMAGES | STATED),
}

EVERY = "every attack"
INSPECTS = "only inspects, and leaves the model's answers as they are"
OWN_LOOP = "has a training loop of its own, whose steps nobody is sent"
ASKS_GROUP = "input does not say the sex. Choose a dataset whose features do"

# By defense and attack, on the table that withholds the sex; and what changes where it is stated.
NO_DEFENSE: dict[str, dict[str, str]] = {
    "abl": {"gradient-inversion": OWN_LOOP},
    "correlation-remover": {EVERY: ASKS_GROUP},
    "cosine-watermark": {EVERY: "at least 3 classes, found 2"},
    "exponentiated-gradient": {
        "attribute-embeddings": r"mixture of \d+ networks, which have no layer in common",
        "gradient-inversion": OWN_LOOP,
    },
    "fine-pruning": {EVERY: "prunes the last convolution, but the network has no convolution"},
    "knowledge-distillation": {"gradient-inversion": OWN_LOOP},
    "nad": {EVERY: "compares attention maps, but the network has no convolution"},
    "neo": {EVERY: "covers regions of images, but people"},
    "neural-cleanse": {EVERY: INSPECTS, "feature-trigger": "wants images"},
    "relaxloss": {"gradient-inversion": OWN_LOOP},
    "strip": {EVERY: INSPECTS, "feature-trigger": ""},
    "threshold-optimizer": {EVERY: ASKS_GROUP},
    "top-k": {EVERY: "at least 3 classes, but people(-stated)? has 2"},
}
WHERE_STATED: dict[str, dict[str, str]] = {
    "correlation-remover": {},
    "threshold-optimizer": {},
}

# The standard attacks of every risk, as they are on a table, and the one that gives rows.
FACED = (
    "fgsm", "pgd", "feature-trigger", "distillation", "correctness", "loss-threshold",
    "modified-entropy", "rmia", "attribute-scores", "attribute-embeddings", "fredrikson",
    "gradient-inversion", "tabular-inversion", "distribution-threshold", "distribution-kl",
    "group-audit",
)  # fmt: skip


def _people(name: str, *, stated: bool, n_train: int, seed: int = 7) -> Dataset:
    """A table of incomes: numbers, categories, and two attributes, one of which it may state."""
    rng = np.random.default_rng(seed)
    sex, race = rng.integers(2, size=N), rng.choice(3, size=N, p=(0.5, 0.3, 0.2))
    age, hours = rng.random(N), 0.3 * sex + 0.7 * rng.random(N)
    gain = np.where(rng.random(N) < 0.8, 0.0, rng.random(N))
    work, family = rng.integers(3, size=N), (rng.integers(4, size=N) + sex) % 4
    rich = age + hours + gain + 0.3 * (work == 1) + 0.4 * (family == 2) + 0.2 * rng.normal(size=N)
    parts = [age[:, None], hours[:, None], np.eye(3)[work], gain[:, None], np.eye(4)[family]]
    columns = [
        Column("age", 0, 1, low=17, high=90),
        Column("hours", 1, 2, low=1, high=99),
        Column("work", 2, 5, values=("none", "private", "state")),
        Column("gain", 5, 6, high=99_999),
        Column("family", 6, 10, values=("divorced", "married", "single", "widowed")),
    ]
    if stated:
        parts.append(np.eye(2)[sex])
        columns.append(Column("sex", 10, 12, values=("female", "male")))
    return Dataset(
        name=name,
        num_classes=2,
        x=torch.from_numpy(np.concatenate(parts, 1).astype(np.float32)),
        y=torch.from_numpy((rich > 1.4).astype(np.int64)),
        z={
            "sex": Attribute(torch.from_numpy(sex), ("female", "male")),
            "race": Attribute(torch.from_numpy(race), ("a", "b", "c")),
        },
        columns=tuple(columns),
        n_train=n_train,
        epsilon={"linf": 0.1, "l2": 0.5},
    )


TABLES = {
    "people": _people("people", stated=False, n_train=0),
    "people-stated": _people("people-stated", stated=True, n_train=400),
    "others": _people("others", stated=False, n_train=0, seed=8),
}


def _entry(table: str, *, published: bool) -> ModelEntry:
    shape = TABLES[table].input_shape
    return ModelEntry(
        name=f"{table}-{'published' if published else 'mlp'}", source="selftrained",
        purpose="benchmark", dataset=table, architecture="mlp-32", input_shape=shape,
        num_classes=2, mean=(0.0,) * shape[0], std=(1.0,) * shape[0], licence=None,
        backdoored=False, artifact=None,
        recipe=None if published else RECIPE,
    )  # fmt: skip


class Player:
    """Plays attacks on models of a table; what was trained and measured is kept."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.weights: dict[str, str] = {}

    def publish(self, table: str) -> None:
        """Put a network that was trained on the official part where downloaded weights are."""
        entry, data = _entry(table, published=True), TABLES[table]
        with seeded("published"):
            net = nets.build(entry.architecture, entry.input_shape, entry.num_classes)
        fit(net, data.all.take(torch.arange(data.n_train)), RECIPE, seed=0)
        path = self.home.blobs / "new"
        path.parent.mkdir(exist_ok=True)
        safetensors.torch.save_file(net.state_dict(), path)
        sha256 = sha256_file(path)
        path.rename(self.home.blobs / sha256)
        self.weights[entry.name] = sha256

    def request(
        self,
        table: str,
        attacks: Sequence[str],
        defense: str | None = None,
        *,
        published: bool = False,
        aux: Aux | None = None,
        ood: str | None = None,
    ) -> Request:
        """Of some attacks, or of the standard ones on every risk."""
        kinds = registry.known("attack")
        settings = small("defense", defense) if defense else {}
        for attack in attacks:
            settings |= small("attack", attack)
        return Request(
            models=(_entry(table, published=published),),
            stacks=((defense,) if defense else (),),
            risks=tuple(r for r in Risk if not attacks or any(kinds[a].risk is r for a in attacks)),
            attacks=tuple(attacks),
            aux=aux,
            ood=ood,
            adversaries=(True,),
            seeds=1,
            settings=settings,
        )

    def plan(self, request: Request) -> Plan:
        """What there is to do."""
        photos = datasets.load(datasets.OOD_DEFAULT, DataLocation())
        return plan(
            request, {**TABLES, photos.name: photos}, self.weights,
            is_done=EvaluationStore(self.home).is_done, is_trained=Artifacts(self.home).has,
        )  # fmt: skip

    def play(
        self,
        table: str,
        attacks: Sequence[str],
        *,
        defense: str | None = None,
        **other: Any,
    ) -> list[Evaluation]:
        """What came of each attack on the model with the defense; nothing is left out."""
        request = self.request(table, attacks, defense, **other)
        store, made = EvaluationStore(self.home), self.plan(request)
        context = run.Context(self.home, DataLocation(), "cpu", self.weights, "test")
        for _ in run.run(made, context, local.pool, workers=1):
            pass
        stack = (defense,) if defense else ()
        asked = [i for i in made.cells if tuple(m.name for m in i.cell.stack) == stack]
        assert {i.cell.attack.name for i in asked} == set(attacks), "an attack was left out"
        assert len(asked) == len(attacks)
        found = [store.get(item.cell.key) for item in asked]
        assert None not in found, "a cell is missing without a word"
        return [evaluation for evaluation in found if evaluation is not None]


@pytest.fixture(scope="module")
def player(tmp_path_factory) -> Iterator[Player]:
    with pytest.MonkeyPatch.context() as patch:
        for name, table in TABLES.items():
            patch.setitem(datasets.DATASETS, name, lambda source, table=table: table)
        made = Player(Home.open(tmp_path_factory.mktemp("home")))
        made.publish("people-stated")
        yield made
    datasets.load.cache_clear()  # others may have tables of these names


def _agree(found: Sequence[Evaluation], reasons: dict[str, str]) -> None:
    """Every attack is a result, but those for which there is a reason, and it is that one."""
    for evaluation in found:
        attack = evaluation.cell.attack.name
        reason = reasons.get(attack, reasons.get(EVERY, ""))
        if reason:
            assert evaluation.status == "not applicable", attack
            assert re.search(reason, evaluation.reason or ""), evaluation.reason
        else:
            assert evaluation.status == "ok", f"{attack}: {evaluation.reason}"
            assert evaluation.primary is not None
            assert evaluation.metrics[evaluation.primary] is not None, attack


@pytest.mark.parametrize("name", registry.known("attack"))
@pytest.mark.parametrize("model", MODELS)
def test_an_attack_on_a_table_is_measured_or_says_why_not(model, name, player) -> None:
    table, published, defense, reasons = MODELS[model]
    _agree(player.play(table, [name], defense=defense, published=published), reasons)


@pytest.mark.parametrize("name", registry.known("defense"))
def test_a_defense_of_a_table_faces_every_risk_or_says_why_not(name, player) -> None:
    _agree(player.play("people", FACED, defense=name), NO_DEFENSE.get(name, {}))


@pytest.mark.parametrize("name", registry.known("defense"))
def test_a_defense_of_a_table_that_states_the_sex(name, player) -> None:
    faced = ["feature-trigger", "loss-threshold", "group-audit"]
    reasons = WHERE_STATED.get(name, NO_DEFENSE.get(name, {}))
    _agree(player.play("people-stated", faced, defense=name), reasons)


def test_what_is_written_down_is_registered_and_every_risk_is_faced() -> None:
    attacks, defenses = registry.known("attack"), registry.known("defense")
    written = {name for _, _, _, reasons in MODELS.values() for name in reasons}
    assert written | set(FACED) <= attacks.keys()
    assert NO_DEFENSE.keys() | WHERE_STATED.keys() <= defenses.keys()
    assert {attacks[name].risk for name in FACED} == set(Risk)


def test_the_standard_attacks_are_those_that_a_table_can_suffer(player) -> None:
    found = {attack.attack.name for attack in resolve(player.request("people", []), {}).attackers}
    assert found == set(FACED) - {"tabular-inversion"}
    photos = replace(_entry("people", published=False), input_shape=(1, 8, 8))
    both = replace(player.request("people", []), models=(photos, _entry("people", published=False)))
    assert {a.attack.name for a in resolve(both, {}).attackers} == found | {"badnets"}


@pytest.mark.parametrize("aux", [Aux.SHADOW, Aux.OOD])
def test_a_thief_with_rows_of_its_own_or_of_another_table_asks_those(aux, player) -> None:
    ood = "others" if aux is Aux.OOD else None
    (found,) = player.play("people", ["knockoff"], aux=aux, ood=ood)
    assert found.status == "ok", found.reason
    assert found.evidence["held"] == (N if ood else N // 2)


def test_another_tables_rows_are_refused_where_their_columns_are_elsewhere(player) -> None:
    (found,) = player.play("people", ["knockoff"], aux=Aux.OOD, ood="people-stated")
    assert found.status == "not applicable"
    assert "Rows of people-stated (12 features) are none of people (10 features)" in found.reason


def test_a_network_whose_weights_cannot_be_read_is_refused_before_any_training(player) -> None:
    residual = replace(_entry("people", published=False), architecture="residual-mlp")
    asked = player.request("people", ["distribution-pin"])
    (found,) = player.plan(replace(asked, models=(residual,))).cells
    assert "plain row of linear layers and convolutions" in (found.refused or "")
    assert not found.others
    (read,) = player.plan(asked).cells
    assert read.refused is None


@pytest.mark.mirror
@pytest.mark.parametrize("defense", [None, "reweighing", "adversarial-debiasing", "dpsgd"])
def test_people_of_the_census_face_every_risk(defense, player, mirror, monkeypatch) -> None:
    whole = datasets.load("adult", DataLocation(mirror=mirror))
    some = torch.arange(2400)
    part = replace(
        whole, name="adult-part", x=whole.x[some], y=whole.y[some],
        z={name: attribute.take(some) for name, attribute in whole.z.items()},
        n_train=0, n_fitted=0,
    )  # fmt: skip
    monkeypatch.setitem(TABLES, part.name, part)
    monkeypatch.setitem(datasets.DATASETS, part.name, lambda source: part)
    _agree(player.play(part.name, FACED, defense=defense), {})
