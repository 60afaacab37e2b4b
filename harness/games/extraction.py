"""Extraction: get a copy of the target, from its answers or from its stolen weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from harness.attacks.protocol import Attack
from harness.defenses.protocol import Proves
from harness.games.game import Outcome, Setting, Table, Wanted
from harness.games.holdings import num_held
from harness.metrics.extraction import extraction
from harness.metrics.ownership import ownership
from harness.ownership import Owner
from harness.seeds import derive
from harness.stack import Stack
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError
from zoo.errors import ZooError


def check(attack: Attack, setting: Setting) -> None:
    """Refuse an attacker without data, and a query budget that there are no inputs for.

    Raises:
        NotApplicableError: The attacker holds nothing.
        ZooError: It holds less than the budget.
    """
    threat = setting.threat
    if threat.aux is Aux.NONE:  # its inputs are made up
        return
    held, kind = num_held(threat, setting.quarters, setting.ood_size), threat.ood or threat.aux
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


def needs(attack: Attack, setting: Setting) -> Mapping[str, tuple[Wanted, ...]]:
    """Independent models, if the owner is to prove anything.

    They are undefended and trained on data of the same distribution that the target never saw.
    """
    count = max([d.independents for d in _proofs(setting.stack)], default=0)
    return {
        "independent": tuple(
            Wanted(
                index=setting.quarters.shadow_train,
                defended=False,
                seed=derive("independent", setting.seed, i),
            )
            for i in range(count)
        )
    }


def _proofs(stack: Stack) -> list[Any]:
    return [d for d in stack.defenses if isinstance(d, Proves)]


def play(attack: Attack, table: Table) -> Outcome:
    """Steal the target, and compare the copy with it on data that neither has seen."""
    target, aux = table.bare_target(), table.aux()
    surrogate = attack.run(target, table.attacker(aux=aux), seed=table.seed)
    test = table.hold(table.quarters.target_test)
    answers = BlackBox(table.model, Access.LABELS).labels(test.x)
    copied = BlackBox(surrogate, Access.LABELS).labels(test.x)
    metrics = {**extraction(copied, answers, test.y), "queries": float(target.queries)}
    return Outcome(
        metrics=metrics | _ownership(surrogate, table),
        samples={
            "index": table.quarters.target_test.numpy(),
            "label": test.y.cpu().numpy(),
            "target": answers.cpu().numpy(),
            "surrogate": copied.cpu().numpy(),
        },
        notes={"n": len(test), "held": len(aux) if aux is not None else 0},
    )


def _ownership(surrogate: nn.Module, table: Table) -> dict[str, float | None]:
    """What the owner can prove: of the copy, of the own model, and of independent models.

    With several proofs the owner claims what any of them claims.
    """
    metrics: dict[str, float | None] = {}
    claims: dict[str, list[float | None]] = {}
    proofs = _proofs(table.stack)
    if not proofs:
        return metrics
    owner = Owner(
        model=table.model,
        members=table.hold(table.quarters.target_train),
        # Not the shadow quarters: a thief may have trained on them.
        unseen=table.hold(table.quarters.target_test),
        shop=table.shop,
    )
    suspects = [surrogate, table.model, *table.others.get("independent", ())]
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
