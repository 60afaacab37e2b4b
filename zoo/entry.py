"""What the catalog says about one model, as the rest of the project reads it."""

from dataclasses import dataclass
from typing import Literal

from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One published weight file.

    Attributes:
        sha256: Of the file's bytes; checked after every download and on every cache hit.
        size: In bytes.
        mirror_path: Where the file lies below a mirror folder.
        url: Where it is published, pinned to a commit. None for a user's own file.
        state_dict: Path inside the checkpoint to the tensors: ``"state_dict.0"``; empty if the
            checkpoint is the state dict itself.
        strip_prefix: Dropped from every key, as ``module.`` of ``nn.DataParallel``.
    """

    sha256: str
    size: int
    mirror_path: str | None
    url: str | None
    state_dict: str = ""
    strip_prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model of the catalog. A model takes pixels in [0, 1] and gives logits.

    Attributes:
        name: ``akamaster/resnet20-cifar10``; never reused for another model.
        source: ``selftrained``, ``published`` or ``local`` (a user's own file).
        purpose: ``benchmark``, ``security`` (from a paper on trustworthy ML) or ``other``.
        dataset: What it was trained to classify.
        architecture: Key of `zoo.nets.build`.
        input_shape: (channels, height, width) that the network itself takes.
        num_classes: Number of logits.
        mean: Per channel, subtracted from the pixels.
        std: Per channel, what the pixels are then divided by.
        licence: As the source states it; None if it states none.
        backdoored: Whether its paper planted a backdoor.
        artifact: The weight file; None for a self-trained model.
        recipe: How it is trained; None for a published model.
    """

    name: str
    source: Literal["selftrained", "published", "local"]
    purpose: Literal["benchmark", "security", "other"]
    dataset: str
    architecture: str
    input_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str | None
    backdoored: bool
    artifact: Artifact | None
    recipe: Recipe | None
