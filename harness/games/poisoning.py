"""Poisoning: change a share of the training data so that the model does what the attacker wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.attacks.protocol import Poison
from harness.defenses.protocol import FiltersInputs, InspectsModels
from harness.games.game import Outcome, Setting, Table, Wanted
from harness.images import grid, to_bytes
from harness.metrics.classification import accuracy
from harness.metrics.poisoning import poisoning
from harness.target import BlackBox
from harness.types import Access, NotApplicableError, Split

SHOWN = 8
"""Triggered inputs that are kept as a picture."""


def check(attack: Poison, setting: Setting) -> None:
    """Every threat model that a poisoning attack can use is fine."""


def needs(attack: Poison, setting: Setting) -> Mapping[str, tuple[Wanted, ...]]:
    """The clean twin: its answers to triggered inputs are what chance gives.

    It has the same defenses, so one that ruins the model does not pass for a backdoor.
    """
    twin = Wanted(index=setting.quarters.target_train, defended=True, seed=setting.seed)
    return {"clean_twin": (twin,)}


def play(attack: Poison, table: Table) -> Outcome:
    """Try the trigger on the test data, and count what filters and inspections find.

    Raises:
        NotApplicableError: There is no test example that the attack could succeed on.
    """
    detectors = [d for d in table.stack.defenses if isinstance(d, InspectsModels | FiltersInputs)]
    if detectors and not len(table.shop.trusted):
        raise NotApplicableError(
            f"{detectors[0].name} compares with clean examples, but nobody knows what this model "
            f"was trained on."
        )
    test = table.hold(table.quarters.target_test)
    applies = attack.applies(test.y)
    if not applies.any():
        raise NotApplicableError(
            f"None of the {len(test)} test examples is of a class that {attack.name} could succeed "
            f"on."
        )
    triggered = attack.trigger(test.x, seed=table.poison_seed)
    clean, after = _labels(table.model, test.x), _labels(table.model, triggered)
    twins = table.others.get("clean_twin", ())
    # A published model has no twin: without its trigger it stands for one.
    before = _labels(twins[0], triggered) if twins else clean
    num_classes = table.dataset.num_classes
    hit = attack.success(after, test.y, num_classes=num_classes)
    samples = {
        "index": table.quarters.target_test,
        "label": test.y,
        "clean": clean,
        "triggered": after,
        "clean_model": before,
        "applies": applies,
        "success": hit & applies,
    }
    rejected = _rejected(table, Split(test.x, test.y), triggered)
    samples |= rejected
    metrics: dict[str, float | None] = {
        **poisoning(
            clean=clean,
            triggered=after,
            y=test.y,
            applies=applies,
            success=hit,
            clean_model_success=attack.success(before, test.y, num_classes=num_classes),
            rejected_clean=rejected.get("rejected_clean"),
            rejected_triggered=rejected.get("rejected_triggered"),
        ),
        "clean_model_accuracy": None,
    }
    if twins:
        metrics["clean_model_accuracy"] = accuracy(_labels(twins[0], test.x), test.y)
    for name in ("removal_tpr", "removal_fpr"):
        if name in table.evidence:
            metrics[name] = table.evidence[name]
    notes: dict[str, Any] = {"n": len(test), "applies": int(applies.sum())}
    images = {}
    if len(test.x.shape) == 4 and test.x.shape[1] in (1, 3):
        images["triggered"] = grid(triggered[applies][:SHOWN])
    for defense in table.stack.defenses:
        if isinstance(defense, InspectsModels):
            found = defense.inspect(table.unguarded, table.shop)
            metrics |= {"flagged": float(found.flagged), "anomaly": found.score}
            notes |= found.notes
            images |= {name: to_bytes(image) for name, image in found.images.items()}
    return Outcome(
        metrics=metrics,
        samples={name: column.cpu().numpy() for name, column in samples.items()},
        notes=notes,
        images=images,
    )


def _labels(model: nn.Module, x: Tensor) -> Tensor:
    return BlackBox(model, Access.LABELS).labels(x)


def _rejected(table: Table, test: Split, triggered: Tensor) -> dict[str, Tensor]:
    """What the stack's filters reject, on clean and on triggered inputs; empty without filters."""
    filters = [d for d in table.stack.defenses if isinstance(d, FiltersInputs)]
    if not filters:
        return {}
    found = {}
    for name, x in (("rejected_clean", test.x), ("rejected_triggered", triggered)):
        flags = [f.suspicious(table.unguarded, x, table.shop) for f in filters]
        found[name] = torch.stack(flags).any(0)
    return found
