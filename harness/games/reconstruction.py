"""Data reconstruction: show what the target was trained on, a class or single examples.

Examples that a defense left out of the training are no part of the truth.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from harness.attacks.protocol import AuxiliaryData, InvertsModels
from harness.attacks.shared.attacker_data import InvertsGradients, Released
from harness.data.examples import UNKNOWN, Split
from harness.data.images import rows
from harness.games.auxiliary import num_auxiliary
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.metrics.classification import accuracy
from harness.metrics.reconstruction import class_means, correlation, psnr, reconstruction
from harness.seeds import derive, generator
from harness.target import BlackBox
from harness.types import Access, Attack, Aux, NotApplicableError, Regime, UnfitError
from zoo.errors import ZooError

SHOWN = 16
"""How many reconstructions a picture shows side by side."""

SHOWN_SAMPLES = 4
"""How many of each it shows, one below the other."""


def check(attack: InvertsModels | InvertsGradients, spec: ScenarioSpec) -> None:
    """Refuse a target whose training data nobody knows, and an attacker without data.

    Raises:
        NotApplicableError: There is nothing to judge by, or nothing that the attacker holds.
        ZooError: There are fewer training examples than the attacker is to see.
    """
    members, threat = len(spec.quarters.target_train), spec.threat
    if not members:
        raise UnfitError(
            "Data reconstruction is judged by what the model was trained on; its dataset has no "
            "official split that would tell. Choose other risks with --risk."
        )
    if isinstance(attack, InvertsGradients) and attack.batch * attack.observed > members:
        raise ZooError(
            f"{attack.name} looks at {attack.observed} steps of {attack.batch} training examples, "
            f"but there are {members}. Lower observed or batch."
        )
    held = num_auxiliary(threat, spec.quarters, spec.ood_size)
    if threat.aux is not Aux.NONE and not held:
        raise NotApplicableError(
            f"The attacker's {threat.ood or threat.aux} data holds no inputs. Choose other data "
            f"with --aux."
        )


def needs(
    attack: InvertsModels | InvertsGradients, spec: ScenarioSpec
) -> Mapping[str, tuple[ModelRequest, ...]]:
    """The evaluation classifier: undefended, of data that neither target nor attacker has.

    A published model comes without a recipe to train one by.
    """
    if spec.regime is Regime.PUBLISHED:
        return {}
    request = ModelRequest(
        index=spec.quarters.target_test,
        defended=False,
        seed=derive("evaluator", spec.seed),
    )
    return {"evaluator": (request,)}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Found:
    """What an attack came back with.

    Attributes:
        x: (k, samples, *shape), of each truth one or more.
        truth: (k, *shape), a class's mean or an example.
        label: (k,) int64, their classes.
        index: (k,) int64, rows of the dataset where the truths are examples.
        sorted_aux: (k, *shape), for each class the mean of those of the attacker's own inputs that
            the target gives it; None if it has none.
    """

    x: Tensor
    truth: Tensor
    label: Tensor
    index: Tensor | None = None
    sorted_aux: Tensor | None = None


def play(attack: InvertsModels | InvertsGradients, scenario: Scenario) -> Outcome:
    """Have the attack reconstruct classes, or the examples of training steps, and compare.

    An attack on classes gives (num_classes, samples, *input_shape); one on gradients is handed
    `Released` and gives (observed, batch, *input_shape). Data of its own come without labels. The
    mean image is that of the test quarter, which neither the target nor the attacker has. An
    attacker with data of its own need not invert anything to have an idea of a class:
    ``sorted_aux_centred_correlation`` is what it gets by sorting them by the target's answers.

    Raises:
        NotApplicableError: A defense leaves fewer examples than the attacker is to see.
        RuntimeError: The attack gives something that is no input: a defect of the attack.
    """
    data = scenario.examples_at(scenario.trained_on)
    if isinstance(attack, InvertsGradients):
        found = _examples(attack, scenario)
    else:
        found = _classes(attack, scenario, data)
    samples = found.x.shape[1]
    x = found.x.flatten(0, 1)
    truth, label = (each.repeat_interleave(samples, 0) for each in (found.truth, found.label))
    test = scenario.examples_at(scenario.quarters.target_test)
    columns = reconstruction(x, truth, label, test.x.mean(0), data)
    if found.index is not None:
        columns["psnr"] = psnr(x, truth)
    if found.sorted_aux is not None:
        mean, sorted_aux = test.x.mean(0), found.sorted_aux.repeat_interleave(samples, 0)
        columns["sorted_aux_centred_correlation"] = correlation(sorted_aux - mean, truth - mean)
    metrics: dict[str, float | None] = {k: c.double().mean().item() for k, c in columns.items()}
    columns["label"] = label
    for evaluator in scenario.others.get("evaluator", ()):
        judge = BlackBox(evaluator, Access.LABELS)
        columns["evaluated"] = judge.labels(x)
        columns["mean_image_evaluated"] = judge.labels(test.x.mean(0).expand_as(x))
        metrics |= {
            "evaluation_accuracy": accuracy(columns["evaluated"], label),
            "mean_image_evaluation_accuracy": accuracy(columns["mean_image_evaluated"], label),
            "evaluator_accuracy": accuracy(judge.labels(data.x), data.y),
        }
    if found.index is not None:
        columns["index"] = found.index
    return Outcome(
        metrics=metrics,
        samples={name: column.cpu().numpy() for name, column in columns.items()},
        notes={"n": len(found.truth), "samples": samples},
        images=_pictures(found),
    )


def _classes(attack: InvertsModels, scenario: Scenario, data: Split) -> _Found:
    """Each class that the target has seen, to be compared with its mean."""
    aux = scenario.aux()
    # With their labels it would have an idea of every class without the model.
    aux = replace(aux, y=torch.full_like(aux.y, UNKNOWN))
    holds = AuxiliaryData(**vars(scenario.attacker()), aux=aux)
    x = attack.run(scenario.bare_target(), holds, seed=scenario.seed)
    num_classes = scenario.dataset.num_classes
    _check_inputs(attack, x, (num_classes, x.shape[1], *scenario.dataset.input_shape))
    present = data.y.unique()
    sorted_aux = None
    if len(aux):
        answers = BlackBox(scenario.model, Access.LABELS).labels(aux.x)
        means = class_means(Split(aux.x, answers), num_classes)[present]
        sorted_aux = torch.where(means.isnan(), aux.x.mean(0), means)  # some are given to no input
    return _Found(
        x=x[present],
        truth=class_means(data, num_classes)[present],
        label=present,
        sorted_aux=sorted_aux,
    )


def _examples(attack: InvertsGradients, scenario: Scenario) -> _Found:
    """Training examples in steps, the gradients of which the attacker sees."""
    shape = (attack.observed, attack.batch)
    trained_on, request = scenario.trained_on, attack.observed * attack.batch
    if request > len(trained_on):
        raise NotApplicableError(
            f"{attack.name} looks at {attack.observed} steps of {attack.batch} training examples, "
            f"but {scenario.stack} leaves {len(trained_on)} to train on. Let it leave out less."
        )
    order = torch.randperm(len(trained_on), generator=generator("observed", scenario.seed))
    index = trained_on[order[:request]]
    held = scenario.dataset.collected.take(index).to(scenario.device)
    x, y = held.x.unflatten(0, shape), held.y.unflatten(0, shape)
    model = copy.deepcopy(scenario.unguarded).requires_grad_()
    steps = [
        scenario.stack.release(
            model,
            held.take(step),
            scenario.defender,
            seed=derive("release", scenario.seed, i),
            evidence=scenario.evidence,
        )
        for i, step in enumerate(torch.arange(len(held), device=held.y.device).split(attack.batch))
    ]
    released = Released(
        **vars(scenario.attacker()),
        gradients=tuple(torch.stack(each) for each in zip(*steps, strict=True)),
        labels=y if attack.labels == "given" else None,
    )
    found = attack.run(scenario.bare_target(), released, seed=scenario.seed)
    _check_inputs(attack, found, (*shape, *scenario.dataset.input_shape))
    matched = torch.stack([one[_matching(one, other)] for one, other in zip(found, x, strict=True)])
    return _Found(x=matched.flatten(0, 1)[:, None], truth=held.x, label=held.y, index=index)


def _matching(found: Tensor, truth: Tensor) -> Tensor:
    """Which of ``found`` (b, ...) is compared with each of ``truth``, (b,): a step has no order."""
    from scipy.optimize import linear_sum_assignment

    error = torch.cdist(truth.flatten(1), found.flatten(1)).square()
    return torch.from_numpy(linear_sum_assignment(error.cpu().numpy())[1]).to(found.device)


def _check_inputs(attack: Attack, x: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(x.shape) != shape or not bool(((x >= 0) & (x <= 1)).all()):
        raise RuntimeError(
            f"{attack.name} has to give inputs {shape} in [0, 1], found {tuple(x.shape)} from "
            f"{x.min():.3g} to {x.max():.3g}"
        )


def _pictures(found: _Found) -> dict[str, np.ndarray]:
    """The truths, and below each its reconstructions."""
    if found.truth.dim() != 4 or found.truth.shape[1] not in (1, 3):
        return {}
    below = found.x[:SHOWN, :SHOWN_SAMPLES].movedim(1, 0)
    return {"reconstructed": rows([found.truth[:SHOWN], *below])}
