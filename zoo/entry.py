"""What the catalog says about one model, as the rest of the project reads it."""

from dataclasses import dataclass
from typing import Literal

from zoo.errors import ZooError
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One published weight file. What is None is unknown, or does not apply.

    The hashes are of the weight file itself: of ``member``, if it comes in an archive.

    Attributes:
        sha256: Checked after every download and on every cache hit. None until it has been
            fetched once, where the publisher states none; then what came is remembered.
        sha256_prefix: First hexadecimal digits of it, as torch hub puts them into file names.
        sha1: For publishers that state this one.
        size: In bytes.
        mirror_path: Where the file lies below a mirror folder.
        url: Where it, or the archive with it, is published; ``pypi:NAME==VERSION#sha256=HEX`` is a
            wheel of a Python package.
        member: Name of the weight file inside the zip archive at ``url``.
        hub_repo: Repository on the Hugging Face Hub: ``timm/resnet50.a1_in1k``.
        hub_revision: Commit of that repository, 40 hexadecimal digits.
        hub_file: File in that repository; None for whichever file of weights it has.
        state_dict: Path inside the checkpoint to the tensors: ``"state_dict.0"``; empty if the
            checkpoint is the state dict itself.
        strip_prefix: Dropped from every key, as ``module.`` of ``nn.DataParallel``.
        in_order: Whether its tensors are those of the network in their order, under other names.
    """

    sha256: str | None = None
    sha256_prefix: str | None = None
    sha1: str | None = None
    size: int | None = None
    mirror_path: str | None = None
    url: str | None = None
    member: str | None = None
    hub_repo: str | None = None
    hub_revision: str | None = None
    hub_file: str | None = None
    state_dict: str = ""
    strip_prefix: str = ""
    in_order: bool = False


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a photograph of any size becomes an input of a network.

    Attributes:
        size: (height, width) of the input, cut out of the middle.
        resize: What the side that ``fit`` names is scaled to before that, in pixels.
        fit: ``crop``: the shorter side, so that some of the other is cut off; ``squash``: both,
            whatever the proportions; ``border``: the longer one, so that nothing is.
        interpolation: Smoothed where it makes the image smaller.
        fill: (red, green, blue) in [0, 1] of what ``border`` adds.
    """

    size: tuple[int, int]
    resize: int
    fit: Literal["crop", "squash", "border"] = "crop"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model of the catalog. A model takes numbers in [0, 1] and gives logits.

    Attributes:
        name: ``akamaster/resnet20-cifar10``; never reused for another model.
        source: Key of the source: ``timm``, ``published``, ``selftrained``, or ``local`` (a user's
            own file).
        purpose: ``benchmark``, ``security`` (from a paper on trustworthy ML) or ``other``.
        dataset: What it was trained to classify.
        architecture: As of `zoo.nets.build`, if the catalog has code for it.
        input_shape: (channels, height, width) that the network itself takes, or (features,).
        num_classes: Number of logits.
        mean: Per channel, subtracted from the pixels; None if its source does not say.
        std: Per channel, what the pixels are then divided by; None if its source does not say.
        licence: As the source states it; None if it states none.
        backdoored: Whether its paper planted a backdoor.
        artifact: The weight file; None if there is none to fetch.
        recipe: How it is trained; None for a published model.
        resize: See `Preparation`; None if its source does not say, or if images of its dataset have
            one size.
        fit: Likewise.
        interpolation: Likewise.
    """

    name: str
    source: str
    purpose: Literal["benchmark", "security", "other"]
    dataset: str
    architecture: str
    input_shape: tuple[int, ...]
    num_classes: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    licence: str | None
    backdoored: bool
    artifact: Artifact | None
    recipe: Recipe | None
    resize: int | None = None
    fit: Literal["crop", "squash", "border"] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None

    @property
    def preparation(self) -> Preparation | None:
        """How a photograph becomes its input; None if its input is no image.

        Where its source does not say, the shorter side becomes that of the input.
        """
        if len(self.input_shape) != 3:
            return None
        height, width = self.input_shape[1:]
        return Preparation(
            size=(height, width),
            resize=self.resize or min(height, width),
            fit=self.fit or "crop",
            interpolation=self.interpolation or "bilinear",
            fill=self.mean if self.fit == "border" and self.mean is not None else (0.0, 0.0, 0.0),
        )

    @property
    def scaling(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation per channel.

        Raises:
            ZooError: Its source does not say how its input is scaled.
        """
        if self.mean is None or self.std is None:
            raise ZooError(
                f"{self.name}: its source does not say how its input is scaled, so it cannot be "
                "used. If you know, add its weights with `zoo add --mean --std`."
            )
        return self.mean, self.std
