"""How a self-trained model is trained, as data: the whole recipe is the record."""

from dataclasses import dataclass
from typing import Literal

from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one training run. Equal recipes, data, seed and machine give equal weights.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        lr: Learning rate at the start.
        epochs: Passes over the training data.
        batch_size: Examples per step (in expectation, under Poisson sampling).
        momentum: Of SGD; unused by Adam.
        weight_decay: L2 penalty, as torch's optimizers apply it.
        schedule: ``constant``, or ``cosine`` down to 0 over all steps.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-3
    epochs: int = 30
    batch_size: int = 64
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        for name, value, low in (
            ("epochs", self.epochs, 1),
            ("batch_size", self.batch_size, 1),
            ("momentum", self.momentum, 0),
            ("weight_decay", self.weight_decay, 0),
        ):
            if not value >= low:
                raise ZooError(f"A training recipe wants {name} of at least {low}, found {value}.")
        if not 0 < self.lr < float("inf"):
            raise ZooError(f"A training recipe wants lr above 0, found {self.lr}.")
