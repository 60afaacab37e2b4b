"""What a reader copies out of a document runs from the wheel (RobustBench 212).

Every command and every Python example is run in the order of the documents, in one folder with one
store, both empty at first, unless it stands in `OTHERWISE` with the reason why not. What needs the
mirror is left out where there is none.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from PIL import Image

from zoo.nets import build

pytestmark = pytest.mark.whole

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md", "docs/risks.md", "docs/data.md", "docs/methods.md", "zoo/README.md",
    "harness/README.md", "CONTRIBUTING.md",
)  # fmt: skip
PROGRAMS = ("zoo", "harness", "leaderboard", "make")

QUICK = " --seeds 1 --tuning none --workers 1"
"""Added to every evaluation, which else has twelve seeds, and a dozen trainings to be tuned."""

_NETWORK = (None, "needs a network")
_PACKAGES = (None, "says otherwise where newer packages are installed; robustbench is optional")
_LONG = "takes minutes; it is planned, which reads the same options, models and data"

OTHERWISE: dict[str, tuple[str | None, str]] = {
    "make demo": ("zoo fetch digits-cnn", "makes an environment; .ci/run runs it"),
    "make demo SEEDS=3": (None, "makes an environment; .ci/run runs it"),
    "make install": (None, "makes an environment"),
    "make lint": (None, "changes the checkout"),
    "make test": (None, "runs this very test"),
    "make test-all": (None, "runs this very test"),
    "zoo fetch --where \"source = 'torchvision' AND parameters < 5e6\" --jobs 4": _NETWORK,
    "zoo discover --hub --search cifar --out candidates.csv": _NETWORK,
    "zoo annotate snapshot": _PACKAGES,
    "zoo annotate snapshot timm torchvision --check": _PACKAGES,
    "zoo annotate pin": _NETWORK,
    "harness doctor": ("harness doctor fgsm", "tries everything, which takes a minute"),
    "harness detections": (None, "shows evaluations that are only planned here"),
    "harness compare --risk evasion --format json": (
        "harness compare --risk extraction --format json",
        "shows evaluations that are only planned here",
    ),
    "zoo annotate accept FILE": (None, "FILE is what a curator filled in"),
    **{
        command: (command.replace("harness eval", "harness plan"), _LONG)
        for command in (
            "harness eval --model digits-cnn --defense dpsgd --risk all --set dp_epsilon=3",
            "harness eval --where \"dataset = 'mnist'\" --risk evasion --set epsilon=0.1 --mirror DIR",
            "harness eval --model digits-cnn --defense adversarial-training+dpsgd,watermark --risk all",
            "harness eval --model digits-cnn --risk evasion --attack autoattack,square,transfer",
            "harness eval --model digits-cnn --risk extraction --preset securitynet --seeds 3",
            "harness eval --model digits-cnn --defense dpsgd --risk membership-inference "
            "--attack lira --adversary adaptive",
            "harness eval --model adult-mlp --risk attribute-inference --set attribute=race --mirror DIR",
            "harness eval --model digits-tinted-cnn --defense dpsgd --risk discriminatory-behavior",
            "harness eval --model adult-mlp --risk discriminatory-behavior "
            "--set attribute=sex+race --mirror DIR",
            "harness eval --where \"dataset = 'cifar10'\" --defense neural-cleanse,strip "
            "--risk poisoning --mirror DIR",
            "harness eval --model me/loans-mlp --data-dir tables --defense reweighing --risk all",
            "harness eval sweep.toml --defense randomized-smoothing",
        )
    },
}
"""Commands that are not run as they stand: what is run instead, if anything, and why."""


class Example(NamedTuple):
    """What a document shows: a ``command``, ``python``, or a ``file`` to be written."""

    kind: str
    text: str
    name: str = ""


_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(rf"^ {{4,}}((?:{'|'.join(PROGRAMS)}) .*)$", re.MULTILINE)


def examples(document: str) -> Iterator[Example]:
    """The examples of a Markdown text, in order.

    Commands are indented lines that begin with one of `PROGRAMS`, what stands behind ``$ `` in a
    fenced block, and every line of a block of ``sh``. A block after ``This is `name`:`` is a file.
    """
    end = 0
    for block in _BLOCK.finditer(document):
        text, language, content = document[end : block.start()], block[1], block[2]
        end = block.end()
        yield from (Example("command", _bare(line)) for line in _INDENTED.findall(text))
        if name := re.search(r"[Tt]his is\s+`([\w./-]+)`:\s*$", text):
            yield Example("file", content, name[1])
        elif language == "python":
            yield Example("python", content)
        else:
            every = r"^(?:\$ )?(.+)$" if language == "sh" else r"^\$ (.+)$"
            lines = re.findall(every, content, re.MULTILINE)
            yield from (Example("command", _bare(line)) for line in lines)
    yield from (Example("command", _bare(line)) for line in _INDENTED.findall(document[end:]))


def _bare(line: str) -> str:
    """A command without its comment."""
    return re.sub(r"\s+#.*", "", line).strip()


def spelled_out(command: str) -> list[str]:
    """Every command that one with alternatives stands for: ``list risks|attacks [--long]``."""
    words = re.findall(r'"[^"]*"|\S+', command)
    choices = [
        ["", word[1:-1]]
        if word.startswith("[")
        else [word]
        if word.startswith('"')
        else word.split("|")
        for word in words
    ]
    return [" ".join(filter(None, chosen)) for chosen in product(*choices)]


TEXT = """
Say this:

    zoo list --where "a | b"     # with a comment
    zoo/    no command
    harness list risks|attacks [--long]

