"""Photographs become inputs as their model's library makes them, and what is none is named."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import file_hashes
from harness.data.file_hashes import ChangedError
from harness.data.photographs import Photographs, Place, UnreadableError
from zoo.entry import Preparation

SMALL = Preparation(size=(24, 24), resize=28)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image: Image.Image, path: Path, **how) -> Place:
    image.save(path, **how)
    return Place(path, path.name)


def middle(image: Image.Image, height: int, width: int) -> Image.Image:
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (50, 50), (20, 33)])
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_the_shorter_side_is_scaled_and_the_middle_cut_out(
    tmp_path: Path, width: int, height: int, name: str
) -> None:
    image = noise(width, height)
    place = saved(image, tmp_path / "a.png")
    how = Preparation(size=(24, 24), resize=28, interpolation=name)  # type: ignore[arg-type]
    found = Photographs([place], how).read([0])[0]
    short = min(width, height)
    size = (int(28 * width / short), int(28 * height / short))
    scaled = image.resize(size, Image.Resampling[name.upper()])
    assert torch.equal(found, pixels(middle(scaled, 24, 24)))


def test_squashed_both_sides_are_scaled(tmp_path: Path) -> None:
    image = noise(60, 40)
    place = saved(image, tmp_path / "a.png")
    found = Photographs([place], Preparation(size=(24, 24), resize=24, fit="squash")).read([0])[0]
    assert torch.equal(found, pixels(image.resize((24, 24), Image.Resampling.BILINEAR)))


def test_with_a_border_nothing_is_cut_off(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 30), (255, 0, 0))
    place = saved(image, tmp_path / "a.png")
    fill = (0.0, 1.0, 0.2)
    how = Preparation(size=(24, 24), resize=24, fit="border", fill=fill)
    found = Photographs([place], how).read([0])[0]
    border = torch.tensor([0, 255, 51], dtype=torch.uint8)
    assert torch.equal(found[:, 0, :], border[:, None].expand(3, 24))
    assert torch.equal(found[:, 12, :], torch.tensor([[255], [0], [0]]).expand(3, 24))
    assert (found[0] == 255).sum() == 24 * 12


@pytest.mark.parametrize("resize", range(224, 400, 7))
def test_every_stated_size_is_met(tmp_path: Path, resize: int) -> None:
    """timm is told shares, and rounds what they give down."""
    from harness.data.photographs import transform

    how = Preparation(size=(224, 224), resize=resize)
    steps = transform(how).transforms  # type: ignore[attr-defined]
    assert steps[0].size == resize


KINDS = {
    "grey": (noise(40, 40).convert("L"), "png"),
    "with a palette": (noise(40, 40).convert("P"), "png"),
    "with alpha": (noise(40, 40).convert("RGBA"), "png"),
    "black and white": (noise(40, 40).convert("1"), "png"),
    "CMYK": (noise(40, 40).convert("CMYK"), "jpg"),
    "JPEG": (noise(40, 40), "jpg"),
    "GIF": (noise(40, 40).convert("P"), "gif"),
}


@pytest.mark.parametrize(("image", "ending"), KINDS.values(), ids=list(KINDS))
def test_any_kind_of_image_becomes_three_channels(
    tmp_path: Path, image: Image.Image, ending: str
) -> None:
    place = saved(image, tmp_path / f"a.{ending}")
    found = Photographs([place], Preparation(size=(40, 40), resize=40)).read([0])[0]
    assert torch.equal(found, pixels(Image.open(place.file).convert("RGB")))


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    place = saved(Image.fromarray(values), tmp_path / "a.png")
    found = Photographs([place], Preparation(size=(40, 40), resize=40)).read([0])[0]
    wanted = torch.from_numpy((values / 257).astype(np.uint8))
    assert torch.equal(found, wanted.expand(3, 40, 40))


def test_a_grey_network_gets_one_channel(tmp_path: Path) -> None:
    place = saved(noise(40, 40), tmp_path / "a.png")
    found = Photographs([place], SMALL, channels=1)
    assert found.read([0]).shape == (1, *found.shape) == (1, 1, 24, 24)


def _truncated(path: Path) -> None:
    noise(200, 200).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-2000])


BROKEN = {
    "truncated.jpg": _truncated,
    "empty.jpg": lambda path: path.write_bytes(b""),
    "page.jpg": lambda path: path.write_text("<html>not found</html>"),
    "floats.tif": lambda path: Image.fromarray(np.ones((9, 9), np.float32) * 1e6).save(path),
}


@pytest.mark.parametrize(("name", "write"), BROKEN.items(), ids=list(BROKEN))
def test_what_is_no_image_is_named(tmp_path: Path, name: str, write) -> None:
    good = saved(noise(40, 40), tmp_path / "good.png")
    write(tmp_path / name)
    both = Photographs([good, Place(tmp_path / name, f"val/dog/{name}")], SMALL)
    both.read([0])
    with pytest.raises(UnreadableError, match=f"val/dog/{name}"):
        both.read([0, 1])


def test_a_photograph_is_read_where_it_stands_in_an_archive(tmp_path: Path) -> None:
    image, held = noise(40, 40), io.BytesIO()
    image.save(held, format="PNG")
    data = held.getvalue()
    (tmp_path / "all.bin").write_bytes(b"before" + data + b"behind")
    place = Place(tmp_path / "all.bin", "a.png", start=6, size=len(data))
    found = Photographs([place], Preparation(size=(40, 40), resize=40)).read([0])[0]
    assert torch.equal(found, pixels(image))


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    return [saved(noise(30, 30, seed=k), tmp_path / f"{k}.png") for k in range(3)]


def test_files_are_hashed_once(tmp_path: Path, places, monkeypatch: pytest.MonkeyPatch) -> None:
    first = file_hashes.hashes(tmp_path, places)
    assert len(set(first)) == 3
    assert {len(one) for one in first} == {64}
    monkeypatch.setattr(file_hashes, "_sha256", lambda place: pytest.fail(f"reads {place}"))
    assert file_hashes.hashes(tmp_path, places) == first


def test_a_changed_file_is_hashed_again(tmp_path: Path, places) -> None:
    before = file_hashes.hashes(tmp_path, places)
    saved(noise(31, 31, seed=9), places[1].file)
    after = file_hashes.hashes(tmp_path, places)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_only_verifying_sees_a_file_that_was_changed_secretly(tmp_path: Path, places) -> None:
    import os

    before = file_hashes.hashes(tmp_path, places)
    file = places[1].file
    data, times = bytearray(file.read_bytes()), file.stat()
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_hashes.hashes(tmp_path, places) == before
    with pytest.raises(ChangedError, match=r"1 files of .* are not what they were \(1.png\)"):
        file_hashes.hashes(tmp_path, places, verify=True)


def test_a_damaged_record_of_hashes_is_as_if_there_were_none(tmp_path: Path, places) -> None:
    before = file_hashes.hashes(tmp_path, places)
    (tmp_path / file_hashes.NAME).write_text("what is this\n")
    assert file_hashes.hashes(tmp_path, places) == before
