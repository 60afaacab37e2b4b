"""The pool of shadow models: one for each dataset, architecture and stack, shared by all seeds.

Shadow ``k`` is trained on as many examples as the target, a quarter of all. Four consecutive ones
share out the dataset, so each example is in the training data of one of them and not of the others.
The target of any seed is trained on a random quarter too, so every shadow imitates it. The examples
whose membership is in question are among them, as in Carlini et al. (2022): the attacker has them,
and does not know which of them the target has seen. What a shadow model's own defenses left out of
its training it was not trained on, and who trains it knows.

References:
    Shokri et al. (2017). Membership Inference Attacks Against Machine Learning Models. IEEE S&P.
    Carlini et al. (2022). Membership Inference Attacks From First Principles. IEEE S&P.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from harness.attacks.shared.attacker_data import Shadow
from harness.data.dataset import Dataset
from harness.games.game import ModelRequest, Scenario, ScenarioSpec, remaining
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Regime, ThreatModel, UnfitError

PURPOSE = "shadows"
"""What these models are called in `harness.games.game.Scenario.others`."""

GROUP = 4
"""Shadows that share out the dataset among them."""


def check(count: int, spec: ScenarioSpec) -> None:
    """Refuse shadow models of a target that nobody can train again.

    Args:
        count: Shadow models that the attack uses.
        spec: Of the attack.

    Raises:
        NotApplicableError: The target is a published model as downloaded.
    """
    if count and spec.regime is Regime.PUBLISHED:
        raise UnfitError(
            "Shadow models imitate the target's training, which nobody can repeat for a published "
            "model. Choose an attack without shadow models, such as modified-entropy or quantile."
        )


def index(dataset: Dataset, regime: Regime, k: int) -> Tensor:
    """Rows (n,) int64 of ``dataset`` that shadow ``k`` is trained on."""
    group, part = divmod(k, GROUP)
    rng = np.random.default_rng(derive("shadow split", dataset.fingerprint, regime, group))
    start = 0 if regime is Regime.FROM_SCRATCH else dataset.n_train
    order = start + rng.permutation(len(dataset) - start)
    size = len(order) // GROUP
    return torch.from_numpy(order[part * size : (part + 1) * size])


def model_requests(count: int, spec: ScenarioSpec) -> tuple[ModelRequest, ...]:
    """The trainings of the first ``count`` shadows, as the attacker's knowledge allows."""
    return tuple(
        ModelRequest(
            index=index(spec.dataset, spec.regime, k),
            defended=spec.threat.adaptive,
            seed=derive("shadow", k),
            guarded=_guarded(spec.threat),
        )
        for k in range(count)
    )


def _guarded(threat: ThreatModel) -> bool:
    """Whether the shadows answer as the target does; whoever has weights leaves its guards out."""
    return threat.adaptive and threat.access is not Access.WEIGHTS


def of(scenario: Scenario, *, points: Tensor, aux: Tensor) -> tuple[Shadow, ...]:
    """The trained shadows, as this threat model lets the attacker use them.

    Args:
        scenario: Has the models.
        points: Rows of the dataset (n,) whose membership is in question.
        aux: Rows of the dataset (m,) that the attacker holds besides.
    """
    models: Sequence[nn.Module] = scenario.others.get(PURPOSE, ())
    content = scenario.dataset.content
    found = []
    decided = scenario.others_left_out.get(PURPOSE, [None] * len(models))
    made_as = model_requests(len(models), scenario.spec)
    for model, made, left_out in zip(models, made_as, decided, strict=True):
        if made.guarded:
            model = scenario.guarded(model, made)
        held = content[remaining(made.index, left_out)]
        found.append(
            Shadow(
                box=BlackBox(model, scenario.threat.access),
                members=torch.isin(content[points], held).to(scenario.device),
                aux_members=torch.isin(content[aux], held).to(scenario.device),
            )
        )
    return tuple(found)
