"""What every attack is: a frozen dataclass of hyperparameters with one method ``run``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from harness.types import Access, Aux, Risk, Split

if TYPE_CHECKING:
    from harness.datasets import Dataset
    from harness.target import BlackBox


@dataclass(frozen=True, eq=False, kw_only=True)
class AttackerData:
    """What the attacker holds.

    Attributes:
        points: The examples under attack, with their true labels: inputs to perturb, or candidates
            whose membership is in question. None where the attack is on the model as a whole.
        aux: The auxiliary data of the threat model; None if it grants none.
        num_classes: Labels are 0 .. num_classes - 1.
        architecture: Of the target, as the attacker supposes it.
        input_shape: (channels, height, width) of the target's input.
    """

    points: Split | None = None
    aux: Split | None = None
    num_classes: int
    architecture: str
    input_shape: tuple[int, int, int]


class Attack(Protocol):
    """One way a risk is realised. Fields are hyperparameters; class variables are facts.

    Attributes:
        access: What the attack can make use of, weakest first; the first is the least it needs.
        aux: Kinds of auxiliary data it can use; the first is the default.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk]
    access: ClassVar[tuple[Access, ...]]
    aux: ClassVar[tuple[Aux, ...]]
    reference: ClassVar[str]

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Any:
        """Carry out the attack and return what the attacker ends up with."""
        ...


@runtime_checkable
class Resolves(Protocol):
    """An attack with settings whose default depends on the dataset."""

    def resolve(self, dataset: Dataset) -> Self:
        """The attack with those settings filled in.

        Raises:
            ZooError: A setting does not fit the dataset.
        """
        ...
