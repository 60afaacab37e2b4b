"""Every attack and every defense by name, written out in one place.

Methods are named by where they live, so that a list of names costs no import of torch. Other
packages add theirs with the entry point groups ``harness.attacks``, ``harness.defenses`` and
``harness.metrics``.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeVar, get_args, get_origin, overload

from harness.results import Method, Value
from harness.types import Access, Attack, Aux, Defense, Part, Risk
from zoo import plugins
from zoo.errors import UnknownNameError, ZooError, unknown
from zoo.plugins import LeftOut, Plugins

Kind = Literal["attack", "defense"]
PluginKind = Literal["attack", "defense", "metric"]
AttackOrDefense = Attack | Defense
OneMethod = TypeVar("OneMethod", bound=AttackOrDefense)

ATTACKS = {
    "apgd-ce": "harness.attacks.apgd:APGDCE",
    "apgd-t": "harness.attacks.apgd_t:APGDT",
    "attribute-embeddings": "harness.attacks.attribute_embeddings:AttributeEmbeddings",
    "attribute-scores": "harness.attacks.attribute_scores:AttributeScores",
    "autoattack": "harness.attacks.autoattack:AutoAttack",
    "badnets": "harness.attacks.badnets:BadNets",
    "blended": "harness.attacks.blended:Blended",
    "boundary": "harness.attacks.boundary:Boundary",
    "canary-audit": "harness.attacks.canary_audit:CanaryAudit",
    "correctness": "harness.attacks.correctness:Correctness",
    "data-free": "harness.attacks.data_free:DataFree",
    "distillation": "harness.attacks.distillation:Distillation",
    "distribution-kl": "harness.attacks.distribution_kl:KLDivergence",
    "distribution-loss": "harness.attacks.distribution_loss:LossTest",
    "distribution-pin": "harness.attacks.distribution_pin:PermutationInvariantNetwork",
    "distribution-threshold": "harness.attacks.distribution_threshold:ThresholdTest",
    "fab-t": "harness.attacks.fab_t:FABT",
    "feature-trigger": "harness.attacks.feature_trigger:FeatureTrigger",
    "fgsm": "harness.attacks.fgsm:FGSM",
    "fine-tuning": "harness.attacks.fine_tuning:FineTuning",
    "fredrikson": "harness.attacks.fredrikson:Fredrikson",
    "gmi": "harness.attacks.gmi:GMI",
    "gradient-inversion": "harness.attacks.gradient_inversion:GradientInversion",
    "group-audit": "harness.attacks.group_audit:GroupAudit",
    "knockoff": "harness.attacks.knockoff:Knockoff",
    "label-flipping": "harness.attacks.label_flipping:LabelFlipping",
    "lira": "harness.attacks.lira:LiRA",
    "loss-threshold": "harness.attacks.loss_threshold:LossThreshold",
    "mlp": "harness.attacks.mlp_membership:MLP",
    "mlp-black-box": "harness.attacks.mlp_black_box:MLPBlackBox",
    "mlp-white-box": "harness.attacks.mlp_white_box:MLPWhiteBox",
    "modified-entropy": "harness.attacks.modified_entropy:ModifiedEntropy",
    "pgd": "harness.attacks.pgd:PGD",
    "plg-mi": "harness.attacks.plg_mi:PLGMI",
    "pruning": "harness.attacks.pruning:Pruning",
    "quantile": "harness.attacks.quantile:Quantile",
    "rmia": "harness.attacks.rmia:RMIA",
    "semi-supervised": "harness.attacks.semi_supervised:SemiSupervised",
    "sig": "harness.attacks.sig:SIG",
    "square": "harness.attacks.square:Square",
    "tabular-inversion": "harness.attacks.tabular_inversion:TabularInversion",
    "transfer": "harness.attacks.transfer:Transfer",
    "wanet": "harness.attacks.wanet:WaNet",
}

DEFENSES = {
    "abl": "harness.defenses.abl:ABL",
    "activation-clustering": "harness.defenses.activation_clustering:ActivationClustering",
    "adversarial-debiasing": "harness.defenses.adversarial_debiasing:AdversarialDebiasing",
    "adversarial-training": "harness.defenses.adversarial_training:AdversarialTraining",
    "anp": "harness.defenses.anp:ANP",
    "correlation-remover": "harness.defenses.correlation_remover:CorrelationRemover",
    "cosine-watermark": "harness.defenses.cosine_watermark:CosineWatermark",
    "dataset-inference": "harness.defenses.dataset_inference:DatasetInference",
    "dfr": "harness.defenses.dfr:DFR",
    "dpsgd": "harness.defenses.dpsgd:DPSGD",
    "early-stopping": "harness.defenses.early_stopping:EarlyStopping",
    "exponentiated-gradient": "harness.defenses.exponentiated_gradient:ExponentiatedGradient",
    "fast-adversarial-training": "harness.defenses.fast_adversarial_training:FastAdversarial",
    "fine-pruning": "harness.defenses.fine_pruning:FinePruning",
    "gaussian-noise": "harness.defenses.gaussian_noise:GaussianNoise",
    "group-dro": "harness.defenses.group_dro:GroupDRO",
    "hamp": "harness.defenses.hamp:HAMP",
    "knowledge-distillation": "harness.defenses.knowledge_distillation:KnowledgeDistillation",
    "label-only": "harness.defenses.label_only:LabelOnly",
    "label-smoothing": "harness.defenses.label_smoothing:LabelSmoothing",
    "memguard": "harness.defenses.memguard:MemGuard",
    "nad": "harness.defenses.nad:NAD",
    "negative-label-smoothing": "harness.defenses.label_smoothing:NegativeLabelSmoothing",
    "neo": "harness.defenses.neo:NEO",
    "neural-cleanse": "harness.defenses.neural_cleanse:NeuralCleanse",
    "outlier-removal": "harness.defenses.outlier_removal:OutlierRemoval",
    "radioactive-data": "harness.defenses.radioactive_data:RadioactiveData",
    "randomized-smoothing": "harness.defenses.randomized_smoothing:RandomizedSmoothing",
    "relaxloss": "harness.defenses.relaxloss:RelaxLoss",
    "reweighing": "harness.defenses.reweighing:Reweighing",
    "rounding": "harness.defenses.rounding:Rounding",
    "score-noise": "harness.defenses.score_noise:ScoreNoise",
    "spectral-signatures": "harness.defenses.spectral_signatures:SpectralSignatures",
    "strip": "harness.defenses.strip:STRIP",
    "threshold-optimizer": "harness.defenses.threshold_optimizer:ThresholdOptimizer",
    "top-k": "harness.defenses.top_k:TopK",
    "trades": "harness.defenses.trades:TRADES",
    "watermark": "harness.defenses.watermark:Watermark",
}

STANDARD: dict[Risk, tuple[str, ...]] = {
    Risk.EVASION: ("fgsm", "pgd"),
    Risk.POISONING: ("badnets",),
    Risk.EXTRACTION: ("distillation",),
    Risk.MEMBERSHIP_INFERENCE: ("correctness", "loss-threshold", "modified-entropy", "rmia"),
    Risk.DATA_RECONSTRUCTION: ("fredrikson", "gradient-inversion"),
    Risk.ATTRIBUTE_INFERENCE: ("attribute-scores", "attribute-embeddings"),
    Risk.DISTRIBUTION_INFERENCE: ("distribution-threshold", "distribution-kl"),
    Risk.DISCRIMINATORY_BEHAVIOR: ("group-audit",),
}
"""What is measured where nobody names an attack: quick, and known well enough to compare with."""

NONE = "none"
"""The name of the empty stack."""


_OURS: dict[PluginKind, dict[str, str]] = {"attack": ATTACKS, "defense": DEFENSES, "metric": {}}
"""By kind; the measures of a risk that are ours come with its game."""

DIRECTIONS = ("higher is worse", "higher is safer")
"""What a metric may say of itself."""


@cache
def _plugins(kind: PluginKind) -> Plugins:
    def wrong(name: str, found: Any) -> str | None:
        return what_is_missing(kind, name, found)

    return plugins.find(f"harness.{kind}s", kind, taken=_OURS[kind], wrong=wrong)


def left_out(kind: PluginKind) -> tuple[LeftOut, ...]:
    """The methods of other packages that cannot be used."""
    return _plugins(kind).left_out


def _import(place: str) -> type[AttackOrDefense]:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@overload
def known(kind: Literal["attack"]) -> Mapping[str, type[Attack]]: ...
@overload
def known(kind: Literal["defense"]) -> Mapping[str, type[Defense]]: ...
@overload
def known(kind: Literal["metric"]) -> Mapping[str, type[Any]]: ...
@overload
def known(kind: Kind) -> Mapping[str, type[AttackOrDefense]]: ...
@overload
def known(kind: PluginKind) -> Mapping[str, type[Any]]: ...
def known(kind: PluginKind) -> Mapping[str, type[Any]]:
    """Every attack, every defense or every metric of another package: classes by name, sorted.

    One of another package that cannot be used is left out, with a warning.
    """
    ours = {name: _import(place) for name, place in _OURS[kind].items()}
    return dict(sorted({**ours, **_plugins(kind).found}.items()))


@overload
def get(kind: Literal["attack"], name: str) -> type[Attack]: ...
@overload
def get(kind: Literal["defense"], name: str) -> type[Defense]: ...
@overload
def get(kind: Literal["metric"], name: str) -> type[Any]: ...
@overload
def get(kind: Kind, name: str) -> type[AttackOrDefense]: ...
@overload
def get(kind: PluginKind, name: str) -> type[Any]: ...
def get(kind: PluginKind, name: str) -> type[Any]:
    """The class called ``name``.

    Raises:
        UnknownNameError: With the nearest names.
    """
    ours = _OURS[kind]
    if name in ours:
        return _import(ours[name])  # without the others, which may be slow to import
    others = _plugins(kind).found
    if name not in others:
        raise unknown(kind, name, [*ours, *others, *([NONE] if kind == "defense" else [])])
    return others[name]


_FACTS: dict[PluginKind, dict[str, Any]] = {
    "attack": {"risk": Risk, "access": (tuple, Access), "aux": (tuple, Aux), "reference": str},
    "defense": {"guards": Risk, "acts_on": (frozenset, Part), "reference": str},
    "metric": {"risk": Risk, "direction": DIRECTIONS, "reference": str},
}
"""What a class has to say of itself: a value of a type, some of a type, or one of some texts."""


def what_is_missing(kind: PluginKind, name: str, loaded: Any) -> str | None:
    """Why a class can be no method called ``name``, in one line; None if it can.

    This is what no command can do without. `harness.doctor` looks closer.
    """
    if not isinstance(loaded, type):
        return f"it is no class but {loaded!r:.80}."
    found: type[Any] = loaded
    if kind != "metric" and not (is_dataclass(found) and found.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        return f"{found.__name__} is no frozen dataclass."
    if not (found.__doc__ or "").strip() or (found.__doc__ or "").startswith(f"{found.__name__}("):
        return f"{found.__name__} has no docstring."
    if getattr(found, "name", None) != name:
        named = getattr(found, "name", None)
        return f"{found.__name__}.name is {named!r}, but its entry point is {name!r}."
    for fact, wanted in _FACTS[kind].items():
        value = getattr(found, fact, None)
        if not _says(value, wanted):
            return f"{found.__name__}.{fact} wants {_in_words(wanted)}, found {value!r}."
    calls = {"attack": ("run", "poison"), "metric": ("measure",)}.get(kind, ())
    if calls and not any(callable(getattr(found, one, None)) for one in calls):
        return f"{found.__name__} has no method {' or '.join(calls)}."
    try:
        found()
    except Exception as error:  # a class may refuse in any way
        return f"{found.__name__}() without arguments fails: {type(error).__name__}: {error}"
    return None


def _says(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, type):
        return isinstance(value, wanted) and value != ""
    if wanted is DIRECTIONS:
        return value in DIRECTIONS
    collection, of = wanted
    return isinstance(value, collection) and bool(value) and all(isinstance(v, of) for v in value)


def _in_words(wanted: Any) -> str:
    if isinstance(wanted, type):
        return "a text" if wanted is str else f"a {wanted.__name__}"
    if wanted is DIRECTIONS:
        return " or ".join(map(repr, DIRECTIONS))
    return f"a {wanted[0].__name__} of {wanted[1].__name__}"


def default(kind: Kind, name: str, setting: str) -> Value:
    """What a setting is if nobody gives it; None also for a method or a setting not known here."""
    try:
        method = get(kind, name)
    except UnknownNameError:  # of a package that is not installed here
        return None
    found = {field.name: field.default for field in fields(method)}.get(setting)
    return None if found is MISSING else found


@overload
def make(kind: Literal["attack"], name: str, settings: Mapping[str, Value]) -> Attack: ...
@overload
def make(kind: Literal["defense"], name: str, settings: Mapping[str, Value]) -> Defense: ...
@overload
def make(kind: Kind, name: str, settings: Mapping[str, Value]) -> AttackOrDefense: ...
def make(kind: Kind, name: str, settings: Mapping[str, Value]) -> AttackOrDefense:
    """The method called ``name`` with these settings; texts are read as their field's type.

    Raises:
        ZooError: A field is unknown or its value does not fit.
    """
    method = get(kind, name)
    hints = typing.get_type_hints(method)
    own = {f.name for f in fields(method)}
    for key in settings:
        if key not in own:
            raise unknown(f"setting of {name}", key, own)
    return method(**{k: parse(v, hints[k], f"{name}.{k}") for k, v in settings.items()})


def changed(method: OneMethod, settings: Mapping[str, Value]) -> OneMethod:
    """The same method with some settings replaced."""
    return replace(method, **settings)


def parse(value: Value, hint: Any, name: str) -> Value:
    """``value`` as the type that ``hint`` names.

    Args:
        value: Text from the command line, or a value that already fits.
        hint: ``int``, ``float``, ``str``, ``bool``, a ``Literal`` of texts, or a union of them.
        name: For the message.

    Raises:
        ZooError: No reading of the text fits.
    """
    if not isinstance(value, str):
        return value
    options: tuple[Any, ...] = (
        get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    )
    if type(None) in options and value.lower() in ("none", "null"):
        return None  # before any text, which it would be, too
    for option in options:
        if option is type(None):
            continue
        if get_origin(option) is Literal:
            if value in get_args(option):
                return value
        elif option is bool:
            if value.lower() in ("true", "false"):
                return value.lower() == "true"
        else:
            try:
                found: str | int | float = _fraction(value) if option is float else option(value)
            except ValueError:
                continue
            if not isinstance(found, float) or math.isfinite(found):
                return found
    wanted = " or ".join(
        "|".join(get_args(o)) if get_origin(o) is Literal else getattr(o, "__name__", str(o))
        for o in options
    ).replace("NoneType", "none")
    raise ZooError(f"{name} wants {wanted}, found {value!r}.")


def _fraction(text: str) -> float:
    """A number, or a quotient of two as papers write radii: ``8/255``."""
    above, slash, below = text.partition("/")
    if not slash:
        return float(text)
    try:
        return float(above) / float(below)
    except ZeroDivisionError:
        raise ValueError(text) from None


def describe(method: AttackOrDefense) -> Method:
    """A method as a record: name, all settings, and a label with those that were changed."""
    params = tuple(sorted((f.name, getattr(method, f.name)) for f in fields(method)))
    changed = [
        f"{f.name}={getattr(method, f.name)}"
        for f in fields(method)
        if f.default is MISSING or getattr(method, f.name) != f.default
    ]
    label = f"{method.name}({', '.join(changed)})" if changed else method.name
    return Method(method.name, params, label, getattr(method, "guards", None))


def defenses(stack: Sequence[Method]) -> list[Defense]:
    """The defenses that records name."""
    return [make("defense", method.name, dict(method.params)) for method in stack]


def attack(method: Method) -> Attack:
    """The attack that a record names."""
    return make("attack", method.name, dict(method.params))


def settings(texts: Sequence[str]) -> dict[str, str]:
    """``["a=1", "b.c=2"]`` as a dict.

    Raises:
        ZooError: A text has no ``=``, or a field is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ZooError(f"--set wants field=value, found {text!r}.")
        key, value = key.strip(), value.strip()
        if key in found:
            raise ZooError(
                f"--set gives {key} twice, as {found[key]} and as {value}. Give it once; several "
                f"values to measure one by one have commas between: {key}={found[key]},{value}."
            )
        found[key] = value
    return found
