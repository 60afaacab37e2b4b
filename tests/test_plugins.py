"""A package outside this repository adds methods of every kind, and they work in every command.

The package is `tests/plugin`, which newcomers copy. It is installed into a folder that real
processes have on their path or have not.
"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from zoo import nets, plugins
from zoo.errors import UnknownNameError, ZooError

pytestmark = pytest.mark.whole

ROOT = Path(__file__).resolve().parents[1]
ADDED = {
    "attacks": "top-score",
    "defenses": "temperature",
    "metrics": "worst_class_robust_accuracy",
    "datasets": "stripes",
}
ASKED = ["--model", "me/stripes", "--defense", "temperature", "--risk",
         "membership-inference,evasion", "--attack", "top-score,fgsm", "--seeds", "2",
         "--tuning", "none"]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed into."""
    pytest.importorskip("hatchling", reason="it builds the package: install the extra 'dev'")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "tests" / "plugin", folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
               "--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


class Machine:
    """Commands of one store, with and without the package on their path."""

    def __init__(self, home: Path, site: Path) -> None:
        self.home, self.site = home, site

    def run(
        self, *words: str, installed: bool = True, code: str = ""
    ) -> subprocess.CompletedProcess[str]:
        path = [str(ROOT), *([str(self.site)] if installed else [])]
        variables = {
            **{k: v for k, v in os.environ.items() if k not in ("ZOO_MIRROR", "ZOO_DATA_DIR")},
            "PYTHONPATH": os.pathsep.join(path),
            "ZOO_HOME": str(self.home),
        }
        app = words[0] if words else ""
        code = code or f"from cli.{app}_app import main; main()"
        command = [sys.executable, "-c", code, *words[1:]]
        return subprocess.run(
            command, capture_output=True, text=True, env=variables, cwd=self.home.parent
        )

    def said(self, *words: str, **how) -> str:
        """What a command prints, which ends well."""
        done = self.run(*words, **how)
        assert done.returncode == 0, done.stderr
        assert "left out" not in done.stderr.replace("'selftrained'", "")
        return done.stdout


