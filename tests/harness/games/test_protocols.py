"""Every attack is what its risk's game takes: types cannot tell from the risk, so all are tried."""

import json
import subprocess
import sys
from pathlib import Path

from harness import registry
from harness.games import by_risk

ROOT = Path(__file__).resolve().parents[3]


def _played(name: str, place: str, game: str) -> str:
    """A function in which the attack called ``name`` is played."""
    module, _, attack = place.partition(":")
    word = name.replace("-", "_")
    return (
        f"from {module} import {attack}\n"
        f"def play_{word}(attack: {attack}, scenario: Scenario) -> None:\n"
        f"    {game}.play(attack, scenario)\n"
    )


def _wrong(code: list[str], folder: Path) -> list[str]:
    """What the type checker finds wrong in a module of these lines."""
    (folder / "checked.py").write_text("\n".join(code))
    settings = {"include": ["checked.py"], "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run([*command, "-p", str(folder)], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    return [each["message"].splitlines()[0] for each in found["generalDiagnostics"]]


def test_every_attack_fits_its_game(tmp_path) -> None:
    games = {risk: game.__name__ for risk, game in by_risk.GAMES.items()}
    code = [
        "from harness.games.game import Scenario",
        *(f"import {game}" for game in games.values()),
        *(
            _played(name, place, games[registry.get("attack", name).risk])
            for name, place in registry.ATTACKS.items()
        ),
        _played("stranger", registry.ATTACKS["distillation"], "harness.games.evasion"),
    ]
    # The stranger is a thief at the evasion game, which shows that anything was looked at.
    (wrong,) = _wrong(code, tmp_path)
    assert '"Distillation"' in wrong
    assert '"Evades"' in wrong


def test_what_the_registry_gives_is_known_by_kind(tmp_path) -> None:
    code = ["from harness import registry"]
    for kind, fact in (("attack", "risk"), ("defense", "guards")):
        code += [
            f'registry.make("{kind}", "x", {{}}).{fact}',
            f'registry.get("{kind}", "x").{fact}',
            f'registry.known("{kind}")["x"].{fact}',
        ]
    strange = ['registry.make("attack", "x", {}).guards', 'registry.get("defense", "x").risk',
               'registry.known("attack")["x"].acts_on']  # fmt: skip
    wrong = _wrong([*code, *strange], tmp_path)
    assert [line.split('"')[1] for line in wrong] == ["guards", "risk", "acts_on"], wrong
