"""Images that are decoded when needed: what a tensor would say, and no more memory than a part."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.data.lazy_images import LazyImages

N = 12


class Bytes:
    """Random images that count how often each is read."""

    shape = (3, 5, 4)

    def __init__(self) -> None:
        stream = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(0, 256, (N, *self.shape), generator=stream, dtype=torch.uint8)
        self.read_rows: list[int] = []

    def __len__(self) -> int:
        return N

    def read(self, rows: Sequence[int]) -> Tensor:
        self.read_rows += list(rows)
        return self.pixels[list(rows)]


@pytest.fixture
def source() -> Bytes:
    return Bytes()


@pytest.fixture
def whole(source: Bytes) -> Tensor:
    return source.pixels.float() / 255


def test_what_a_tensor_says_of_itself_is_said_without_a_look(source: Bytes) -> None:
    x = LazyImages(source)
    assert isinstance(x, Tensor)
    assert (len(x), tuple(x.shape), x.dim(), x.ndim) == (N, (N, 3, 5, 4), 4, 4)
    assert (x.dtype, x.device.type, x.numel()) == (torch.float32, "cpu", N * 60)
    assert (x.size(1), tuple(x.shape[1:])) == (3, (3, 5, 4))
    assert (x.requires_grad, x.is_floating_point()) == (False, True)
    assert repr(x) == "LazyImages((12, 3, 5, 4))"
    assert source.read_rows == []


OPERATIONS = {
    "minus a number": lambda x: x - 0.5,
    "a number minus it": lambda x: 1 - x,
    "compared": lambda x: x > 0.5,
    "mean": lambda x: x.mean(),
    "mean over channels": lambda x: x.mean(1, keepdim=True),
    "flat": lambda x: x.flatten(1),
    "view": lambda x: x.view(N, -1),
    "a channel": lambda x: x[:, 0],
    "one of them": lambda x: x[3],
    "the last of them": lambda x: x[-1],
    "some of them": lambda x: x[torch.tensor([4, 1, 1])],
    "those of a mask": lambda x: x[torch.arange(N) % 3 == 0],
    "a slice": lambda x: x[2:9:2],
    "joined": lambda x: torch.cat([x, x[:2]]),
    "clone": lambda x: x.clone(),
    "resized": lambda x: nn.functional.interpolate(x, (2, 2)),
    "clamped": lambda x: x.clamp(0.2, 0.4),
    "written into another": lambda x: torch.zeros(N, 3, 5, 4).copy_(x),
    "as arrays": lambda x: torch.from_numpy(x.numpy()),
    "copied": lambda x: copy.deepcopy(x),
    "stacked from an iteration": lambda x: torch.stack(list(x)),
    "parts of parts": lambda x: torch.cat([b * 1 for a in x.split(5) for b in a.split(2)]),
    "parts by torch": lambda x: torch.cat([part * 1 for part in torch.split(x, 5)]),
    "on a device": lambda x: x.to("cpu") + 0,
    "zeros like it": lambda x: torch.zeros_like(x),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_every_operation_gives_what_a_tensor_gives(source: Bytes, whole: Tensor, operation) -> None:
    found = operation(LazyImages(source))
    wanted = operation(whole)
    assert torch.equal(found * 1, wanted * 1)
    assert found.dtype == wanted.dtype


def test_a_network_answers_the_same(source: Bytes, whole: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        assert torch.equal(net(LazyImages(source)), net(whole))


def test_gradients_of_a_part_do_not_stay_with_it(source: Bytes) -> None:
    (part,) = LazyImages(source).split(N)
    for _ in range(2):
        x = part.detach().requires_grad_()
        (x * x).sum().backward()
        assert x.grad is not None
        assert torch.allclose(x.grad, 2 * x.detach())
    assert not (part + 0).requires_grad
    part.requires_grad_()
    assert not (part + 0).requires_grad


def test_a_split_of_lazy_images_is_lazy(source: Bytes, whole: Tensor) -> None:
    y = torch.arange(N)
    data = Split(LazyImages(source), y)
    taken = data.take(torch.tensor([7, 2])).to("cpu")
    assert source.read_rows == []
    assert torch.equal(taken.x + 0, whole[[7, 2]])
    assert taken.y.tolist() == [7, 2]
    assert source.read_rows == [7, 2]


def test_whoever_goes_through_parts_reads_each_image_once_and_one_part_ahead(
    source: Bytes,
) -> None:
    parts = LazyImages(source).split(4)
    assert source.read_rows == []
    for k, part in enumerate(parts):
        for _ in range(3):  # as an attack that takes many steps
            part + 0
        assert set(range(4 * (k + 1))) <= set(source.read_rows)
        held = [p for p in parts if p._kept is not None or p._decoding is not None]
        assert len(held) <= 2, "more than the part at hand and the next"
    assert sorted(source.read_rows) == list(range(N))


def test_a_large_part_is_not_kept(source: Bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.lazy_images.KEPT", 100)
    x = LazyImages(source)
    assert torch.equal(x + 0, x + 0)
    assert source.read_rows == [*range(N), *range(N)]


def test_images_may_come_as_numbers_instead_of_bytes() -> None:
    class Numbers(Bytes):
        def read(self, rows: Sequence[int]) -> Tensor:
            return super().read(rows).float() / 510

    assert float((LazyImages(Numbers()) + 0).max()) <= 0.5


def test_an_error_of_the_source_is_raised_where_the_image_is_needed() -> None:
    class Broken(Bytes):
        def read(self, rows: Sequence[int]) -> Tensor:
            if 5 in rows:
                raise ValueError("5 is damaged")
            return super().read(rows)

    first, second, _ = LazyImages(Broken()).split(4)
    assert np.isfinite(float(first.sum()))
    with pytest.raises(ValueError, match="5 is damaged"):
        second.sum()