@pytest.fixture(scope="module")
def machine(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A store with a model of the package's network on the package's dataset, measured."""
    made = Machine(tmp_path_factory.mktemp("there") / "home", site)
    made.said("zoo", "add", "--train", "--name", "me/stripes", "--dataset", "stripes",
              "--architecture", "pooled-cnn", "--set", "epochs=60", "--set", "lr=0.01")  # fmt: skip
    made.said("harness", "eval", *ASKED, "--workers", "2")
    return made


@pytest.mark.parametrize(("kind", "name"), ADDED.items())
def test_what_a_package_adds_is_listed_where_it_is_installed(
    kind: str, name: str, machine: Machine
) -> None:
    shown = [line.split()[:2] for line in machine.said("harness", "list", kind).splitlines()]
    assert any(name in words for words in shown)
    assert name not in machine.said("harness", "list", kind, installed=False)


def test_a_network_is_built_by_its_name(machine: Machine) -> None:
    code = (
        "from zoo import nets; import torch\n"
        "print(tuple(nets.build('pooled-cnn', (1, 8, 8), 3)(torch.zeros(2, 1, 8, 8)).shape))"
    )
    assert machine.said(code=code) == "(2, 3)\n"
    failed = machine.run(code=code, installed=False)
    assert "No architecture 'pooled-cnn'" in failed.stderr
    listed = machine.said("zoo", "show", "me/stripes", installed=False)
    assert "pooled-cnn" in listed


def _rows(machine: Machine, **how) -> list[dict]:
    return json.loads(machine.said("harness", "compare", "--format", "json", **how))


def test_cells_are_measured_in_workers_and_planned_as_done(machine: Machine) -> None:
    planned = json.loads(machine.said("harness", "plan", *ASKED, "--format", "json"))
    assert (planned["cells"], planned["cells_missing"]) == (8, 0)
    evasion, membership = sorted(_rows(machine), key=lambda row: row["risk"])
    assert (evasion["attack"], membership["attack"]) == ("fgsm", "top-score")
    assert membership["defense"] == "temperature"
    assert membership["n_seeds"] == evasion["n_seeds"] == 2
    assert evasion["baseline_utility"] > 0.6, "the network learns nothing, and nothing is shown"


def test_a_metric_stands_beside_the_primary_one_with_an_interval_of_its_own(
    machine: Machine,
) -> None:
    evasion, membership = sorted(_rows(machine), key=lambda row: row["risk"])
    (other,) = evasion["other_measures"]
    assert other["name"] == "worst_class_robust_accuracy"
    assert other["direction"] == "higher is safer"
    assert other["interval"] == "seeds and examples"
    assert 0 <= other["baseline"] <= evasion["baseline"]
    assert other["ci_low"] <= other["effect"] <= other["ci_high"]
    assert "worst_class_robust_accuracy" not in membership["metrics"]
    table = machine.said("harness", "compare")
    (line,) = (line for line in table.splitlines() if other["name"] in line)
    assert "higher is safer" in line


def test_the_same_from_a_file_and_from_python(machine: Machine, tmp_path: Path) -> None:
    request = tmp_path / "request.toml"
    by_entropy = ["--set", "top-score.by=entropy", "--workers", "1", "--save", str(request)]
    machine.said("harness", "eval", *ASKED, *by_entropy)
    assert "nothing to do" in machine.run("harness", "eval", str(request)).stderr
    code = (
        "import harness\n"
        "found = harness.measure('me/stripes', defenses='temperature', attacks='top-score,fgsm',\n"
        "    risks='membership-inference,evasion', seeds=2, tuning='none', workers=1)\n"
        "print(sorted(set(found.attack)), found['metrics.worst_class_robust_accuracy'].count())"
    )
    assert machine.said(code=code) == "['fgsm', 'top-score'] 4\n"


def test_the_workers_of_a_cluster_have_it_too(machine: Machine, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="install the extra 'ray'")
    cluster = Machine(tmp_path / "home", machine.site)
    shutil.copytree(machine.home / "models", cluster.home / "models")
    cluster.said("harness", "eval", *ASKED, "--workers", "2", "--executor", "ray")
    assert {row["attack"] for row in _rows(cluster)} == {"fgsm", "top-score"}


def test_the_doctor_finds_nothing_wrong_with_it_in_real_processes(machine: Machine) -> None:
    names = [*ADDED.values(), "pooled-cnn"]
    found = json.loads(machine.said("harness", "doctor", *names, "--format", "json"))
    assert sorted(one["name"] for one in found) == sorted(names)
    assert [one for one in found if not one["ok"] or one["what"]] == []
    done = machine.run("harness", "doctor", "top-score", installed=False)
    assert done.returncode == 2
    assert "'top-score'" in done.stderr


def test_the_doctor_ends_with_1_if_anything_is_wrong(machine: Machine, tmp_path: Path) -> None:
    shutil.copytree(machine.site, tmp_path / "site")
    (attack,) = (tmp_path / "site").glob("*/attack.py")
    attack.write_text(attack.read_text().replace("scores.amax(1)", "scores.amax(1).log() / 0"))
    done = Machine(machine.home, tmp_path / "site").run("harness", "doctor", "top-score", "stripes")
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("top-score"))
    assert "its result is not finite" in line
    assert done.stderr.strip().endswith("2 tried, 1 of them wrong")
    attack.write_text("import no_such_package\n")
    done = Machine(machine.home, tmp_path / "site").run("harness", "doctor", "top-score")
    assert done.returncode == 1
    reason = (
        "the package zoo-plugin-example: ModuleNotFoundError: No module named 'no_such_package'"
    )
    assert reason in done.stdout
    listed = Machine(machine.home, tmp_path / "site").run("harness", "list", "attacks")
    assert listed.returncode == 0
    assert len(listed.stderr.strip().splitlines()) == 1
    assert listed.stderr.startswith(
        "warning: The attack 'top-score' of the package zoo-plugin-example is left out: Mod"
    )


def test_the_site_has_it_with_the_package_and_without(machine: Machine, tmp_path: Path) -> None:
    for installed in (True, False):
        out = tmp_path / str(installed)
        machine.said("leaderboard", "build", "--out", str(out), installed=installed)
        pages = "".join(path.read_text() for path in out.rglob("*.html"))
        assert "top-score" in pages
        assert ("worst_class" in pages.replace("<wbr>", "")) == installed


def test_without_the_package_its_cells_are_shown_and_nothing_else_changes(
    machine: Machine,
) -> None:
    def numbers(row: dict) -> dict:
        own = {"worst_class_robust_accuracy"}
        also = [one for one in row["other_measures"] if one["name"] not in own]
        return row | {
            "metrics": {k: v for k, v in row["metrics"].items() if k not in own},
            "other_measures": also,
        }

    assert list(map(numbers, _rows(machine))) == _rows(machine, installed=False)
    again = machine.run("harness", "eval", *ASKED, installed=False)
    assert again.returncode == 2
    assert again.stderr.strip() == "error: No defense 'temperature'. Nearest: spectral-signatures."


def _points(monkeypatch: pytest.MonkeyPatch, group: str, **values: str) -> None:
    """Have these entry points, and forget what was found before and again afterwards."""
    points = [EntryPoint(name, value, group) for name, value in values.items()]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    for found in (registry._plugins, datasets._plugins, nets.registry._plugins):
        found.cache_clear()


@pytest.fixture(autouse=True)
def _forget() -> None:
    yield
    for found in (registry._plugins, datasets._plugins, nets.registry._plugins):
        found.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("gone", "no.such.package:Attack", "ModuleNotFoundError: No module named 'no'"),
        ("pgd", "harness.attacks.pgd:PGD", "the name is taken by one of ours"),
        ("mine", "harness.attacks.pgd:PGD", "PGD.name is 'pgd', but its entry point is 'mine'"),
        ("rounding", "harness.defenses.rounding:Rounding", "Rounding.risk wants a Risk, found"),
        ("loads", "json:loads", "it is no class but <function loads"),
        ("list", "builtins:list", "list is no frozen dataclass"),
    ],
)
def test_an_attack_that_is_none_is_left_out_in_one_line(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _points(monkeypatch, "harness.attacks", **{name: value})
    with pytest.warns(UserWarning, match="is left out") as said:
        known = registry.known("attack")
    assert set(known) == set(registry.ATTACKS)
    (warning,) = said
    text = str(warning.message)
    assert text.startswith(f"The attack {name!r} of {value} is left out: {reason}")
    assert "\n" not in text


def test_workers_do_not_say_again_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, "harness.attacks", gone="no.such.package:Attack")
    monkeypatch.setattr(plugins.multiprocessing, "parent_process", object)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.left_out("attack")[0].name == "gone"


def test_of_two_plugins_of_one_name_the_first_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("one", "torch.nn:Linear", "zoo.networks")] * 2
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    nets.registry._plugins.cache_clear()
    with pytest.warns(UserWarning, match="torch.nn:Linear has one of that name, too"):
        assert "one" in nets.names()


def _wrong_name(source: DataLocation) -> datasets.Dataset:
    return datasets.load("digits", source)


def _fails(*_: object) -> None:
    raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("value", "reason"),
    [("_wrong_name", "calls itself 'digits'"), ("_fails", "cannot be read: ValueError: no such"),
     ("print", "has to be a Dataset, found NoneType")],
)  # fmt: skip
def test_a_dataset_that_is_none_says_whose_it_is(
    value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _points(monkeypatch, "harness.datasets", ours="somewhere:ours")
    made = {"_wrong_name": _wrong_name, "_fails": _fails, "print": print}[value]
    monkeypatch.setattr(EntryPoint, "load", lambda point: made)
    with pytest.raises(ZooError, match=f"The dataset 'ours' of somewhere:ours .*{reason}"):
        datasets.load.__wrapped__("ours", DataLocation())


def test_a_network_of_a_librarys_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, "zoo.networks", **{"timm": "torch.nn:Linear", "a/b": "torch.nn:Linear"})
    with pytest.warns(UserWarning, match="left out") as said:
        assert set(nets.names()) == set(nets.registry.ARCHITECTURES)
    assert sorted(str(w.message).partition("left out: ")[2] for w in said) == [
        "a slash stands behind the name of a library. Rename it.",
        "the name is taken by one of ours. Rename it.",
    ]
    with pytest.raises(UnknownNameError):
        nets.build("a/b", (3,), 2)


def test_the_example_metric_by_hand() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "plugin"))
    try:
        from zoo_plugin_example.metric import WorstClass
    finally:
        sys.path.pop(0)
    samples = {"label": np.array([0, 0, 1, 1]), "perturbed": np.array([0, 0, 1, 0])}
    assert WorstClass().measure(samples) == 0.5
    assert WorstClass().measure({name: column[:0] for name, column in samples.items()}) is None
