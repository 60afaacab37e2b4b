"""Training one model from a job that says everything about it.

A model is determined by its job alone. Whether it was trained by itself or in a cohort of others
(`harness.training.cohort`), the result agrees to floating point tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from harness import registry
from harness.attacks.protocol import AuxiliaryData, LearnsLabels, PoisonsData
from harness.data.examples import Split
from harness.defenses.protocol import LEFT_OUT, GuardsBySecond, ReplacesTraining, Spares
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.stack import Stack
from harness.finite import check_model, check_training
from harness.learning.fit import fit
from harness.results import Method
from harness.seeds import derive
from harness.training.job import Job, Trained, network
from harness.types import NotApplicableError, UnfitError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.attacks.protocol import Poisoned
    from harness.defenses.protocol import FitsToLoss


def collected(job: Job, data: Split) -> Poisoned | None:
    """The examples of a job as its owner gets them from an attacker; None if nobody poisons any.

    Args:
        job: What is made.
        data: The examples that ``job.index`` names.
    """
    if job.poison is None:
        return None
    attack = registry.attack(job.poison)
    assert isinstance(attack, PoisonsData)
    return attack.poison(
        data,
        trusted=trusted_index(len(data), job.seed),
        num_classes=job.num_classes,
        seed=derive("poison", job.seed),
    )


def defender_data(
    job: Job, data: Split, trusted: Split, base: dict[str, Tensor] | None
) -> DefenderData:
    """What the defenses of ``job`` may use.

    Args:
        job: What is made.
        data: The training data.
        trusted: The examples of `harness.defenses.shared.defender.trusted_index`.
        base: Weights to start from, if ``job.base`` names some.
    """
    seed = derive("train", job.seed)

    def train(data: Split) -> nn.Module:
        if job.recipe is None:
            raise UnfitError(
                "A published model as downloaded is not trained; this defense has to train one."
            )
        model, _ = network(replace(job, stack=()), base)
        return fit(model.to(data.x.device), data, job.recipe, seed=seed)

    return DefenderData(
        data=data,
        trusted=trusted,
        num_classes=job.num_classes,
        train=train,
        recipe=job.recipe,
        seed=seed,
    )


def train_alone(
    job: Job,
    data: Split,
    base: dict[str, Tensor] | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train one job on its examples ``data``.

    Args:
        job: What to train.
        data: The examples that ``job.index`` names.
        base: Weights to start from, if ``job.base`` names some.
        progress: Called with steps done and steps in all, by training without defenses.

    Raises:
        DivergedError: What came out is no model.
    """
    if job.thief is not None:
        return Trained(_surrogate(job, data), {})
    stack = Stack.of(registry.defenses(job.stack))
    trusted = trusted_index(len(data), job.seed)
    checked = data.take(trusted.to(data.x.device))
    poisoned = None
    if (found := collected(job, data)) is not None:
        data, poisoned = found.data, found.poisoned
        if found.left_out is not None:
            trusted = trusted - found.left_out.cpu().cumsum(0)[trusted]
    defender = defender_data(job, data, checked, base)
    if job.second is not None:
        return Trained(_second(job.second, data, defender), {})
    ready = stack.clean(data, defender, poisoned, trusted)
    data, spared = ready.data, None
    model, evidence = network(job, base)
    evidence |= ready.notes
    model.to(data.x.device)
    stack.prepare(model, data)
    if job.recipe is None:
        pass
    elif stack.loop is not None:
        evidence |= _replaced(stack, stack.loop, model, data, job.recipe, defender)
        if LEFT_OUT in evidence:
            if not isinstance(stack.loop, Spares):
                raise RuntimeError(f"{stack} leaves examples out, but has no spared() to say which")
            spared = torch.zeros(len(data), dtype=torch.bool)
            spared[evidence.pop(LEFT_OUT)] = True
    else:
        fit(
            model,
            data,
            job.recipe,
            seed=defender.seed,
            inputs=stack.inputs,
            loss=stack.loss_for(defender),
            progress=progress,
        )
    left_out = None
    if ready.judges or spared is not None:
        left_out = ready.left_out(spared).nonzero().flatten()
    if job.recipe is not None:
        check_training(model.eval(), data.x)
    made = stack.edit(model.eval(), data, defender).eval()
    check_model(made, data.x, role="model that the defenses made")
    return Trained(made, evidence, left_out)


def would_leave_out(
    job: Job, base: dict[str, Tensor] | None, data: Split, trusted: Tensor | None = None
) -> Tensor | None:
    """Which examples the training of a job would have left out, had they been its data.

    Its defenses are given them from the start, as the training data were, and judge them by each
    other. So for a model that remembers nothing, what is left of two draws from one population is
    alike, whatever the defenses go by.

    Args:
        job: What decides.
        base: Weights to start from, if ``job.base`` names some.
        data: Examples that ``job`` was not trained on, about as many.
        trusted: Which of those (int64) the owner would have checked; drawn as in training if None.

    Returns:
        (n,) bool; None if the defenses cannot say because they refuse these examples.
    """
    stack = Stack.of(registry.defenses(job.stack))
    if trusted is None:
        trusted = trusted_index(len(data), job.seed)
    defender = defender_data(job, data, data.take(trusted.to(data.x.device)), base)
    loop, spared = stack.loop, None
    try:
        ready = stack.clean(data, defender, trusted=trusted)
        if isinstance(loop, Spares) and job.recipe is not None:
            model = network(job, base)[0].to(data.x.device)
            stack.prepare(model, ready.data)
            spared = loop.spared(
                model, ready.data, job.recipe, seed=defender.seed, inputs=stack.inputs
            )
    except NotApplicableError:
        return None
    return ready.left_out(spared)


def _replaced(
    stack: Stack,
    loop: ReplacesTraining,
    model: nn.Module,
    data: Split,
    recipe: Recipe,
    defender: DefenderData,
) -> dict[str, Any]:
    """Train ``model`` in place by the loop of a defense, and return its evidence."""
    loss = stack.loss_for(defender)
    if loss is None:
        return loop.fit(model, data, recipe, seed=defender.seed, inputs=stack.inputs)
    # `Stack.of` lets a loss come only to a loop that takes it.
    taking = cast("FitsToLoss", loop)
    return taking.fit(model, data, recipe, seed=defender.seed, inputs=stack.inputs, loss=loss)


def _second(method: Method, data: Split, defender: DefenderData) -> nn.Module:
    """The second model of a guard, as its owner trains it on part of the collected ``data``."""
    (guard,) = registry.defenses((method,))
    assert isinstance(guard, GuardsBySecond)
    part = data.take(guard.second(len(data), defender.seed).to(data.x.device))
    model = defender.train(part)
    check_training(model, part.x)
    return model


def _surrogate(job: Job, held: Split) -> nn.Module:
    """What the thief of ``job`` learns from the labels of the examples ``held``."""
    assert job.thief is not None
    data = AuxiliaryData(
        aux=replace(held, z={}),
        num_classes=job.num_classes,
        architecture=job.architecture,
        input_shape=job.input_shape,
        columns=held.columns,
    )
    thief = registry.attack(job.thief)
    assert isinstance(thief, LearnsLabels)
    return thief.unasked(data, seed=job.seed)
