"""What a method must leave alone: its caller's models and data, and the global random numbers."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.target import BlackBox


class DefectError(Exception):
    """What is wrong with a method, in one line."""


def tensors(found: Any) -> Iterator[Tensor]:
    """Every tensor in an object: of data, results and models, always in the same order."""
    if isinstance(found, Tensor):
        yield found.detach()
    elif isinstance(found, np.ndarray):
        if found.dtype.kind in "biuf":
            yield torch.from_numpy(np.array(found))  # a copy, as some cannot be written to
    elif isinstance(found, BlackBox):
        yield from tensors(found._model)
    elif isinstance(found, nn.Module):
        yield torch.tensor([module.training for module in found.modules()])
        for _, tensor in sorted(found.state_dict().items()):
            yield tensor.detach()
    elif isinstance(found, bool | int | float):
        yield torch.tensor(found, dtype=torch.float64)
    elif isinstance(found, Mapping):
        for key in sorted(found, key=str):
            yield from tensors(found[key])
    elif isinstance(found, list | tuple):
        for one in found:
            yield from tensors(one)
    elif is_dataclass(found) and not isinstance(found, type):
        for field in fields(found):
            yield from tensors(getattr(found, field.name))


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two lists have the same numbers."""
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def snapshot(found: Any) -> list[Tensor]:
    """Copies of every tensor in an object."""
    return [tensor.clone() for tensor in tensors(found)]


def check_finite(found: Any, what: str) -> None:
    """Refuse a result that is not finite.

    Raises:
        DefectError: With how many values are not.
    """
    for tensor in tensors(found):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            wrong = int((~tensor.isfinite()).sum())
            raise DefectError(f"{what} is not finite: {wrong} of {tensor.numel()} values.")


def _global_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state(legacy=False)),
        "random": random.getstate(),
    }


def _move_global_state() -> None:
    """As a caller may have left it."""
    torch.rand(1)
    np.random.random()
    random.random()


def watched(work: Callable[[], Any], *, given: Any, what: str, untouched: str) -> Any:
    """The result of some work that is done twice, between which the global random state moves.

    Args:
        work: The same each time.
        given: What it must leave as it is.
        what: The result, for messages.
        untouched: ``given``, for messages.

    Raises:
        DefectError: The results differ or are not finite, or something was changed.
    """
    before, results = snapshot(given), []
    for _ in range(2):
        _move_global_state()
        state = _global_state()
        results.append(work())
        after = _global_state()
        if used := [name for name in state if state[name] != after[name]]:
            raise DefectError(
                f"it draws from or sets the global random numbers of {' and '.join(used)}; "
                f"take them from the seed, as harness.seeds.generator does."
            )
        if not same(before, list(tensors(given))):
            raise DefectError(f"it changes {untouched}; work on a copy.")
    check_finite(results[0], what)
    if not same(list(tensors(results[0])), list(tensors(results[1]))):
        raise DefectError(f"{what} is another one when it is made again with the same seed.")
    return results[0]


def watching(attack: Any) -> Any:
    """The same attack, whose ``run`` is watched."""

    class Watched(type(attack)):  # type: ignore[misc]
        def run(self, target: BlackBox, data: Any, *, seed: int) -> Any:
            spent = copy.copy(target)  # each time with the whole budget
            asked = iter((spent, target))
            return watched(
                lambda: super(Watched, self).run(next(asked), data, seed=seed),
                given=(target, data),
                what="its result",
                untouched="the model or the data that it is handed",
            )

    settings = {field.name: getattr(attack, field.name) for field in fields(attack) if field.init}
    return Watched(**settings)
