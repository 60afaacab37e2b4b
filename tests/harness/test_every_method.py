"""What holds for every registered attack and defense."""

import copy
import re
from dataclasses import dataclass, field, fields, is_dataclass, replace

import pytest
import torch

from harness import registry
from harness.attacks.protocol import AttackerData, Evaded, Poison, Resolves
from harness.attacks.shared.attacker_data import (
    Candidates,
    InfersAttribute,
    InvertsGradients,
    Records,
    Released,
    Shadow,
)
from harness.attacks.shared.distribution_attack import DistributionAttack, Suspects
from harness.data.examples import Attribute, Column, Split
from harness.defenses.protocol import Adapts, Cleans, Edits, GuardsOutputs, traits_of
from harness.doctor.static import check_parts
from harness.target import BlackBox
from harness.types import Access, Part, Risk, Trait
from zoo import nets
from zoo.errors import UnknownNameError, ZooError

# Small settings, so that one run takes a fraction of a second.
TINY = {
    "apgd-ce": {"steps": 2},
    "apgd-t": {"steps": 2},
    "attribute-embeddings": {"epochs": 1},
    "attribute-scores": {"epochs": 1},
    "autoattack": {"steps": 2, "queries": 3},
    "badnets": {},
    "blended": {},
    "boundary": {"queries": 40, "samples": 5},
    "canary-audit": {},
    "correctness": {},
    "data-free": {"queries": 100, "epochs": 1, "width": 4},
    "distillation": {"epochs": 1},
    "distribution-kl": {},
    "distribution-loss": {},
    "distribution-pin": {"epochs": 1},
    "distribution-threshold": {},
    "fab-t": {"steps": 2},
    "feature-trigger": {},
    "fgsm": {},
    "fine-tuning": {"epochs": 1},
    "fredrikson": {"iterations": 2},
    "gmi": {"gan_steps": 2, "iterations": 2, "width": 2},
    "gradient-inversion": {"observed": 2, "steps": 2},
    "group-audit": {},
    "knockoff": {"policy": "adaptive", "epochs": 1, "batch_size": 16},
    "label-flipping": {},
    "lira": {"shadows": 8},
    "loss-threshold": {},
    "mlp": {"epochs": 1},
    "mlp-black-box": {"epochs": 1},
    "mlp-white-box": {"epochs": 1},
    "modified-entropy": {},
    "pgd": {"steps": 2},
    "plg-mi": {"gan_steps": 2, "iterations": 2, "width": 2},
    "pruning": {"epochs": 1},
    "quantile": {"epochs": 1},
    "rmia": {},
    "semi-supervised": {"epochs": 1, "shift": 0.3},
    "sig": {"frequency": 1},
    "square": {"queries": 3},
    "tabular-inversion": {"steps": 2},
    "transfer": {"epochs": 1, "steps": 2},
    "wanet": {},
}


def test_every_attack_is_here() -> None:
    assert TINY.keys() == registry.known("attack").keys()


WITH_RUN = [n for n in TINY if registry.get("attack", n).risk != "poisoning"]


def _result(found):
    found = found.x if isinstance(found, Evaded) else found
    return found if isinstance(found, torch.Tensor) else dict(found.state_dict())


def _prepared(name, tiny):
    """The attack, a target and data that suit it."""
    attack = registry.make("attack", name, TINY[name])
    tiny = replace(tiny, z={"odd": Attribute(torch.arange(64) % 2, ("no", "yes"))})
    if name == "tabular-inversion":  # the one that images are nothing for
        colours = Column("colour", 0, 15, values=tuple("abcdefghijklmno"))
        tiny = replace(tiny, x=tiny.x.flatten(1), columns=(colours, Column("age", 15, 16)))
    if isinstance(attack, Resolves):
        attack = attack.resolve(tiny)
    torch.manual_seed(0)
    model = nets.build("mlp-128", tiny.input_shape, 3)
    return attack, model, tiny


