"""What every test may ask for: a store of its own, the mirror, and one thread."""

import os
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


@pytest.fixture
def home_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store that every command of this test uses."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
