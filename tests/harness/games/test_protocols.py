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
        f"def play_{word}(attack: {attack}, table: Table) -> None:\n"
        f"    {game}.play(attack, table)\n"
    )


def test_every_attack_fits_its_game(tmp_path) -> None:
    games = {risk: game.__name__ for risk, game in by_risk.GAMES.items()}
    code = [
        "from harness.games.game import Table",
        *(f"import {game}" for game in games.values()),
        *(
            _played(name, place, games[registry.get("attack", name).risk])
            for name, place in registry.ATTACKS.items()
        ),
        _played("stranger", registry.ATTACKS["distillation"], "harness.games.evasion"),
    ]
    (tmp_path / "played.py").write_text("\n".join(code))
    settings = {"include": ["played.py"], "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run([*command, "-p", str(tmp_path)], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    wrong = [each["message"].splitlines()[0] for each in found["generalDiagnostics"]]
    # The stranger is a thief at the evasion game, which shows that anything was looked at.
    assert len(wrong) == 1, wrong
    assert '"Distillation"' in wrong[0]
    assert '"Evades"' in wrong[0]
