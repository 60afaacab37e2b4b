"""The nouns of the harness: plain data and protocols. Nothing here computes or touches a disk."""

from __future__ import annotations

from dataclasses import Field, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from zoo.errors import ZooError


class Cause(StrEnum):
    """What a cell was lost to, and so whether the seeds that are left are a random choice."""

    DATA = "data"  # the examples that the seed deals, or what was learnt from them
    SETTING = "setting"  # model, methods or dataset as a whole: no seed's examples change it
    MACHINE = "machine"  # what computes and stores: too little memory, a file that was altered


class NotApplicableError(ZooError):
    """An attack, a defense or a combination that cannot be here; the reason is a result."""

    cause: ClassVar[Cause] = Cause.DATA


class UnfitError(NotApplicableError):
    """One that cannot be here whatever examples the seed deals: by shape, classes, layers, kind."""

    cause = Cause.SETTING


class MachineError(ZooError):
    """Something that a measurement needs is not in the store as it was put there."""

    cause: ClassVar[Cause] = Cause.MACHINE


class Risk(StrEnum):
    """What can go wrong with a model: the eight risks of Duddu, Szyller and Asokan (2024)."""

    EVASION = "evasion"
    POISONING = "poisoning"
    EXTRACTION = "extraction"
    MEMBERSHIP_INFERENCE = "membership-inference"
    ATTRIBUTE_INFERENCE = "attribute-inference"
    DATA_RECONSTRUCTION = "data-reconstruction"
    DISTRIBUTION_INFERENCE = "distribution-inference"
    DISCRIMINATORY_BEHAVIOR = "discriminatory-behavior"


class Access(StrEnum):
    """What an attacker may read of the target, weakest first."""

    LABELS = "labels"
    SCORES = "scores"
    WEIGHTS = "weights"

    def grants(self, needed: Access) -> bool:
        """Whether an attacker with this access can do what needs ``needed``."""
        order = list(Access)
        return order.index(self) >= order.index(needed)


class Aux(StrEnum):
    """Data the attacker holds besides the points under attack."""

    NONE = "none"
    SHADOW = "shadow"  # same distribution as the training data, disjoint from it
    PARTIAL = "partial"  # a part of the training data itself
    OOD = "ood"  # another dataset


class Regime(StrEnum):
    """How a model came to its weights. Rows of different regimes are never compared."""

    FROM_SCRATCH = "from-scratch"
    FINE_TUNED = "fine-tuned"
    PUBLISHED = "published"


class Part(StrEnum):
    """Where on the pipeline a defense acts."""

    DATA = "data"
    NETWORK = "network"  # what is trained, before the training starts
    INPUTS = "inputs"
    LOSS = "loss"
    GRADIENTS = "gradients"
    SCHEDULE = "schedule"  # how long the training lasts
    MODEL = "model"
    OUTPUT = "output"
    INSPECTION = "inspection"  # flags models or inputs, changes no answer
    EVIDENCE = "evidence"  # tells later whether a model was made from this one


class Trait(StrEnum):
    """What a defense promises beyond where it acts, for those it is applied together with."""

    HOLDS_OUT = "holds-out"
    """Keeps training examples back, and tells which: it acts on the data before the others do.

    If it edits the model as well, it fits the model to them then.
    """

    WEIGHS_EXAMPLES = "weighs-examples"
    """Gives each training example a weight that depends on which there are.

    So it acts after what removes examples, and before what adds some with an attribute UNKNOWN.
    """

    FITS_TRUSTED = "fits-trusted"
    """Fits the trained model to the checked examples, whichever were left out before."""

    EDITS_ONE_NETWORK = "edits-one-network"
    """Changes layers that only a single network has, so no mixture may be given to it."""

    MAKES_MIXTURE = "makes-mixture"
    """Trains several networks that answer as one."""

    DECIDES = "decides"
    """May answer with another decision than the model's.

    So it comes before the guards that only change how a decision is shown.
    """


class Covered(StrEnum):
    """Why the guarantee of a differentially private training holds for what a defense does, too."""

    ACCOUNTED = "accounted"  # it spends, and says how much
    INDEPENDENT = "independent"  # it looks at no example: only at their number, shape and scale
    PER_EXAMPLE = "per-example"  # changes an example's input or loss by itself, before the clipping
    POST_PROCESSING = "post-processing"  # it sees the private model, and no example


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What the attacker has.

    Attributes:
        access: Enforced by what the attack is handed.
        aux: Kind of auxiliary data.
        ood: Name of the dataset if ``aux`` is ``ood``.
        queries: How many inputs the target answers; None for no limit.
        adaptive: Whether the attacker's shadow models are trained with the target's defense.
        partial: Share of the target's training data that is held if ``aux`` is ``partial``; None
            for the customary half.
    """

    access: Access
    aux: Aux = Aux.NONE
    ood: str | None = None
    queries: int | None = None
    adaptive: bool = True
    partial: float | None = None

    def __str__(self) -> str:
        words = [str(self.access), f"{self.aux}:{self.ood}" if self.ood else str(self.aux)]
        if self.partial is not None:
            words[-1] += f" {self.partial:.0%}"
        if self.queries is not None:
            words.append(f"{self.queries} queries")
        if not self.adaptive:
            words.append("naive")
        return ", ".join(words)


class Attack(Protocol):
    """One way a risk is realised: a frozen dataclass.

    Fields are hyperparameters; class variables are facts. What it does is in the protocol of its
    risk's game.

    Attributes:
        access: What the attack can make use of, weakest first; the first is the least it needs.
        aux: Kinds of auxiliary data it can use; the first is the default.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk]
    access: ClassVar[tuple[Access, ...]]
    aux: ClassVar[tuple[Aux, ...]]
    reference: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class Defense(Protocol):
    """One way to guard a model: a frozen dataclass.

    Fields are hyperparameters; class variables are facts. What it does is in the protocols of
    `harness.defenses.protocol`.

    Attributes:
        name: As it is asked for; the key of the registry.
        guards: The risk that it is meant for; what it does to the others is measured too.
        acts_on: Where on the pipeline; it has the methods of these parts.
        reference: Authors, year and link of the paper.
    """

    name: ClassVar[str]
    guards: ClassVar[Risk]
    acts_on: ClassVar[frozenset[Part]]
    reference: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
