"""Tables on real terminals of some widths: no number is ever folded, and no word."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest


def on_terminal(arguments: list[str], width: int) -> str:
    """What a program prints on a terminal so wide, colours and all removed."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=follower, stdout=follower, stderr=follower,
        env={**environment, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(follower)
        out = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            out += part
    os.close(leader)
    assert process.returncode == 0, out.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.decode()).replace("\r", "")


def printed(rows: str, width: int, droppable: str = "()") -> str:
    header = ["defense", "attack", "verdict", "effect", "ci_low", "q", "n_seeds"]
    code = f"from cli.printing import table; table({header!r}, {rows}, droppable={droppable})"
    return on_terminal(["-c", code], width)


ROW = "[('dpsgd(dp_epsilon=8.0, tuned)', 'attribute-embeddings', 'defense not effective [1]', '-10.25', '+12.75', 1.234e-05, 12)]"
WORDS = ["dpsgd(dp_epsilon=8.0,", "attribute-embeddings", "defense", "not", "effective", "[1]"]
NUMBERS = ["-10.25", "+12.75", "1.234e-05", "12"]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_numbers_stay_whole_at_any_width(width) -> None:
    out = printed(ROW, width)
    for number in NUMBERS:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", out), out
    assert max(map(len, out.splitlines())) <= width
    for word in WORDS:
        assert re.search(rf"(?<!\S){re.escape(word)}(?!\S)", out), (word, out)


def test_columns_that_may_go_go_first_and_are_named() -> None:
    wide = printed(ROW, 200, "('n_seeds', 'q')")
    assert "not shown" not in wide
    narrow = printed(ROW, 80, "('n_seeds', 'q')")
    assert "not shown on a terminal of 80 columns: n_seeds" in narrow
    assert "1.234e-05" not in narrow or "q" in narrow.split()
    assert "-10.25" in narrow


def test_rows_become_blocks_where_no_table_fits() -> None:
    out = printed(ROW, 40)
    lines = [line.split(None, 1) for line in out.splitlines() if line.strip()]
    assert lines[0] == ["defense", "dpsgd(dp_epsilon=8.0, tuned)"]
    assert ["q", "1.234e-05"] in lines
    assert len(lines) == 7
