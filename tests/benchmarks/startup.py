"""CPU seconds that a command takes beyond the interpreter's own start.

Run: python tests/benchmarks/startup.py
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = [
    ["zoo", "--help"],
    ["zoo", "list"],
    ["harness", "--help"],
    ["harness", "eval", "--help"],
    ["leaderboard", "--help"],
]


def cpu_seconds(command: list[str], home: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "ZOO_HOME": home}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        subprocess.run([BIN / "zoo", "build"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "ZOO_HOME": home})  # fmt: skip
        bare = statistics.median(cpu_seconds([sys.executable, "-c", ""], home) for _ in range(7))
        print(f"python -c '': {bare:.3f} s")
        for command in COMMANDS:
            whole = [str(BIN / command[0]), *command[1:]]
            seconds = statistics.median(cpu_seconds(whole, home) for _ in range(7))
            print(f"{' '.join(command):22s} {seconds - bare:.3f} s beyond that")


if __name__ == "__main__":
    main()
