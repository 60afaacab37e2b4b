"""What every test may ask for: a store of its own, the mirror, and one thread unless told."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def _mirror() -> Path | None:
    for place in (os.environ.get("ZOO_MIRROR"), ROOT.parent / "shared" / "mirror"):
        if place and (Path(place) / "MANIFEST.json").exists():
            return Path(place)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.user_properties.append(("slow", True))  # for whoever reads the report
    if _mirror() is None:
        skip = pytest.mark.skip(reason="no mirror: set ZOO_MIRROR")
        for item in items:
            if item.get_closest_marker("mirror"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def mirror() -> Path:
    found = _mirror()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def public() -> Path | None:
    """The mirror, for what can also do without."""
    return _mirror()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel that is built from the checkout."""
    pytest.importorskip("hatchling", reason="it builds the wheel: install the extra 'dev'")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own catalog, built once."""
    from zoo.build import build
    from zoo.home import Home

    home = Home.open(tmp_path_factory.mktemp("built"))
    build(home)
    return home.database


@pytest.fixture
def empty_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that does not exist yet, which every command of this test uses."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def home_dir(empty_dir: Path, _built: Path) -> Path:
    """A store that holds nothing but the catalog, which every command of this test uses."""
    empty_dir.mkdir()
    shutil.copy(_built, empty_dir)
    return empty_dir


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """One thread if nothing else was asked for: torch does not always follow the variable."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
