"""Distribution inference: say of which of two distributions a model's training data were drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from harness.attacks.shared.distribution_attack import (
    WORLDS,
    DistributionAttack,
    Suspects,
    TrainsModels,
)
from harness.data.examples import Split
from harness.data.populations import Populations
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.metrics.distribution import distribution
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, NotApplicableError, Regime, UnfitError
from zoo.errors import ZooError

VICTIMS = "victims"
OWN = "own models"
TESTS = "tests"

CUSTOMARY = 1_000
"""Examples that a model is trained on where the attack does not say and the data have as many.

More are not better: own models share more of the attacker's examples then, and what is learnt from
them may be about those. On 2,700 rows of Adult a classifier of weights told 90 % of further own
models apart, but 53 % of the victims, whose examples are others; on 1,000 it told 85 % and 75 %.
"""


def _populations(attack: DistributionAttack, spec: ScenarioSpec) -> Populations:
    assert attack.attribute is not None, "resolve() fills it in"
    assert attack.value is not None, "likewise"
    return Populations(
        dataset=spec.dataset,
        attribute=attack.attribute,
        value=attack.value,
        ratios=(attack.ratio0, attack.ratio1),
    )


def _pools(spec: ScenarioSpec) -> dict[str, Tensor]:
    """Who draws from which examples: nobody trains on another's, or on the attacker's tests."""
    quarters = spec.quarters
    half = len(quarters.shadow_test) // 2
    return {
        VICTIMS: torch.cat([quarters.target_train, quarters.target_test]),
        OWN: torch.cat([quarters.shadow_train, quarters.shadow_test[:half]]),
        TESTS: quarters.shadow_test[half:],
    }


def _size(attack: DistributionAttack, spec: ScenarioSpec, populations: Populations) -> int:
    """How many examples every model is trained on.

    Raises:
        NotApplicableError: They leave a class empty.
        ZooError: Not so many can be had.
    """
    pools = _pools(spec)
    most = populations.largest((pools[VICTIMS], pools[OWN]))
    size = min(most, CUSTOMARY) if attack.train_size is None else attack.train_size
    if size > most:
        raise ZooError(
            f"{attack.name} wants {size} examples for every model, but with {populations} at "
            f"{attack.ratio0:g} and at {attack.ratio1:g} the data of {spec.dataset.name} give "
            f"at most {most}. Lower train_size."
        )
    empty = np.flatnonzero((populations.sizes(size).sum(2) == 0).any(0))
    if len(empty):
        raise NotApplicableError(
            f"{size} examples with {populations} at {attack.ratio0:g} and at {attack.ratio1:g} "
            f"leave class {empty[0]} of {spec.dataset.name} empty. Choose ratios nearer to "
            f"{populations.share(slice(None)):.2f}, or another attribute or train_size."
        )
    return size


def _test_size(spec: ScenarioSpec, populations: Populations) -> int:
    """How many examples of each world every model is asked about."""
    most = populations.largest((_pools(spec)[TESTS],))
    return most if spec.threat.queries is None else min(most, spec.threat.queries // WORLDS)


def check(attack: DistributionAttack, spec: ScenarioSpec) -> None:
    """Refuse two worlds that the data cannot give.

    Raises:
        NotApplicableError: Nobody can train victims of a published model as downloaded, or a ratio
            leaves a class empty.
        ZooError: There are fewer examples than wanted.
    """
    if spec.regime is Regime.PUBLISHED:
        raise UnfitError(
            "Distribution inference is judged on victims that are trained like the target, which "
            "nobody can do for a published model. Choose a self-trained model."
        )
    populations = _populations(attack, spec)
    _size(attack, spec, populations)
    if not _test_size(spec, populations):
        raise ZooError(
            f"{attack.name} asks about an example of each of {WORLDS} worlds at least, but the "
            f"query budget or {spec.dataset.name} gives fewer. Raise --queries, or choose "
            f"ratios nearer to {populations.share(slice(None)):.2f}."
        )


def needs(attack: DistributionAttack, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """As many victims, and as many own models, of either world; world 0 first.

    They depend on the worlds and the seed alone, so that attacks share them.
    """
    populations = _populations(attack, spec)
    size = _size(attack, spec, populations)
    own = attack.models if isinstance(attack, TrainsModels) else 0
    pools = _pools(spec)
    request = ((VICTIMS, attack.victims, True), (OWN, own, spec.threat.adaptive))
    return {
        purpose: tuple(
            ModelRequest(
                index=populations.draw(
                    pools[purpose],
                    world,
                    size,
                    seed=derive("distribution", purpose, spec.seed, world, k),
                ),
                defended=defended,
                seed=derive("distribution training", purpose, spec.seed, world, k),
                guarded=defended and spec.threat.access is not Access.WEIGHTS,
            )
            for world in range(WORLDS)
            for k in range(count)
        )
        for purpose, count, defended in request
    }


def play(attack: DistributionAttack, scenario: Scenario) -> Outcome:
    """Let the attacker judge the victims of both worlds, and the target besides."""
    spec = scenario.spec
    populations = _populations(attack, spec)
    victims = tuple(_boxes(VICTIMS, attack, scenario, budget=scenario.threat.queries))
    own = tuple(_boxes(OWN, attack, scenario, budget=None))
    half = len(own) // WORLDS
    data = Suspects(
        **vars(scenario.attacker()),
        victims=victims,
        own=(own[:half], own[half:]),
        tests=_tests(scenario, populations),
    )
    target = scenario.bare_target()
    scores = np.asarray(attack.run(target, data, seed=scenario.seed).double().cpu())
    world = np.repeat(np.arange(WORLDS), len(victims) // WORLDS)
    first = float(scores[0])
    looks = attack.ratio1 if first > 0 else attack.ratio0 if first < 0 else None
    metrics = distribution(scores[1:], world, ratio0=attack.ratio0, ratio1=attack.ratio1)
    return Outcome(
        metrics={
            **metrics,
            "target_score": first,
            "target_looks_like": looks,
            "target_ratio": populations.share(scenario.quarters.target_train.numpy()),
            "queries": float(target.queries),
        },
        samples={"world": world, "score": scores[1:]},
        notes={
            "property": str(populations),
            "train_size": _size(attack, spec, populations),
            "test_size": _test_size(spec, populations),
        },
    )


def _boxes(
    purpose: str, attack: DistributionAttack, scenario: Scenario, *, budget: int | None
) -> Iterator[BlackBox]:
    """The models of one purpose as this threat model shows them; world 0 first."""
    models = scenario.others.get(purpose, ())
    for model, made in zip(models, needs(attack, scenario.spec)[purpose], strict=True):
        if made.guarded:
            model = scenario.guarded(model, made)
        yield BlackBox(model, scenario.threat.access, budget=budget)


def _tests(scenario: Scenario, populations: Populations) -> tuple[Split, Split]:
    """For each world, examples of the attacker's that no model was trained on."""
    spec = scenario.spec
    pool, size = _pools(spec)[TESTS], _test_size(spec, populations)
    first, second = (
        scenario.examples_at(
            populations.draw(
                pool, world, size, seed=derive("distribution", TESTS, spec.seed, world)
            )
        )
        for world in range(WORLDS)
    )
    return first, second
