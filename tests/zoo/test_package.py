"""The package's front door."""

import subprocess
import sys

import pytest

import zoo
from zoo.home import Home


def test_public_names_are_there() -> None:
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    assert zoo.Home is Home
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_catalog_is_opened_without_heavy_packages(home_dir: object) -> None:
    code = (
        "import sys; from zoo import Home, open_catalog; open_catalog(Home.open()).list(); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
