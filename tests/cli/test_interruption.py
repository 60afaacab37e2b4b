"""Ctrl-C, as a terminal sends it to a command and all of its processes: one line, and exit 130."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.home import Home

pytestmark = pytest.mark.whole

BIN = Path(sys.executable).parent


def _hear_ctrl_c() -> None:
    """What a terminal's commands do, however the tests themselves were started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(
    *arguments: str, home: Path, when: Callable[[], bool]
) -> subprocess.CompletedProcess[str]:
    """Start a command and interrupt it, and every process of its own, as soon as ``when`` holds."""
    environment = {**os.environ, "ZOO_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [BIN / arguments[0], *arguments[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True, preexec_fn=_hear_ctrl_c,
    )  # fmt: skip
    end = time.monotonic() + 240
    while not when() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupted_run_says_what_it_kept_and_the_same_command_goes_on(
    tmp_path: Path, workers: str
) -> None:
    home = tmp_path / "home"
    command = [
        "harness", "eval", "--model", "digits-mlp", "--risk", "evasion", "--attack", "fgsm",
        "--seeds", "40", "--tuning", "none", "--set", "recipe.epochs=10", "--workers", workers,
    ]  # fmt: skip

    def trained() -> list[Path]:
        return list(home.glob("artifacts/[!.]*/spec.json"))

    found = interrupt(*command, home=home, when=lambda: len(trained()) >= 2)
    assert (found.returncode, found.stdout) == (130, ""), found.stderr
    said = re.fullmatch(
        r"interrupted: (\d+) models trained and 0 cells measured are kept; the same command goes "
        r"on from there\.\n",
        found.stderr,
    )
    assert said, found.stderr
    kept = len(trained())
    assert 2 <= kept < 40
    assert kept - int(workers) <= int(said[1]) <= kept  # one more may be whole just as it ends
    again = subprocess.run(
        [BIN / command[0], *command[1:]],
        capture_output=True, text=True, env={**os.environ, "ZOO_HOME": str(home)}, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith("40 cells measured, ")
    assert len(trained()) == 40


@pytest.mark.parametrize(
    "arguments", [("zoo", "build"), ("leaderboard", "build"), ("harness", "compare")]
)
def test_every_command_ends_with_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    home = Home.open(tmp_path / "home")
    begun = time.monotonic()
    with home.lock("zoo.duckdb"):  # which the command waits for
        found = interrupt(*arguments, home=home.root, when=lambda: time.monotonic() > begun + 10)
    assert (found.returncode, found.stdout) == (130, "")
    assert found.stderr == (
        "interrupted: what was finished is kept; the same command goes on from there.\n"
    )


def test_an_interrupted_fetch_says_what_it_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    lock = home / "locks/model-digits-resnet8.lock"
    command = ["zoo", "fetch", "digits-mlp", "digits-resnet8"]
    found = interrupt(*command, home=home, when=lock.exists)
    assert (found.returncode, found.stdout) == (130, "")
    assert found.stderr == (
        "interrupted: models that were fetched are kept, and so is what came of downloads; the "
        "same command goes on from there.\n"
    )
    assert (home / "models/digits-mlp/fetched.json").exists()
    assert not (home / "models/digits-resnet8").exists()


def test_the_workers_of_a_run_do_not_hear_it() -> None:
    code = (
        "import signal\n"
        "from harness.experiment.executors.local import pool\n"
        "with pool(2) as work:\n"
        "    print(list(work(signal.raise_signal, [signal.SIGINT] * 2)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, preexec_fn=_hear_ctrl_c, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[None, None]\n", "")
