"""Poisoning: change a share of the training data so that the model does what the attacker wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.attacks.protocol import Poison
from harness.data.images import grid, to_bytes
from harness.defenses.protocol import FiltersInputs, InspectsModels
from harness.defenses.shared.defender import DefenderData
from harness.defenses.stack import Stack
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.games.inspections import inspected
from harness.metrics.poisoning import poisoning
from harness.seeds import seeded
from harness.target import BlackBox
from harness.types import Access, NotApplicableError

SHOWN = 8
"""Triggered inputs that are kept as a picture."""


def check(attack: Poison, spec: ScenarioSpec) -> None:
    """Every threat model that a poisoning attack can use is fine."""


def needs(attack: Poison, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """The clean twin: its answers to triggered inputs are what chance gives.

    It has the same defenses, so one that ruins the model does not pass for a backdoor. Where
    nothing is poisoned it is the target.
    """
    return {"clean_twin": (_like_the_target(spec),)}


def _like_the_target(spec: ScenarioSpec) -> ModelRequest:
    return ModelRequest(
        index=spec.quarters.target_train, defended=True, seed=spec.seed, guarded=True
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Owned:
    """A model and what its owner knows.

    Attributes:
        model: As it answers.
        unguarded: Before its output defenses.
        defender: The owner's means.
    """

    model: nn.Module
    unguarded: nn.Module
    defender: DefenderData


def play(attack: Poison, scenario: Scenario) -> Outcome:
    """Try the trigger on the test data, and count what filters and inspections find.

    The clean twin stands behind guards, filters and inspections of its own, which are made like the
    target's and draw from the same streams: only the poison is different. A published model has no
    twin; its own answers without the trigger stand for one's, and there is no clean inspection to
    compare with.

    Raises:
        NotApplicableError: There is no test example that the attack could succeed on.
    """
    detectors = [
        d for d in scenario.stack.defenses if isinstance(d, InspectsModels | FiltersInputs)
    ]
    if detectors and not len(scenario.defender.trusted):
        raise NotApplicableError(
            f"{detectors[0].name} compares with clean examples, but nobody knows what this model "
            f"was trained on."
        )
    test = scenario.examples_at(scenario.quarters.target_test)
    applies = attack.applies(test.y)
    if not applies.any():
        raise NotApplicableError(
            f"None of the {len(test)} test examples is of a class that {attack.name} could succeed "
            f"on."
        )
    triggered = attack.trigger(test.x, seed=scenario.poison_seed)
    target = _Owned(model=scenario.model, unguarded=scenario.unguarded, defender=scenario.defender)
    twin = _twin(scenario)
    clean, after = (_labels(scenario, target, x) for x in (test.x, triggered))
    before = _labels(scenario, twin, triggered) if twin else clean
    rejected = _rejected(scenario.stack, target, test.x, triggered)
    twin_rejected = _rejected(scenario.stack, twin, test.x, triggered) if twin else rejected
    of_twin = "rejected_triggered" if twin else "rejected_clean"
    if rejected:
        rejected["clean_model_rejected_triggered"] = twin_rejected[of_twin]
    num_classes = scenario.dataset.num_classes
    hit = attack.success(after, test.y, num_classes=num_classes)
    clean_hit = attack.success(before, test.y, num_classes=num_classes)
    metrics: dict[str, float | None] = {
        **poisoning(
            clean=clean,
            triggered=after,
            y=test.y,
            applies=applies,
            success=hit,
            clean_model_success=clean_hit,
            **rejected,
        ),
        "clean_model_accuracy": None,
    }
    if twin:
        right = _labels(scenario, twin, test.x) == test.y
        if twin_rejected:
            right &= ~twin_rejected["rejected_clean"]
        metrics["clean_model_accuracy"] = right.double().mean().item()
    for name in ("removal_tpr", "removal_fpr"):
        if name in scenario.evidence:
            metrics[name] = scenario.evidence[name]
    notes: dict[str, Any] = {"n": len(test), "applies": int(applies.sum())}
    images = {}
    if len(test.x.shape) == 4 and test.x.shape[1] in (1, 3):
        images["triggered"] = grid(triggered[applies][:SHOWN])
    for defense in scenario.stack.defenses:
        if isinstance(defense, InspectsModels):
            found = inspected(defense, target.unguarded, target.defender)
            of_clean = inspected(defense, twin.unguarded, twin.defender) if twin else None
            metrics |= {
                "flagged": float(found.flagged),
                "anomaly": found.score,
                "clean_model_flagged": float(of_clean.flagged) if of_clean else None,
                "clean_model_anomaly": of_clean.score if of_clean else None,
            }
            notes |= found.notes
            images |= {name: to_bytes(image) for name, image in found.images.items()}
    samples = {
        "index": scenario.quarters.target_test,
        "label": test.y,
        "clean": clean,
        "triggered": after,
        "clean_model": before,
        "applies": applies,
        "success": hit & applies,
        "clean_model_success": clean_hit & applies,
        **rejected,
    }
    return Outcome(
        metrics=metrics,
        samples={name: column.cpu().numpy() for name, column in samples.items()},
        notes=notes,
        images=images,
    )


def _twin(scenario: Scenario) -> _Owned | None:
    """The clean twin behind output defenses of its own; None for a published model."""
    twins = scenario.others.get("clean_twin", ())
    if not twins:
        return None
    defender = scenario.defender_of(_like_the_target(scenario.spec))
    guarded = scenario.stack.guard(twins[0], defender).to(scenario.device).eval()
    return _Owned(model=guarded, unguarded=twins[0], defender=defender)


def _labels(scenario: Scenario, owned: _Owned, x: Tensor) -> Tensor:
    with seeded("answers", scenario.seed):  # of a model that is random: the same luck for each
        return BlackBox(owned.model, Access.LABELS).labels(x)


def _rejected(stack: Stack, owned: _Owned, x: Tensor, triggered: Tensor) -> dict[str, Tensor]:
    """What the stack's filters reject, on clean and on triggered inputs; empty without filters."""
    filters = [d for d in stack.defenses if isinstance(d, FiltersInputs)]
    if not filters:
        return {}
    found = {}
    for name, asked in (("rejected_clean", x), ("rejected_triggered", triggered)):
        flags = [f.suspicious(owned.unguarded, asked, owned.defender) for f in filters]
        found[name] = torch.stack(flags).any(0)
    return found
