"""One store and several users: who may write shares what is made, who may only read can read it."""

import ctypes
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from zoo.nets import build

BIN = Path(sys.executable).parent
SHARED, SOMEBODY = 54_321, 54_322
"""A group, and a user who is in it."""

MINE = ["--dataset", "digits", "--architecture", "mlp-128", "--mean", "0", "--std", "1"]
FEW = [
    "harness", "eval", "--model", "digits-mlp", "--risk", "evasion", "--attack", "fgsm", "--tuning",
    "none", "--set", "recipe.epochs=1", "--workers", "1",
]  # fmt: skip

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0,
        reason="only root on Linux can leave files to another user and be kept from writing them",
    ),
]


def _like_any_user() -> None:
    """From here on root may do what the modes of files let it, and nothing else."""
    drop_from_bounding_set, dac_override, dac_read_search, fowner = 24, 1, 2, 3
    libc = ctypes.CDLL(None)
    for capability in (dac_override, dac_read_search, fowner):
        libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)


def run(
    *command: str | Path, home: Path, umask: int = 0o022, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZOO_HOME": str(home), "OMP_NUM_THREADS": "1", **variables}
    environment.pop("ZOO_MIRROR", None)
    return subprocess.run(
        [BIN / command[0], *command[1:]], capture_output=True, text=True, env=environment,
        preexec_fn=_like_any_user, extra_groups=[SHARED], umask=umask, check=False,
    )  # fmt: skip


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("mine") / "mine.pt"
    torch.save(build("mlp-128", (1, 8, 8), 10).state_dict(), path)
    return path


def test_two_users_of_a_group_share_a_store(tmp_path: Path, checkpoint: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, SOMEBODY, SHARED)
    home.chmod(0o2775)
    ok(run("zoo", "fetch", "digits-mlp", home=home))
    ok(run("zoo", "add", checkpoint, "--name", "me/mlp", *MINE, home=home, umask=0o077))
    ok(run(*FEW, "--seeds", "1", home=home))
    for path in home.rglob("*"):
        found = path.stat()
        assert found.st_gid == SHARED, path
        wanted = 0o2770 if path.is_dir() else 0o660
        assert stat.S_IMODE(found.st_mode) & wanted == wanted, path
        os.chown(path, SOMEBODY, SHARED)  # now all of it is another user's
    before = {path for path in home.glob("artifacts/*")}
    ok(run(*FEW, "--seeds", "2", home=home))
    assert len(list(home.glob("artifacts/*"))) == len(before) + 1
    ok(run("zoo", "remove", "me/mlp", "digits-mlp", home=home))
    assert not list((home / "blobs").iterdir())


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Path]:
    """A store with two models and a measurement that nobody but its owner may write to."""
    home = tmp_path_factory.mktemp("read-only") / "home"
    ok(run("zoo", "add", checkpoint, "--name", "me/mlp", *MINE, home=home))
    ok(run("zoo", "fetch", "digits-mlp", home=home))
    ok(run(*FEW, "--seeds", "1", home=home))
    paths = [home, *home.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield home
    for path in paths:
        path.chmod(0o755)


LOADS = "import zoo, torch; print(zoo.load('me/mlp')(torch.zeros(2, 1, 8, 8)).shape)"


def contents(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in home.rglob("*")}


def test_who_may_only_read_a_store_can_read_all_of_it(read_only: Path, tmp_path: Path) -> None:
    own, before = {"XDG_CACHE_HOME": str(tmp_path / "cache")}, contents(read_only)
    assert "me/mlp" in ok(run("zoo", "list", home=read_only, **own))
    (found,) = json.loads(
        ok(run("zoo", "verify", "digits-mlp", "--format", "json", home=read_only, **own))
    )
    assert (found["sha256_ok"], found["verdict"]) == (True, "agrees")
    assert "torch.Size([2, 10])" in ok(run("python", "-c", LOADS, home=read_only, **own))
    site = tmp_path / "site"
    ok(run("leaderboard", "build", "--out", site, home=read_only, **own))
    assert (site / "index.html").exists()
    assert contents(read_only) == before


def test_without_a_cache_either_the_index_lasts_as_long_as_the_command(
    read_only: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "scratch").mkdir()
    own = {"XDG_CACHE_HOME": str(tmp_path / "file/no"), "TMPDIR": str(tmp_path / "scratch")}
    # It takes a lock, which lies beside the index.
    assert "cached" in ok(run("zoo", "fetch", "me/mlp", home=read_only, **own))
    assert not list((tmp_path / "scratch").iterdir())


def test_what_would_write_to_a_read_only_store_is_one_line(
    read_only: Path, checkpoint: Path, tmp_path: Path
) -> None:
    own = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for command in (
        ["zoo", "add", checkpoint, "--name", "me/other", *MINE],
        ["zoo", "fetch", "digits-cnn"],
        ["zoo", "remove", "me/mlp"],
        [*FEW, "--seeds", "2"],
    ):
        done = run(*command, home=read_only, **own)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {read_only}"), done.stderr
        assert done.stderr.endswith("set ZOO_HOME to a store of your own.\n")
        assert done.stderr.count("\n") == 1
