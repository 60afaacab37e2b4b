"""Extraction: get a copy of the target, from its answers or from its stolen weights.

A copy is worth what it has beyond the *no-query twin*: what the same thief makes of the data that
it holds anyway, without the target. Where the threat model gives it labelled data, that is the
surrogate of the same attack, architecture, recipe and seed, trained on the true labels of all of
them; of a thief who stole weights, and trains no surrogate, it is that of distillation with its own
settings. Where there are no labels of the task, it is an untrained surrogate. In either case the
target's most frequent answer takes its place where that agrees more with the target: who copies a
model that says the same of everything has stolen nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from harness.attacks.distillation import Distillation
from harness.attacks.protocol import AuxiliaryData, LearnsLabels, Steals, TrainsSurrogate
from harness.attacks.shared import convergence
from harness.attacks.shared import surrogate as surrogates
from harness.data.examples import Split
from harness.defenses.protocol import ProvesOwnership
from harness.defenses.shared.ownership import Owner
from harness.defenses.stack import Stack
from harness.games.auxiliary import num_auxiliary, pool_index
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec, attack_seed
from harness.metrics.classification import accuracy
from harness.metrics.extraction import extraction
from harness.metrics.ownership import ownership
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError
from zoo.errors import ZooError

TWIN = "no-query twin"


def check(attack: Steals, spec: ScenarioSpec) -> None:
    """Refuse an attacker without data, and a query budget that there are no inputs for.

    Raises:
        NotApplicableError: The attacker holds nothing.
        ZooError: It holds less than the budget.
    """
    threat = spec.threat
    if threat.aux is Aux.NONE:  # its inputs are made up
        return
    held, kind = num_auxiliary(threat, spec.quarters, spec.ood_size), threat.ood or threat.aux
    if not held:
        raise NotApplicableError(
            f"The attacker's {kind} data holds no inputs: nobody knows what the model was trained "
            f"on, or the dataset is too small. Choose other data with --aux."
        )
    if threat.queries is not None and threat.queries > held:
        raise ZooError(
            f"The query budget is {threat.queries}, but the attacker's {kind} data holds {held} "
            f"inputs. Lower --queries."
        )


def needs(attack: Steals, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """The no-query twin and, if the owner is to prove anything, independent models.

    The twin depends on nothing of the target but who holds which examples, so undefended and
    defended cells share it. The independent models are undefended and trained on data of the same
    distribution that the target never saw.
    """
    count = max([d.independents for d in _proofs(spec.stack)], default=0)
    return {
        TWIN: _twin(attack, spec),
        "independent": tuple(
            ModelRequest(
                index=spec.quarters.shadow_train,
                defended=False,
                seed=derive("independent", spec.seed, i),
            )
            for i in range(count)
        ),
    }


def _twin(attack: Steals, spec: ScenarioSpec) -> tuple[ModelRequest, ...]:
    if spec.threat.aux not in (Aux.SHADOW, Aux.PARTIAL):
        return ()
    thief = attack if isinstance(attack, LearnsLabels) else Distillation()
    return (
        ModelRequest(
            index=pool_index(spec.quarters, spec.threat),
            defended=False,
            seed=attack_seed(thief.name, spec.seed),
            thief=thief,
        ),
    )


def _proofs(stack: Stack) -> list[ProvesOwnership]:
    return [d for d in stack.defenses if isinstance(d, ProvesOwnership)]


def play(attack: Steals, scenario: Scenario) -> Outcome:
    """Steal the target, and compare the copy with it on data that neither has seen."""
    target, aux = scenario.bare_target(), scenario.aux()
    data = AuxiliaryData(**vars(scenario.attacker()), aux=aux)
    surrogate = attack.run(target, data, seed=scenario.seed)
    test = scenario.examples_at(scenario.quarters.target_test)
    answers = BlackBox(scenario.model, Access.LABELS).labels(test.x)
    copied = BlackBox(surrogate, Access.LABELS).labels(test.x)
    twin, kind = _without_queries(attack, scenario, test, answers)
    metrics = {**extraction(copied, answers, test.y, twin), "queries": float(target.queries)}
    return Outcome(
        metrics=metrics | _ownership(surrogate, scenario),
        samples={
            "index": scenario.quarters.target_test.numpy(),
            "label": test.y.cpu().numpy(),
            "target": answers.cpu().numpy(),
            "surrogate": copied.cpu().numpy(),
            "twin": twin.cpu().numpy(),
        },
        notes={"n": len(test), "held": len(aux), "twin": kind},
    )


def _without_queries(
    attack: Steals, scenario: Scenario, test: Split, answers: Tensor
) -> tuple[Tensor, str]:
    """What the no-query twin predicts (n,), and what it is."""
    if _twin(attack, scenario.spec):
        [model] = scenario.others[TWIN]
        kind = "trained on the thief's labels"
        aux = scenario.aux()
        learned = "the surrogate that asks nothing"
        convergence.classifies(scenario.attacker(), learned, model, aux.x, aux.y)
    else:
        architecture = attack.surrogate if isinstance(attack, TrainsSurrogate) else None
        model = surrogates.build(architecture, scenario.attacker(), scenario.seed).to(
            scenario.device
        )
        kind = "an untrained surrogate"
    twin = BlackBox(model, Access.LABELS).labels(test.x)
    majority = answers.mode().values.expand(len(answers))
    if accuracy(majority, answers) > accuracy(twin, answers):
        return majority, "the target's most frequent answer"
    return twin, kind


def _ownership(surrogate: nn.Module, scenario: Scenario) -> dict[str, float | None]:
    """What the owner can prove: of the copy, of the own model, and of independent models.

    With several proofs the owner claims what any of them claims.
    """
    metrics: dict[str, float | None] = {}
    claims: dict[str, list[float | None]] = {}
    proofs = _proofs(scenario.stack)
    if not proofs:
        return metrics
    # What the defenses left out was not trained on. The like is left out of the unseen, since what
    # a cleaner keeps is easy for any model. They are not of the shadow quarters: a thief may have
    # trained on those.
    unseen = scenario.counterparts
    if unseen is None:
        unseen = scenario.quarters.target_test
    owner = Owner(
        model=scenario.model,
        members=scenario.examples_at(scenario.trained_on),
        unseen=scenario.examples_at(unseen),
        defender=scenario.defender,
    )
    suspects = [surrogate, scenario.model, *scenario.others.get("independent", ())]
    for defense in proofs:
        verify = defense.verifier(owner)
        copy, own, *others = [verify(BlackBox(s, Access.WEIGHTS)) for s in suspects]
        found = ownership(copy, own, others)
        metrics |= {f"{defense.name}_{key}": value for key, value in found.items()}
        for key in ("claimed", "own_claimed", "false_claims"):
            claims.setdefault(key, []).append(found[key])
    for key, values in claims.items():
        known = [value for value in values if value is not None]
        metrics[key] = max(known, default=None)
    return metrics
