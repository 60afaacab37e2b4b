"""Everything that determines one trained model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from harness import registry
from harness.attacks.protocol import LearnsLabels
from harness.data.dataset import Dataset
from harness.defenses.stack import Stack
from harness.results import Method
from harness.seeds import seeded
from zoo import nets
from zoo.entry import ModelEntry, Preparation
from zoo.errors import ZooError
from zoo.files import digest
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.attacks.protocol import LearnsLabels

ARTIFACT_FORMAT = 3
"""Part of every job's key: raise it when training changes what a job gives."""


def check_data(entry: ModelEntry, dataset: Dataset) -> None:
    """Refuse a dataset that is no longer what a model of the catalog was entered for.

    Images may have another size: the network scales them. What a published model of images calls
    its classes is its publisher's affair.

    Raises:
        ZooError: A table has other features, or a model to be trained is for other classes.
    """
    tables = 1 in (len(entry.input_shape), len(dataset.input_shape))
    reshaped = tables and entry.input_shape != dataset.input_shape
    if reshaped or (entry.recipe is not None and entry.num_classes != dataset.num_classes):
        took, has = ("x".join(map(str, one.input_shape)) for one in (entry, dataset))
        raise ZooError(
            f"{entry.name} was added for {took} features and {entry.num_classes} classes, but "
            f"{dataset.name} has {has} and {dataset.num_classes} now. Add it again under another "
            f"name with zoo add --train, or get the data that it was added for."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """Everything that determines one trained model.

    Attributes:
        dataset: Name of the dataset.
        fingerprint: Digest of its contents.
        index: (n,) int64, the examples to train on.
        architecture: Key of `zoo.nets.build`.
        input_shape: (channels, height, width) or (features,) of the network's input.
        num_classes: Number of logits.
        mean: Input scaling, per channel.
        std: Input scaling, per channel.
        recipe: How to train; None to leave the weights of ``base`` as they are before the defenses
            edit them.
        stack: The defenses with all their settings.
        seed: Initialisation, batch order and the defenses' randomness.
        base: sha256 of the weights to start from; None to start at random.
        poison: The attack that changes the training data; None if nobody does.
        thief: The attack whose surrogate this is, trained on the labels of its own examples by its
            own recipe; None for a model of the owner's kind.
        second: The guard, of `harness.defenses.protocol.GuardsBySecond`, whose second model this
            is, trained on part of the examples; None for a model that is trained on all.
        preparation: What is done to the photographs; None of data that come in one size.
    """

    dataset: str
    fingerprint: str
    index: Tensor
    architecture: str
    input_shape: tuple[int, ...]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe | None
    stack: tuple[Method, ...] = ()
    seed: int = 0
    base: str | None = None
    poison: Method | None = None
    thief: Method | None = None
    second: Method | None = None
    preparation: Preparation | None = None

    @classmethod
    def of(
        cls,
        entry: ModelEntry,
        dataset: Dataset,
        index: Tensor,
        *,
        recipe: Recipe | None,
        seed: int,
        stack: tuple[Method, ...] = (),
        base: str | None = None,
        poison: Method | None = None,
    ) -> Job:
        """The job that trains a model of the catalog on some examples of its dataset.

        Raises:
            ZooError: The model's source does not say how its input is scaled.
        """
        mean, std = entry.scaling
        return cls(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            index=index,
            architecture=entry.architecture,
            input_shape=entry.input_shape,
            num_classes=entry.num_classes,
            mean=mean,
            std=std,
            recipe=recipe,
            stack=stack,
            seed=seed,
            base=base,
            poison=poison,
            preparation=dataset.preparation,
        )

    @classmethod
    def stolen(
        cls, dataset: Dataset, index: Tensor, *, architecture: str, thief: LearnsLabels, seed: int
    ) -> Job:
        """The job that trains a thief's surrogate on the labels of some examples.

        Args:
            dataset: The target's.
            index: (n,) int64, what the thief holds.
            architecture: Of the surrogate.
            thief: The attack.
            seed: Of the attack.
        """
        return cls(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            index=index,
            architecture=architecture,
            input_shape=dataset.input_shape,
            num_classes=dataset.num_classes,
            mean=(),  # a surrogate takes its inputs as they are
            std=(),
            recipe=None,
            seed=seed,
            thief=registry.describe(thief),
            preparation=dataset.preparation,
        )

    @property
    def spec(self) -> dict[str, Any]:
        """The job as JSON values; the examples are named by the digest of their indices."""
        poison, thief, second = (
            [method.name, dict(method.params)] if method else None
            for method in (self.poison, self.thief, self.second)
        )
        return {
            "format": ARTIFACT_FORMAT,
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "index": digest(self.index.tolist()),
            "n": len(self.index),
            "architecture": self.architecture,
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "mean": list(self.mean),
            "std": list(self.std),
            "recipe": asdict(self.recipe) if self.recipe else None,
            "stack": [[method.name, dict(method.params)] for method in self.stack],
            "seed": self.seed,
            "base": self.base,
            **({"poison": poison} if poison else {}),
            **({"thief": thief} if thief else {}),
            **({"second": second} if second else {}),
        }

    @property
    def key(self) -> str:
        """Digest of `spec`: the artifact's name in the store."""
        return digest(self.spec)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Attributes:
        model: In eval mode.
        evidence: What its defenses say for themselves.
        left_out: (k,) int64, which of the training data, as they came to the defenses, it was not
            fitted to; None if none of the defenses decides about that.
    """

    model: nn.Module
    evidence: dict[str, Any]
    left_out: Tensor | None = None


def network(job: Job, base: dict[str, Tensor] | None) -> tuple[nn.Module, dict[str, Any]]:
    """The untrained model of a job (scaling built in, defenses' changes made), and their notes.

    Args:
        job: What to build.
        base: Weights to start from, if ``job.base`` names some.
    """
    if job.thief is not None:
        with seeded("surrogate", job.seed):
            return nets.build(job.architecture, job.input_shape, job.num_classes), {}
    with seeded("init", job.seed):
        net = nets.build(job.architecture, job.input_shape, job.num_classes)
        if base is not None:
            net.load_state_dict(base)
        model: nn.Module = nets.Scaled(net, job.mean, job.std, job.input_shape)
        return Stack.of(registry.defenses(job.stack)).adapt(model, fine_tuned=base is not None)
