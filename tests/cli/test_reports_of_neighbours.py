"""Public bug reports about other tools, each as what a user of ours would type."""

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from harness import registry
from zoo.recipe import Recipe

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """One store for all: its catalog is built once."""
    return tmp_path_factory.mktemp("refused") / "home"


@pytest.fixture
def refused(home, monkeypatch, capsys) -> Refused:
    """Call ``harness``, see it end with one line and exit code 2, and nothing be stored."""
    monkeypatch.setenv("ZOO_HOME", str(home))

    def call(*arguments: str) -> str:
        from cli.harness_app import main

        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert (end.value.code, found.out) == (2, "")
        assert found.err.startswith("error: ")
        assert found.err.count("\n") == 1
        for kind in ("cells", "artifacts", "tunings"):
            assert not (home / kind).exists()
        return found.err

    return call


@pytest.mark.parametrize("command", ["eval", "plan"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dpsgd.noise_multplier", "No setting of dpsgd 'noise_multplier'. Nearest: noise_multiplier"),
        ("dpsgd.noise-multiplier", "No setting of dpsgd 'noise-multiplier'. Nearest: noise_multiplier"),
        ("noise_multplier", "No setting 'noise_multplier'. Nearest: dpsgd.noise_multiplier"),
        ("dpsgd.noise", "noise_multiplier"),
        ("dpsgd.sigma", "noise_multiplier"),
        ("sigma", "dpsgd.noise_multiplier"),
        ("dp-sgd.noise_multiplier", "No method in this request with settings 'dp-sgd'. Nearest: dpsgd"),
        ("recipe.noise_multiplier", "No setting of recipe 'noise_multiplier'"),
    ],
)  # fmt: skip
def test_no_misspelt_noise_trains_without_privacy(command, given, said, refused) -> None:
    """LeakPro 447: the run went on with no noise at all."""
    asked = ["--model", "digits-mlp", "--defense", "dpsgd", "--risk", "evasion", "--attack", "fgsm"]
    assert said in refused(command, *asked, "--tuning", "none", "--set", f"{given}=1")


def _request(kind: registry.Kind, name: str) -> list[str]:
    """Options that ask for this method."""
    if kind == "defense":
        return ["--defense", name, "--risk", "evasion", "--attack", "fgsm"]
    return ["--risk", registry.get("attack", name).risk, "--attack", name]


@pytest.mark.parametrize(
    ("kind", "name"), [("defense", n) for n in registry.DEFENSES] + [("attack", n) for n in registry.ATTACKS]
)  # fmt: skip
def test_a_misspelt_setting_of_any_method_is_refused(kind, name, refused) -> None:
    """LeakPro 447, wherever else a setting could be dropped in silence."""
    meant = next((f.name for f in fields(registry.get(kind, name))), None)
    given = f"{meant[:1]}{meant[2:]}x" if meant else "strength"
    asked = ["plan", "--model", "digits-mlp", *_request(kind, name)]
    said = refused(*asked, "--set", f"{name}.{given}=1")
    assert f"No setting of {name} {given!r}." in said
    assert (meant or "Known: none") in said


def test_a_misspelt_setting_of_the_recipe_is_refused(refused) -> None:
    """LeakPro 447."""
    asked = ["plan", "--model", "digits-mlp", "--risk", "evasion", "--attack", "fgsm"]
    for field in fields(Recipe):
        said = refused(*asked, "--set", f"recipe.{field.name}s=1")
        assert f"No setting of recipe '{field.name}s'. Nearest: {field.name}" in said