```
$ harness compare
harness output
```
This is `tables/loans.toml`:

```toml
file = "loans.csv"
```

```toml
no = "file"
```

```python
import zoo
```

```sh
pip install x  # why
```
"""


def test_examples_are_found_in_their_order() -> None:
    assert list(examples(TEXT)) == [
        Example("command", 'zoo list --where "a | b"'),
        Example("command", "harness list risks|attacks [--long]"),
        Example("command", "harness compare"),
        Example("file", 'file = "loans.csv"\n', "tables/loans.toml"),
        Example("python", "import zoo\n"),
        Example("command", "pip install x"),
    ]


def test_alternatives_are_all_spelled_out() -> None:
    assert spelled_out('zoo list --where "a | b"') == ['zoo list --where "a | b"']
    assert spelled_out("harness list risks|attacks [--long]") == [
        "harness list risks",
        "harness list risks --long",
        "harness list attacks",
        "harness list attacks --long",
    ]


def _shown(document: str) -> list[Example]:
    return list(examples((ROOT / document).read_text(encoding="utf-8")))


SHOWN = [(document, example) for document in DOCUMENTS for example in _shown(document)]


def test_what_is_not_run_as_it_stands_still_stands_in_a_document() -> None:
    shown = {example.text for _, example in SHOWN}
    assert [command for command in OTHERWISE if command not in shown] == []


def _to_run(example: Example, mirror: Path | None) -> list[str]:
    """What is run for an example: nothing, or one thing or more."""
    if example.kind == "python":
        return [example.text]
    instead, _ = OTHERWISE.get(example.text, (example.text, ""))
    if instead is None or (mirror is None and "DIR" in instead):
        return []
    quick = QUICK if instead.startswith("harness eval") else ""
    return [one.replace("DIR", str(mirror)) + quick for one in spelled_out(instead)]


def _write_what_the_reader_has(folder: Path) -> None:
    """The files that the documents say the reader has."""
    safetensors.torch.save_file(
        build("cnn-small", (1, 8, 8), 10).state_dict(), folder / "my.safetensors"
    )
    rows = [
        f"{row},{20 + row % 37},{('cook', 'smith', 'clerk')[row % 3]},{18 + row % 61},"
        f"{('female', 'male')[row // 7 % 2]},{('no', 'yes')[row % 37 > 17]}\n"
        for row in range(400)
    ]
    (folder / "tables").mkdir()
    (folder / "tables/loans.csv").write_text(
        "id,income,job,age,sex,repaid\n" + "".join(rows), encoding="utf-8"
    )
    for k in range(40):
        image = folder / "scans/xrays" / ("none", "pneumonia")[k % 2] / f"{k}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 36), 40 + 120 * (k % 2) + k).save(image)
    (folder / "net.py").write_text(XRAY_NET, encoding="utf-8")
    net = build(f"{folder / 'net.py'}:XrayNet(width=4)", (3, 32, 32), 2)
    torch.save(net.state_dict(), folder / "best.pt")
    draw = random.Random(0)
    for name in ("members", "nonmembers"):
        lines = [f"{(p := draw.random()):.6f},{1 - p:.6f},{('cat', 'dog')[k % 2]},{'fm'[k // 2 % 2]}\n"
                 for k in range(200)]  # fmt: skip
        text = "cat,dog,label,sex\n" + "".join(lines)
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")


XRAY_NET = """
from torch import nn


