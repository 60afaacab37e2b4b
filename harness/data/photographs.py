"""Photographs of any size, in files or in an archive, as inputs of one size.

What is done to a photograph is what the library did that published the model: the side is scaled
with Pillow's filters and the middle cut out, as torchvision and timm do it, both of which measure
their models so. A perturbation lives in what comes out: in the pixels that the network gets.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from timm.data.transforms_factory import transforms_imagenet_eval
from torch import Tensor

from harness.data.lazy_images import readers
from harness.types import MachineError
from zoo.entry import Preparation
from zoo.errors import ZooError

PLAIN_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Of Pillow, those with 8 bits for each channel, or fewer."""


class UnreadableError(ZooError):
    """A file that is to be a photograph is none, or is not whole.

    Attributes:
        reason: What the decoder says, without a full stop.
    """

    def __init__(self, name: str, reason: str, advice: str = "Get it again.") -> None:
        super().__init__(f"{name} is no image that can be read ({reason}). {advice}")
        self.reason = reason


@dataclass(frozen=True)
class Place:
    """Where the bytes of a photograph are.

    Attributes:
        file: Itself, or an archive that has it uncompressed.
        name: For people: the path below the folder of the dataset, or in the archive.
        start: Its first byte in ``file``.
        size: How many bytes; None for all that follow.
    """

    file: Path
    name: str
    start: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """The bytes.

        Raises:
            ZooError: The file is gone.
        """
        try:
            with self.file.open("rb") as file:
                file.seek(self.start)
                return file.read(self.size)
        except OSError as error:
            raise MachineError(f"{self.file} cannot be read ({error.strerror}).") from error


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs, prepared for one network.

    Attributes:
        places: Where they are.
        preparation: What is done to each.
        channels: 3, or 1 for grey.
    """

    places: Sequence[Place]
    preparation: Preparation
    channels: int = 3

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each, once it is prepared."""
        return self.channels, *self.preparation.size

    def read(self, rows: Sequence[int]) -> Tensor:
        """The photographs at ``rows``, (n, *shape) uint8.

        Raises:
            UnreadableError: One is no image, or not whole; it is named.
        """
        found = torch.empty(len(rows), *self.shape, dtype=torch.uint8)

        def fill(k: int, row: int) -> None:
            found[k] = self._prepared(self.places[row])

        for _ in readers().map(fill, range(len(rows)), rows):
            pass
        return found

    def _prepared(self, place: Place) -> Tensor:
        image = opened(place).convert("RGB" if self.channels == 3 else "L")
        return transform(self.preparation)(image)


def check(content: bytes, name: str) -> None:
    """Refuse what `opened` would refuse, in less time for large photographs.

    Args:
        content: Of a file.
        name: Of it, for the message.

    Raises:
        UnreadableError: It is no image, or not whole.
    """
    _decoded(content, name, small=True)


def opened(place: Place) -> Image.Image:
    """A photograph, decoded, with 8 bits for each channel.

    Raises:
        UnreadableError: It is no image, or not whole.
    """
    return _decoded(place.read(), place.name)


def _decoded(content: bytes, name: str, *, small: bool = False) -> Image.Image:
    """See `opened`; ``small``: a JPEG is decoded at an eighth of its size."""
    try:
        image = Image.open(io.BytesIO(content))
        if small:
            image.draft(None, (1, 1))
        image.load()
    except UnidentifiedImageError as error:  # whose text is about an object in memory
        raise UnreadableError(name, "of no format that is known" if content else "empty") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableError(name, str(error)) from error
    if image.mode in PLAIN_MODES:
        return image
    return _eight_bits(image, name)


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """A grey image of 16 or 32 bits: Pillow itself would cut off what is brighter than 255."""
    values: np.ndarray[Any, Any] = np.asarray(image)
    convert = "Convert it to 8 bits for each channel."
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise UnreadableError(name, f"its mode {image.mode} is not defined here", convert)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        extent = f"its values are {values.min():g} to {values.max():g}, not of 8 or 16 bits"
        raise UnreadableError(name, extent, convert)
    return Image.fromarray((values // 257).astype(np.uint8))


@cache
def transform(how: Preparation) -> Callable[[Image.Image], Tensor]:
    """From an image to the pixels of an input, (channels, height, width) uint8, by timm."""
    side = min(how.size)
    share = side / how.resize
    while math.floor(side / share) < how.resize:  # timm divides again, and rounds down
        share = math.nextafter(share, 0)
    return transforms_imagenet_eval(
        how.size,
        crop_pct=share,
        crop_mode=_CROP_MODES[how.fit],
        interpolation=how.interpolation,
        mean=how.fill,  # what a border is filled with
        use_prefetcher=True,  # bytes, not scaled
    )


_CROP_MODES = {"crop": "center", "squash": "squash", "border": "border"}
"""Of timm."""
