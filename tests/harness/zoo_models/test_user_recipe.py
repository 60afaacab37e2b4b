"""A table of the user's own from its description to an evaluated model."""

import json
import os
import random
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.zoo_models import user_recipe
from harness.zoo_models.selftrained import SelfTrained
from zoo.add_trained import Data, add_trained
from zoo.errors import ZooError
from zoo.home import Home
from zoo.recipe import Recipe

pytestmark = pytest.mark.whole

IMAGES = Data(
    name="images", input_shape=(1, 8, 8), num_classes=2, train_size=40, test_size=None,
    attributes=(), widths=(),
)  # fmt: skip
BIN = Path(sys.executable).parent


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Four hundred loans, approved by income and job."""
    folder, draw = tmp_path / "tables", random.Random(0)
    folder.mkdir()
    lines = ["age,job,sex,income,approved"]
    for _ in range(400):
        job, income = draw.choice("abc"), draw.randrange(100)
        approved = "yes" if income + 20 * (job == "a") > 55 else "no"
        lines.append(f"{draw.randrange(18, 80)},{job},{draw.choice('fm')},{income},{approved}")
    (folder / "loans.csv").write_text("\n".join(lines) + "\n")
    (folder / "credit.toml").write_text(
        'file = "loans.csv"\nlabel = "approved"\nclasses = ["no", "yes"]\n'
        'categorical = ["job", "sex"]\n[sensitive.sex]\n'
    )
    return folder


def test_the_facts_of_a_dataset_are_those_of_its_rows(tables: Path) -> None:
    found = user_recipe.facts("credit", DataLocation(data_dir=tables))
    assert (found.input_shape, found.widths, found.num_classes) == ((5,), (1, 3, 1), 2)
    assert (found.train_size, found.test_size, found.attributes) == (400, None, ("sex",))
    digits = user_recipe.facts("digits", DataLocation())
    assert (digits.input_shape, digits.widths, digits.attributes) == ((1, 8, 8), (), ())


def test_a_recipe_is_read_from_settings() -> None:
    assert user_recipe.recipe(["epochs=20", "lr=3e-3"], IMAGES) == Recipe(epochs=20, lr=0.003)
    assert user_recipe.recipe([], IMAGES) == Recipe()


@pytest.mark.parametrize(
    ("texts", "rows", "epochs"),
    [
        ([], 300, 1250),  # 75 rows are two steps
        ([], 20_000, 32),  # 79 steps
        ([], 48_842, 30),
        (["batch_size=25"], 300, 834),
        (["epochs=7"], 300, 7),
    ],
)
def test_few_rows_are_gone_through_more_often(texts, rows, epochs) -> None:
    data = replace(IMAGES, input_shape=(5,), train_size=rows - 100, test_size=100)
    assert user_recipe.recipe(texts, data).epochs == epochs
    data = replace(data, train_size=rows, test_size=None)
    assert user_recipe.recipe(texts, data).epochs == epochs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch=3", "No setting of a recipe 'epoch'. Nearest: epochs"),
        ("epochs=many", "epochs wants int, found 'many'"),
        ("epochs=0", "wants epochs of at least 1, found 0"),
        ("optimizer=lion", "optimizer wants adam|sgd, found 'lion'"),
        ("epochs", "--set wants field=value, found 'epochs'"),
    ],
)
def test_a_wrong_setting_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ZooError) as caught:
        user_recipe.recipe([text], IMAGES)
    assert said in str(caught.value)


def test_a_users_own_table_is_trained_shown_and_evaluated(tmp_path: Path, tables: Path) -> None:
    environment = {
        **os.environ,
        "ZOO_HOME": str(tmp_path / "home"),
        "ZOO_DATA_DIR": str(tables),
        "OMP_NUM_THREADS": "1",
    }

    def call(*command: str) -> str:
        done = subprocess.run(
            [BIN / command[0], *command[1:]], capture_output=True, text=True, env=environment,
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("zoo", "add", "--train", "--name", "me/credit", "--dataset", "credit",
         "--architecture", "tabular-transformer", "--set", "epochs=20", "--set", "lr=0.01")  # fmt: skip
    (fetched,) = json.loads(call("zoo", "fetch", "me/credit", "--format", "json"))
    assert fetched["status"] == "fetched"
    assert fetched["accuracy"] > 0.8  # of 100 others; about half of them are approved
    shown = json.loads(call("zoo", "show", "me/credit", "--format", "json"))
    assert shown["model"]["architecture"] == "tabular-transformer/1,3,1"
    (row,) = json.loads(
        call("harness", "eval", "--model", "me/credit", "--risk", "membership-inference",
             "--attack", "correctness", "--seeds", "1", "--tuning", "none", "--format", "json")
    )  # fmt: skip
    assert (row["regime"], row["status"]) == ("from-scratch", "ok")
    assert row["accuracy"] == pytest.approx(fetched["accuracy"])


def test_a_table_that_changed_is_not_trained_on(tmp_path: Path, tables: Path) -> None:
    home, source = Home.open(tmp_path / "home"), DataLocation(data_dir=tables)
    entry = add_trained(
        home, name="me/credit", data=user_recipe.facts("credit", source), architecture="mlp-32",
        recipe=Recipe(epochs=1),
    )  # fmt: skip
    described = (tables / "credit.toml").read_text()
    (tables / "credit.toml").write_text(f'ignored = ["age"]\n{described}')
    datasets.load.cache_clear()
    with pytest.raises(ZooError, match="added for 5 features and 2 classes, but credit has 4 and"):
        SelfTrained().fetch(entry, home, data_dir=tables)


def test_what_zoo_add_says_to_do_next_works_as_it_stands(tmp_path: Path, tables: Path) -> None:
    environment = {**os.environ, "ZOO_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("ZOO_DATA_DIR", None)
    folder = tables.rename(tmp_path / "my tables")

    def call(*command: str) -> str:
        done = subprocess.run(
            [BIN / command[0], *command[1:]], capture_output=True, text=True, env=environment,
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = call("zoo", "add", "--train", "--name", "me/credit", "--dataset", "credit",
                "--architecture", "mlp-32", "--data-dir", str(folder))  # fmt: skip
    next_call = shlex.split(said.partition("Train it with: ")[2])
    assert next_call == ["zoo", "fetch", "me/credit", "--data-dir", str(folder)]
    (fetched,) = json.loads(call(*next_call, "--format", "json"))
    assert fetched["accuracy"] > 0.8  # with the recipe for tables; about half are approved