class XrayNet(nn.Sequential):
    def __init__(self, width):
        super().__init__(
            nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(4 * width, 2),
        )
"""


PROBES = {
    Example("python", "import zoo\nprint(zoo.__file__)"): 0,
    Example("python", "1 / 0"): 1,
    Example("python", ">>> len(images)\n2\n"): 0,
    Example("python", ">>> len(images)\n3\n"): 1,
    Example("command", 'zoo list --limit 1 --columns "name"'): 0,
    Example("command", "zoo list --no-such-option"): 2,
    Example("command", "zoo show no/such-model"): 2,
}
"""Examples that run or do not, with what they end with."""

Outcome = tuple[str, int, str]
"""What was run, its exit code, and what it printed."""


@pytest.fixture(scope="module")
def outcomes(
    installed: Path, public: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, Example], list[Outcome]]:
    """What came of every example."""
    folder = tmp_path_factory.mktemp("reader")
    _write_what_the_reader_has(folder)
    for _, example in SHOWN:
        if example.kind == "file":
            (folder / example.name).write_text(example.text, encoding="utf-8")
    every = [*SHOWN, *(("probe", probe) for probe in PROBES)]
    runs = [
        (shown, text)
        for shown in every
        if shown[1].kind != "file"
        for text in _to_run(shown[1], public)
    ]
    variables = os.environ | {"PYTHONPATH": str(installed), "ZOO_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "tests/run_examples.py"],
        input=json.dumps([(shown[1].kind, text) for shown, text in runs]),
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[tuple[str, Example], list[Outcome]] = {shown: [] for shown in every}
    for (shown, text), (code, printed) in zip(runs, json.loads(done.stdout), strict=True):
        found[shown].append((text, code, printed))
    return found


@pytest.mark.parametrize(("probe", "code"), PROBES.items(), ids=lambda one: str(one)[:60])
def test_what_fails_is_seen(probe, code, outcomes) -> None:
    assert [found for _, found, _ in outcomes["probe", probe]] == [code]


def test_it_is_the_wheel_that_runs(installed, outcomes) -> None:
    ((_, _, printed),) = outcomes["probe", next(iter(PROBES))]
    assert printed.startswith(str(installed))


def _run_ones() -> Iterator[Any]:
    """Every example of which something is run, as pytest's parameters."""
    for shown in SHOWN:
        example = shown[1]
        if example.kind != "file" and OTHERWISE.get(example.text, ("", ""))[0] is not None:
            marks = [pytest.mark.mirror] if "DIR" in example.text else []
            yield pytest.param(shown, id=example.text[:60], marks=marks)


@pytest.mark.parametrize("shown", _run_ones())
def test_an_example_runs_from_the_wheel(shown, outcomes) -> None:
    assert outcomes[shown]
    for text, code, printed in outcomes[shown]:
        assert code == 0, f"{text}\n{printed}"
