"""Images that stay where they are, as files or as bytes, and are decoded when somebody computes.

A `LazyImages` passes for the tensor of all images, and holds none of them. Asked for its size, cut
into parts, indexed along its first axis or moved to a device, it gives another one. Any other
operation decodes: a model that is given a part of it computes with what a tensor would hold. So
code that goes through its inputs part by part needs memory for a part, and all other code works as
well and needs memory for all.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

KEPT = 2**28
"""Bytes of decoded images up to which a part keeps them for the next operation."""


class ImageSource(Protocol):
    """Where images come from."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> Tensor:
        """The images at ``rows``, (n, *shape), on the CPU: uint8, or float32 in [0, 1]."""
        ...


class Pixels:
    """Images in one array of bytes.

    Args:
        array: (n, height, width[, channels]) uint8.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array if array.ndim == 4 else array[..., None]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each."""
        height, width, channels = self.array.shape[1:]
        return channels, height, width

    def read(self, rows: Sequence[int]) -> Tensor:
        """The images at ``rows``, (n, *shape) uint8."""
        some = self.array[np.asarray(rows, dtype=np.int64)]
        return torch.from_numpy(np.ascontiguousarray(some.transpose(0, 3, 1, 2)))


class LazyImages(Tensor):
    """Images (n, channels, height, width), float32 in [0, 1], that are decoded when needed.

    Args:
        source: Where they come from.
        rows: (n,) int64, which of the source's images these are; None for all.
        device: Where they are once they are decoded.
    """

    source: ImageSource
    rows: Tensor

    @staticmethod
    def __new__(  # noqa: D102
        cls: type[LazyImages],
        source: ImageSource,
        rows: Tensor | None = None,
        device: str | torch.device = "cpu",
    ) -> LazyImages:
        n = len(source) if rows is None else len(rows)
        made: LazyImages = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, (n, *source.shape), dtype=torch.float32, device=torch.device(device)
        )
        return made

    def __init__(
        self,
        source: ImageSource,
        rows: Tensor | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        self.source = source
        self.rows = torch.arange(len(source)) if rows is None else rows
        self._before: LazyImages | None = None
        self._next: LazyImages | None = None
        self._decoding: Future[Tensor] | None = None
        self._kept: Tensor | None = None

    def decoded(self) -> Tensor:
        """These images as an ordinary tensor, on their device."""
        if self._kept is not None:
            return self._kept
        found = self._decoding.result() if self._decoding is not None else self._read()
        self._decoding = None
        if self._before is not None:  # whoever goes through parts is through with that one
            self._before._kept = None
        # And will ask for the next: it is read while this one is worked on.
        if self._next is not None and self._next._kept is None and self._next._decoding is None:
            self._next._decoding = _ahead().submit(self._next._read)
        with torch._C.DisableTorchFunctionSubclass():
            device, n = self.device, self.numel()
        images = found.to(device)
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        if 4 * n <= KEPT:
            self._kept = images
        return images

    def _read(self) -> Tensor:
        return self.source.read(self.rows.tolist())

    def _take(self, rows: Tensor) -> LazyImages:
        with torch._C.DisableTorchFunctionSubclass():
            device = self.device
        return LazyImages(self.source, rows, device)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer without a look at the images where that is possible, else with all of them."""
        kwargs = kwargs or {}
        if func in _FACTS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func in _LAZILY:
            found = _LAZILY[func](*args, **kwargs)
            if found is not NotImplemented:
                return found
        return cls.__torch_dispatch__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute with what a tensor would hold."""
        # Not what is kept itself: somebody may ask for gradients by it.
        given = tree_map_only(
            LazyImages, lambda one: one.decoded().detach(), (tuple(args), dict(kwargs or {}))
        )
        return func(*given[0], **given[1])

    def __repr__(self, **_: Any) -> str:
        """Its shape: the images would have to be decoded."""
        return f"LazyImages({tuple(self.shape)})"


_FACTS: frozenset[Any] = frozenset(
    {
        Tensor.size, Tensor.dim, Tensor.numel, Tensor.nelement, Tensor.element_size, Tensor.__len__,
        Tensor.stride, Tensor.is_floating_point, torch.is_floating_point, torch.is_tensor,
        *(
            getattr(Tensor, name).__get__
            for name in ("shape", "ndim", "device", "dtype", "layout", "requires_grad", "is_leaf",
                         "grad_fn", "grad", "is_sparse", "is_quantized", "is_cuda", "is_meta")
        ),
    }
)  # fmt: skip
"""What a tensor says of itself that is true of one that was not decoded."""


def _index(images: LazyImages, index: Any) -> Any:
    if isinstance(index, slice | list) or (isinstance(index, Tensor) and index.dim() == 1):
        index = index.cpu() if isinstance(index, Tensor) else index
        return images._take(images.rows[index])
    if isinstance(index, int):
        return images._take(images.rows[index : index + 1 or None]).decoded()[0]
    return NotImplemented


def _split(images: Any, size: Any, dim: int = 0) -> Any:
    if not isinstance(images, LazyImages) or dim != 0 or isinstance(size, Tensor):
        return NotImplemented
    parts = [images._take(rows) for rows in images.rows.split(size)]
    for part, following in itertools.pairwise(parts):
        part._next, following._before = following, part
    return tuple(parts)


def _to(images: Any, *args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and not kwargs and isinstance(args[0], str | torch.device):
        return LazyImages(images.source, images.rows, args[0])
    return NotImplemented


def _like(make: Callable[..., Tensor], images: Tensor, **how: Any) -> Tensor:
    return make(images.shape, **{"dtype": images.dtype, "device": images.device, **how})


_LAZILY: Mapping[Any, Callable[..., Any]] = {
    Tensor.__getitem__: _index,
    Tensor.split: _split,
    torch.split: _split,
    Tensor.to: _to,
    Tensor.cpu: lambda images: LazyImages(images.source, images.rows),
    torch.empty_like: lambda images, **how: _like(torch.empty, images, **how),
    torch.zeros_like: lambda images, **how: _like(torch.zeros, images, **how),
    Tensor.contiguous: lambda images: images,
}
"""What is done with the rows alone."""


@cache
def _ahead() -> ThreadPoolExecutor:
    """Reads the next part; one at a time, since reading a part has threads of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="images ahead")


@cache
def readers() -> ThreadPoolExecutor:
    """Threads that decode: one for every core that this process may use."""
    there = hasattr(os, "sched_getaffinity")  # not on every system
    cores = len(os.sched_getaffinity(0)) if there else os.cpu_count() or 1
    return ThreadPoolExecutor(cores, thread_name_prefix="images")
