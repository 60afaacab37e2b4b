"""Cells, evaluations and interactions: the records that everything else reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypedDict

from harness.types import Access, Aux, Cause, Regime, Risk, ThreatModel
from zoo.files import digest
from zoo.recipe import Recipe

RESULT_FORMAT = 3
"""Part of every cell's key: raise it when the meaning of a stored number changes.

Cells of an earlier format are kept and shown as old, and are measured again when asked for.
"""

STANDARD_BUDGET = 12
"""Candidates that tuning tries unless somebody says how many: what ``tuned`` alone stands for."""

Value = str | int | float | bool | None


def tuned_label(budget: int) -> str:
    """What a tuned model or defense is called: ``tuned``, ``tuned=20``."""
    return "tuned" if budget == STANDARD_BUDGET else f"tuned={budget}"


@dataclass(frozen=True)
class Method:
    """An attack or a defense with all its settings.

    Attributes:
        name: Key of the registry.
        params: Every field of the method, sorted by name, defaults included.
        label: For people: the name, and the settings that are not defaults.
        guards: The risk that a defense is meant for; None for an attack.
        row: Id of the row of a preset that an attack is; empty if it is none.
    """

    name: str
    params: tuple[tuple[str, Value], ...] = ()
    label: str = field(default="", compare=False)
    guards: Risk | None = field(default=None, compare=False)
    row: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.label or self.name


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is evaluated, and so the key of an `Evaluation`.

    Attributes:
        model: Name in the catalog.
        model_key: Digest of what determines the model: recipe and architecture, or weights.
        dataset: Name of the dataset.
        fingerprint: Digest of the dataset's contents.
        regime: How the model comes to its weights.
        stack: The defenses, sorted by name; empty for the undefended model.
        risk: The risk under measurement.
        attack: The attack.
        threat: What the attacker has.
        seed: Fixes split, initialisation, batch order and the attack's randomness.
        tuned: The settings that were chosen by tuning, sorted by name: ``dpsgd.lr``,
            ``recipe.epochs``; empty if nothing was tuned.
        ood_fingerprint: Digest of the contents of the attacker's other dataset; None if there is
            none.
        constants: What the dataset says besides its contents and a metric is made with, sorted by
            name.
        recipe: The settings of the training recipe that the request changed, in the recipe's
            order; empty where nothing is trained.
        budget: How many candidates tuning tried; 0 if nothing was tuned.
        source_weights: First 12 hex digits of the sha256 of the weights of the model that the
            attacker brings along; None if it brings none.
        examples: How many examples each quarter has at most; None for all there are.
    """

    model: str
    model_key: str
    dataset: str
    fingerprint: str
    regime: Regime
    stack: tuple[Method, ...]
    risk: Risk
    attack: Method
    threat: ThreatModel
    seed: int
    tuned: tuple[tuple[str, Value], ...] = ()
    ood_fingerprint: str | None = None
    constants: tuple[tuple[str, Value], ...] = ()
    recipe: tuple[tuple[str, Value], ...] = ()
    budget: int = 0
    source_weights: str | None = None
    examples: int | None = None

    @property
    def model_label(self) -> str:
        """The model for people: ``digits-cnn``, ``digits-cnn(epochs=5, tuned)``."""
        changes = [f"{name}={value}" for name, value in self.recipe]
        changes += [tuned_label(self.budget)] if self.budget else []
        return f"{self.model}({', '.join(changes)})" if changes else self.model

    @property
    def defense(self) -> str:
        """The stack for people: ``none``, ``dpsgd``, ``dpsgd+watermark``."""
        return "+".join(map(str, self.stack)) or "none"

    @property
    def key(self) -> str:
        """Digest of everything that determines the evaluation; words for people do not count.

        What has a field today stood in a text when the first cells were stored, and is digested as
        that text, so that their keys are still theirs.
        """
        spec = self.to_dict()
        del spec["recipe"], spec["budget"]
        spec["model"] = self.model_label
        weights = spec.pop("source_weights", None)
        if weights is not None:
            params = spec["attack"]["params"]
            params["source"] = f"{params['source']}@{weights}"
        for method in (spec["attack"], *spec["stack"]):
            del method["label"], method["guards"]
            method.pop("row", None)
        return digest({"format": RESULT_FORMAT, **spec})

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` reads it back."""
        record = asdict(self)
        if self.threat.partial is None:  # as in records from before there was such a fact
            del record["threat"]["partial"]
        record["tuned"] = dict(record["tuned"])
        if not record["tuned"]:  # likewise
            del record["tuned"]
        for method in (record["attack"], *record["stack"]):
            method["params"] = dict(method["params"])
            if not method["row"]:  # likewise
                del method["row"]
        record["stack"] = list(record["stack"])
        record["constants"] = dict(record["constants"])
        record["recipe"] = [list(setting) for setting in record["recipe"]]  # JSON keeps its order
        if record["source_weights"] is None:  # likewise
            del record["source_weights"]
        if record["examples"] is None:  # likewise
            del record["examples"]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Cell:
        """The cell that `to_dict` wrote, now or before a field was added."""

        def method(spec: Mapping[str, Any]) -> Method:
            guards = Risk(spec["guards"]) if spec["guards"] else None
            params = tuple(sorted(spec["params"].items()))
            return Method(spec["name"], params, spec["label"], guards, spec.get("row", ""))

        rest = _with_fields(record)
        threat = dict(rest.pop("threat"))
        return cls(
            regime=Regime(rest.pop("regime")),
            stack=tuple(method(spec) for spec in rest.pop("stack")),
            risk=Risk(rest.pop("risk")),
            attack=method(rest.pop("attack")),
            tuned=tuple(sorted(rest.pop("tuned", {}).items())),
            constants=tuple(sorted(rest.pop("constants", {}).items())),
            recipe=tuple((name, value) for name, value in rest.pop("recipe")),
            threat=ThreatModel(
                access=Access(threat.pop("access")), aux=Aux(threat.pop("aux")), **threat
            ),
            **rest,
        )


def _with_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a cell, with fields for what stood in its texts when it was stored."""
    found = dict(record)
    if "recipe" not in found:
        found["model"], _, changes = record["model"].partition("(")
        settings = [
            tuple(change.split("=", 1)) if "=" in change else (change, "")
            for change in (changes.removesuffix(")").split(", ") if changes else ())
        ]
        tried = dict(settings).get("tuned")
        found["budget"] = 0 if tried is None else int(tried or STANDARD_BUDGET)
        found["recipe"] = [(k, _recipe_value(k, v)) for k, v in settings if k != "tuned"]
        source = record["attack"]["params"].get("source")
        if source and "@" in source:
            name, _, found["source_weights"] = source.rpartition("@")
            params = {**record["attack"]["params"], "source": name}
            found["attack"] = {**record["attack"], "params": params}
    return found


def _recipe_value(name: str, text: str) -> Value:
    """A setting of the recipe that was written out for people."""
    kind = {one.name: one.type for one in fields(Recipe)}.get(name)
    return int(text) if kind is int else float(text) if kind is float else text


Status = Literal["ok", "failed", "not applicable"]


class Provenance(TypedDict, total=False):
    """What a number may depend on besides what its cell says.

    Attributes:
        packages: Versions, by name.
        python: Its version.
        device: Name of the accelerator, or ``cpu``.
        threads: Of torch.
        dtype: Of the computation.
        split: Digest of who holds which examples.
        attributes_in_features: Sensitive attributes that the inputs state.
        samples: Rows of the per-example columns.
        weights: sha256 of the target's.
        artifact: Key of the training that made it; absent of a published model as downloaded.
        trained_together: How many models were trained in one call with it.
        training_seconds: Of its training, or of its share.
        backdoored: Whether the catalog lists a published model as backdoored.
        source: sha256 of the attacker's other model.
        code: Version of this program.
    """

    packages: dict[str, str]
    python: str
    device: str
    threads: int
    dtype: str
    split: str
    attributes_in_features: list[str]
    samples: int
    weights: str
    artifact: str
    trained_together: int
    training_seconds: float
    backdoored: bool
    source: str
    code: str


class Budget(TypedDict, total=False):
    """What a differentially private training spent.

    Attributes:
        dp_epsilon: The smallest bound there is.
        dp_epsilon_rdp: By Renyi divergences.
        dp_epsilon_prv: By privacy loss random variables.
        dp_delta: What they hold for.
        noise_multiplier: Standard deviation of the noise over the clipping norm.
    """

    dp_epsilon: float | None
    dp_epsilon_rdp: float
    dp_epsilon_prv: float
    dp_delta: float
    noise_multiplier: float


class PartialBudget(Budget, total=False):
    """A budget that holds for part of what touched the private examples.

    Attributes:
        leaves_out: What it is without, in words.
        given_settings: Whether that is the choice of settings alone.
    """

    leaves_out: list[str]
    given_settings: bool


class Evidence(Budget, total=False):
    """What defenses and games say for themselves. Methods add facts of their own.

    Attributes:
        dp_epsilon_without: In place of a budget that does not hold for the whole model; see
            `harness.games.privacy.claimed`.
        flags: Reasons to doubt what was measured.
        members_matched: Whether members and non-members were equally many of each class.
        tuning: What was tried and chosen; see `harness.experiment.tuning_run.Tunings.get`.
    """

    dp_epsilon_without: PartialBudget
    flags: list[str]
    members_matched: bool
    tuning: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One measured cell, with everything needed to measure it again.

    Attributes:
        cell: What was measured.
        status: ``failed`` is tried again by the next run; ``not applicable`` is final.
        reason: Why it failed or does not apply, or why its susceptibility is not defined; None if
            it was measured and is.
        cause: What it was lost to; None if it was measured, or if nobody said, which is taken for
            `Cause.DATA`.
        metrics: Raw values by name; None where a metric is not defined for this cell.
        primary: The metric that susceptibility is made from.
        susceptibility: In [0, 1] up to noise: 0 is what the attacker has without the model, 1 is
            total; not clipped.
        utility: Accuracy of the (defended) target on data it was not trained on.
        evidence: What the defense says for itself. A spent (dp_epsilon, dp_delta) is a claim about
            the whole model; where something is not covered, see `harness.games.privacy.claimed`.
        provenance: Weights' sha256, split, versions, device, dtype.
        seconds: Wall time of the attack and its metrics, without training the target.
        peak_memory_mb: Of the process that measured, up to the end of this cell.
    """

    cell: Cell
    status: Status
    reason: str | None = None
    cause: Cause | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    primary: str | None = None
    susceptibility: float | None = None
    utility: float | None = None
    evidence: Evidence = field(default_factory=Evidence)
    provenance: Provenance = field(default_factory=Provenance)
    seconds: float = 0.0
    peak_memory_mb: float | None = None

    @property
    def is_lost_to_data(self) -> bool:
        """Whether it was not measured, and other examples might have made it measurable."""
        return self.status != "ok" and self.cause in (None, Cause.DATA)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the cell, which is stored beside it."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "cell"}
        return record | {"metrics": dict(self.metrics)}

    @classmethod
    def from_dict(cls, cell: Cell, record: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_dict` wrote, now or before a field was added."""
        values = dict(record)
        cause = values.pop("cause", None)
        return cls(cell=cell, cause=None if cause is None else Cause(cause), **values)


Verdict = Literal[
    "increases",
    "decreases",
    "no effect",
    "unresolved",
    "defense not effective",
    "failed",
    "not applicable",
]


@dataclass(frozen=True, kw_only=True)
class OtherMeasure:
    """What a stack does to a risk by another metric than the primary one, paired by seed.

    All numbers are of the raw metric, over the seeds where both sides have it.

    Attributes:
        name: Of the metric.
        n_seeds: Number of pairs.
        baseline: Mean without the stack.
        defended: Mean with it.
        effect: Mean paired difference, defended - baseline; the metric says which way is better.
        ci_low: Lower end of the 95 % interval of the effect; None with one pair.
        ci_high: Upper end.
        p: Of no effect, not corrected for how many are looked at.
        interval: What the interval is over: ``seeds and examples``, ``examples`` or ``seeds``.
        direction: ``higher is worse`` or ``higher is safer``, of the metrics of other packages;
            None of ours.
    """

    name: str
    n_seeds: int
    baseline: float
    defended: float
    effect: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    interval: str = "seeds"
    direction: str | None = None


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One risk measured without and with a defense stack, paired by seed.

    ``effect``, its interval, ``p`` and ``q`` are about susceptibility: above 0, the stack makes
    the risk worse. All numbers are None where nothing could be measured.

    Attributes:
        model: The model, for people: with changes of its recipe and its tuning.
        dataset: Name of the dataset.
        regime: Both sides are of this regime.
        defense: The stack, for people.
        defense_params: Every setting of every defense of the stack.
        guards: The risks the stack is meant for.
        risk: The risk that was measured.
        intended: Whether the stack is meant for this risk.
        attack: The attack, for people.
        attack_params: Every setting of the attack.
        threat_model: What the attacker has, for people.
        metric: Name of the primary metric.
        n_seeds: Number of pairs.
        baseline: Mean of the raw metric without the stack.
        defended: Mean of the raw metric with the stack.
        baseline_susceptibility: Mean susceptibility without the stack.
        defended_susceptibility: Mean susceptibility with the stack.
        effect: Mean over seeds of the paired difference in susceptibility.
        ci_low: Lower end of the 95 % interval of the effect.
        ci_high: Upper end.
        p: Two-sided, of no effect, from the same variance as the interval.
        q: Benjamini-Hochberg, within the family.
        p_equivalence: Two one-sided tests that the effect lies within the margin.
        verdict: What may be said.
        verdict_note: Why, in words: the reason of a failure, or what the efficacy check found.
        baseline_utility: Mean accuracy without the stack.
        defended_utility: Mean accuracy with it.
        utility_delta: Mean paired change in accuracy.
        metrics: For every raw metric its mean without and with the stack.
        seeds: The seeds that were paired.
        evidence: What the defense says for itself, from the first seed.
        model_key: Digest of recipe or weights: models of one name may differ in it.
        fingerprint: Digest of the dataset's contents: datasets of one name may differ in it, as a
            table does that was edited.
        n_failed: Seeds whose measurement failed on either side, and which are not in the means.
        q_equivalence: ``p_equivalence``, corrected like ``q``.
        other_measures: Effects on other measures of the same risk, which a defense may be made for.
        aims_met: What the stack is shown to do for its own risk by those, in words.
        interval: What the interval is over, and so what the effect generalises to: ``seeds and
            examples``, ``examples`` or ``seeds``.
        seeds_needed: About how many seeds would resolve an effect of this size; None if no number
            would.
        access: What the attacker may read.
        adaptive: Whether the attacker's own models have the stack too, if it trains any.
        n_not_applicable: Seeds on which a side turned out not to apply.
        n_undefined: Seeds that were measured and have no susceptibility on a side.
        n_lost_to_data: Of the seeds that failed or did not apply, those that other examples might
            have kept: the seeds that are left are no random choice.
        flags: Reasons to doubt the measurements, and at how many seeds of which side.
        proofs: What the stack finds more often than it is wrong, in words.
        nothing_to_lower: Whether the stack is to guard against poisoning and nobody poisoned.
        false_alarms: What its detectors found there, in words.
        members_matched: Whether members and non-members are alike before any training, also where
            the stack drops examples.
        disagreement: Why two readings of the same cells exclude a verdict, in words.
        guards_held: Those of ``guards`` that the stack is shown to lower, and that decide here.
        guards_failed: Those that it is not shown to lower.
        model_name: Name in the catalog.
        attack_name: The attack's key in the registry.
        attack_row: Id of the row of a preset that it is; empty if it is none.
        source_weights: See `Cell`.
    """

    model: str
    dataset: str
    regime: Regime
    defense: str
    defense_params: Mapping[str, Mapping[str, Value]]
    guards: tuple[Risk, ...]
    risk: Risk
    intended: bool
    attack: str
    attack_params: Mapping[str, Value]
    threat_model: str
    metric: str | None
    n_seeds: int
    baseline: float | None
    defended: float | None
    baseline_susceptibility: float | None
    defended_susceptibility: float | None
    effect: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    q: float | None
    p_equivalence: float | None
    verdict: Verdict
    verdict_note: str
    baseline_utility: float | None
    defended_utility: float | None
    utility_delta: float | None
    metrics: Mapping[str, tuple[float | None, float | None]]
    seeds: tuple[int, ...]
    evidence: Evidence
    model_key: str = ""
    fingerprint: str = ""
    n_failed: int = 0
    q_equivalence: float | None = None
    other_measures: tuple[OtherMeasure, ...] = ()
    aims_met: tuple[str, ...] = ()
    interval: str = "seeds"
    seeds_needed: int | None = None
    access: Access = Access.WEIGHTS
    adaptive: bool = True
    n_not_applicable: int = 0
    n_undefined: int = 0
    n_lost_to_data: int = 0
    flags: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    nothing_to_lower: bool = False
    false_alarms: str = ""
    members_matched: bool = True
    disagreement: str = ""
    guards_held: tuple[Risk, ...] = ()
    guards_failed: tuple[Risk, ...] = ()
    model_name: str = ""
    attack_name: str = ""
    attack_row: str = ""
    source_weights: str | None = None