def _handed(attack, model, tiny, points, aux):
    """What the game hands the attack, with ``points`` and ``aux``."""
    held = torch.arange(64) % 4  # each shadow model is trained on a quarter
    data = Candidates(
        points=points, aux=aux, num_classes=3, architecture="mlp-128",
        input_shape=tiny.input_shape, columns=tiny.columns,
        aux_member=held == 0,
        shadows=tuple(
            Shadow(
                box=BlackBox(nets.build("mlp-128", (1, 4, 4), 3), Access.WEIGHTS),
                members=held == k % 4,
                aux_members=held == k % 4,
            )
            for k in range(8)
        ),
    )  # fmt: skip
    told = {field.name: getattr(data, field.name) for field in fields(AttackerData)}
    if isinstance(attack, InfersAttribute):
        seen = attack.see(BlackBox(model, Access.WEIGHTS), tiny.x)
        data = Records(
            **told, points=points, aux=aux, seen=seen, aux_z=tiny.z["odd"].values, num_values=2
        )
    if isinstance(attack, InvertsGradients):
        gradients = tuple(torch.rand(attack.observed, *p.shape) for p in model.parameters())
        data = Released(**told, gradients=gradients)
    if isinstance(attack, DistributionAttack):
        boxes = tuple(shadow.box for shadow in data.shadows)
        data = Suspects(
            **told, victims=boxes[:2], own=(boxes[2:5], boxes[5:]), tests=(tiny.all, tiny.all)
        )
    return data


@pytest.mark.parametrize("name", WITH_RUN)
def test_an_attack_depends_on_the_seed_and_nothing_else(name, tiny) -> None:
    attack, model, tiny = _prepared(name, tiny)
    data = _handed(attack, model, tiny, tiny.all, tiny.all)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)  # move the global generator: the attack must not notice
    again = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=1)
    torch.testing.assert_close(_result(first), _result(again), rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@dataclass(frozen=True, eq=False)
class Watched(Split):
    """Examples that write down what is read of them."""

    name: str = ""
    read: set[str] = field(default_factory=set)

    def __getattribute__(self, key):
        found = super().__getattribute__(key)
        if key in ("x", "y"):
            super().__getattribute__("read").add(f"{super().__getattribute__('name')}.{key}")
        return found

    def __len__(self):
        return len(super().__getattribute__("y"))

    def take(self, index):
        x, y = (super(Watched, self).__getattribute__(key)[index] for key in ("x", "y"))
        return Watched(x, y, {}, None, self.columns, self.name, self.read)

    def to(self, device):
        return self


POINTS, AUX = {"points.x", "points.y"}, {"aux.x", "aux.y"}
WITHOUT_THE_MODEL = {
    Risk.EVASION: POINTS | AUX,  # the examples themselves, which are not yet answered wrongly
    Risk.EXTRACTION: AUX,  # the twin that asks nothing
    Risk.MEMBERSHIP_INFERENCE: POINTS | AUX,  # one population: nothing known of them tells
    Risk.DATA_RECONSTRUCTION: {"aux.x"},  # a mean; which class an input is of, nobody says
    Risk.DISTRIBUTION_INFERENCE: set(),  # either world is as likely
    Risk.DISCRIMINATORY_BEHAVIOR: POINTS,  # groups dealt among the same examples
}
"""What goes into the number that stands for an attacker without the model."""


@pytest.mark.parametrize("knows", ["nothing", "label", "features"])
@pytest.mark.parametrize("name", WITH_RUN)
def test_no_attack_reads_more_than_is_known_without_the_model(name, knows, tiny) -> None:
    attack, model, tiny = _prepared(name, tiny)
    if isinstance(attack, InfersAttribute):
        attack = replace(attack, knows=knows)
    elif knows != "features":
        return

    def read(work) -> set[str]:
        log = set()
        points, aux = (Watched(tiny.x, tiny.y, name=n, read=log) for n in ("points", "aux"))
        data = _handed(attack, model, tiny, points, aux)
        log.clear()
        work(data)
        return log

    found = read(lambda data: attack.run(BlackBox(model, Access.WEIGHTS), data, seed=1))
    if isinstance(attack, InfersAttribute):
        known = read(lambda data: attack.impute(data, knows=knows, seed=1)) | {"aux.x"}
        asked = {"nothing": set(), "label": {"points.y"}, "features": POINTS}[knows]
        assert found & POINTS == known & POINTS == asked
    else:
        known = WITHOUT_THE_MODEL[attack.risk]
    assert found <= known


def test_whoever_asks_about_a_record_has_it_unless_somebody_says_otherwise() -> None:
    for name in WITH_RUN:
        attack = registry.make("attack", name, {})
        assert not isinstance(attack, InfersAttribute) or attack.knows == "features"


@pytest.mark.parametrize("name", [n for n in TINY if registry.get("attack", n).risk == "poisoning"])
def test_a_poisoning_attack_depends_on_the_seed_and_nothing_else(name, tiny) -> None:
    attack = registry.make("attack", name, TINY[name]).resolve(tiny)
    assert isinstance(attack, Poison)
    found, state = [], torch.get_rng_state()
    for seed in (1, 1, 2):
        done = attack.poison(tiny.all, trusted=torch.arange(6), num_classes=3, seed=seed)
        found.append((done.data.x, done.data.y, done.poisoned, attack.trigger(tiny.x, seed=seed)))
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(1)  # move the global generator: the attack must not notice
        state = torch.get_rng_state()
    assert all(map(torch.equal, found[0], found[1]))
    assert not torch.equal(found[0][2], found[2][2])


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("attack", "defense") for name in registry.known(kind)],
)
def test_a_method_is_a_frozen_dataclass_with_facts_and_words(kind, name) -> None:
    method = registry.get(kind, name)
    assert method.name == name
    assert is_dataclass(method)
    assert method.__dataclass_params__.frozen
    assert all(f.kw_only for f in fields(method))
    assert re.search(
        r"\(\d{4}\), https://(arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\d{4})", method.reference
    )
    assert all(f.name in method.__doc__ for f in fields(method)), "an undocumented setting"
    assert registry.make(kind, name, dict(registry.describe(method()).params)) == method()


