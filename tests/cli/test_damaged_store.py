"""One damaged file of a store is left out and named with what to do; all the rest works."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

RUN = [
    "harness", "eval", "--model", "digits-mlp", "--defense", "dpsgd", "--risk", "evasion",
    "--attack", "fgsm", "--seeds", "2", "--tuning", "2", "--set", "recipe.epochs=1", "--workers",
    "1",
]  # fmt: skip
COMMANDS = [
    ["zoo", "list", "--dataset", "digits"],
    ["zoo", "show", "digits-mlp"],
    ["zoo", "fetch", "digits-mlp"],
    ["harness", "plan", *RUN[2:-2]],
    ["harness", "compare"],
    ["leaderboard", "build", "--out"],
    RUN,
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a fetched, an added and a trained model, with choices and measurements."""
    from zoo.home import Home

    home = Home.open(tmp_path_factory.mktemp("store") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(home.root))
        adding = ["--name", "me/mlp", "--dataset", "digits", "--architecture", "mlp-128"]
        for command in (
            ["zoo", "fetch", "digits-mlp"],
            ["zoo", "add", "--train", *adding, "--set", "epochs=1"],
            RUN,
        ):
            patch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as end:
                import_module(f"cli.{command[0]}_app").main()
            assert not end.value.code
    return home.root


DAMAGED = {
    "models/me__mlp/entry.json": "Remove it and add the model again",
    "models/digits-mlp/fetched.json": "`zoo fetch digits-mlp` makes it anew",
    "artifacts/*/spec.json": "The model is trained again when it is needed",
    "tunings/*.json": "The settings are tried again",
    "cells/*/result.json": "measures it again; or remove the folder",
    "cells/*/spec.json": "measures it again; or remove the folder",
    "cells/*/samples.parquet": "and measure the cell again",
}
"""What is damaged, each time another of those that there are, and what is said to do about it."""

CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2],
    "of something else": lambda content: b'{"sha256": "x", "tried": [], "seconds": "long"}',
}


@pytest.mark.parametrize("how", CONTENTS)
def test_damaged_files_are_named_and_the_rest_works(
    how: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    home = tmp_path / "home"
    shutil.copytree(store, home)
    monkeypatch.setenv("ZOO_HOME", str(home))
    advice = {}
    for place, (pattern, said) in enumerate(DAMAGED.items()):
        paths = sorted(path for path in home.glob(pattern) if path.parent.name[0] != ".")
        path = paths[place % len(paths)]
        path.write_bytes(CONTENTS[how](path.read_bytes()))
        is_cell = path.suffix == ".json" and path.parent.parent.name == "cells"
        advice[path.parent if is_cell else path] = said
    warned = ""
    for command in COMMANDS:
        target = [str(tmp_path / "site")] if command[0] == "leaderboard" else []
        monkeypatch.setattr(sys, "argv", [*command, *target])
        with pytest.raises(SystemExit) as end:
            import_module(f"cli.{command[0]}_app").main()
        said = capsys.readouterr()
        assert not end.value.code, said.err
        assert said.out
        assert "Traceback" not in said.err
        warned += said.err
    for path, what_to_do in advice.items():
        lines = [line for line in warned.splitlines() if f"{path} " in line]
        assert lines, (path, warned)
        assert all(line.startswith("warning: ") for line in lines)
        assert all(what_to_do in line for line in lines), lines
    # What this program can make again, it has.
    for pattern in list(DAMAGED)[1:-1]:
        for path in home.glob(pattern):
            assert isinstance(json.loads(path.read_text()), dict)
            assert "long" not in path.read_text()