@pytest.mark.parametrize("name", registry.known("defense"))
def test_a_defense_has_the_methods_of_the_parts_it_acts_on(name) -> None:
    defense = registry.make("defense", name, {})
    check_parts(defense)
    assert not isinstance(defense, Adapts) or defense.acts_on - {Part.OUTPUT}


def test_a_defense_has_the_methods_of_what_it_promises() -> None:
    protocols = {
        Trait.HOLDS_OUT: Cleans,
        Trait.WEIGHS_EXAMPLES: Cleans,
        Trait.FITS_TRUSTED: Edits,
        Trait.EDITS_ONE_NETWORK: Edits,
        Trait.MAKES_MIXTURE: Adapts,
        Trait.DECIDES: GuardsOutputs,
    }
    promised = {kind: traits_of(kind()) for kind in registry.known("defense").values()}
    assert frozenset().union(*promised.values()) == set(Trait)
    for kind, traits in promised.items():
        assert all(isinstance(kind(), protocols[trait]) for trait in traits)


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No attack 'distilation'. Nearest: distillation"):
        registry.get("attack", "distilation")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pgd", {"step": "3"}, "No setting of pgd 'step'. Nearest: steps"),
        ("pgd", {"steps": "many"}, "pgd.steps wants int, found 'many'"),
        ("pgd", {"norm": "l1"}, r"pgd.norm wants linf\|l2, found 'l1'"),
        ("pgd", {"random_start": "yes"}, "pgd.random_start wants bool, found 'yes'"),
        ("fgsm", {"epsilon": "a"}, "fgsm.epsilon wants float or none, found 'a'"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(name, settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        registry.make("attack", name, settings)


def test_texts_become_the_fields_types() -> None:
    found = registry.make(
        "attack",
        "pgd",
        {"epsilon": "0.25", "steps": "7", "random_start": "false", "step_size": "none"},
    )
    assert (found.epsilon, found.steps, found.random_start, found.step_size) == (
        0.25,
        7,
        False,
        None,
    )


def test_a_setting_that_need_not_be_given_can_be_taken_back() -> None:
    found = registry.make("attack", "transfer", {"source": "none", "surrogate": "None"})
    assert (found.source, found.surrogate) == (None, None)
    assert registry.make("attack", "transfer", {"source": "nonesuch"}).source == "nonesuch"


def test_a_label_shows_what_was_changed_and_nothing_else() -> None:
    assert registry.describe(registry.make("attack", "pgd", {})).label == "pgd"
    changed = registry.make("attack", "pgd", {"steps": "7"})
    assert registry.describe(changed).label == "pgd(steps=7)"
