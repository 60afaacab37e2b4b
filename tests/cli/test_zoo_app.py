"""The ``zoo`` command as a user runs it: its answers, and one line for every problem."""

import csv
import ctypes
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from annotations.load import FOLDER
from zoo.nets import build

Zoo = Callable[..., subprocess.CompletedProcess[str]]
RESNET = "akamaster/resnet20-cifar10"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the tests of this file share, to build its catalog once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def zoo(store: Path) -> Zoo:
    """Run the command in a process of its own."""

    def run(*arguments: str, home: Path = store) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "ZOO_HOME": str(home)}
        environment.pop("ZOO_MIRROR", None)
        return subprocess.run(
            [sys.executable, "-c", "from cli.zoo_app import main; main()", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    return run


def ok(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def problem(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a user's problem prints."""
    assert result.returncode == 2, result
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(build("mlp-128", (1, 8, 8), 10).state_dict(), tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def test_build_prints_one_hash_for_every_store(zoo: Zoo, tmp_path: Path) -> None:
    first = ok(zoo("build"))
    assert len(first.strip()) == 64
    assert ok(zoo("build", home=tmp_path / "other")) == first


def test_build_reports_every_wrong_annotation_in_one_line(zoo: Zoo, tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, old in (("families.csv", "he2016"), ("datasets.csv", "39209")):
        path = folder / name
        path.write_text(path.read_text().replace(old, "wrong"))
    said = problem(zoo("build", "--annotations", str(folder), home=tmp_path / "home"))
    assert re.search(r"families\.csv:\d+: paper: no row 'wrong'", said)
    assert re.search(r"datasets\.csv:\d+: train_size: 'wrong' is not a whole number", said)


def test_list_shows_models_and_what_selects_them(zoo: Zoo) -> None:
    header, *rows = ok(zoo("list", "--dataset", "digits")).splitlines()
    assert header.split() == [
        "name", "purpose", "dataset", "architecture", "parameters", "accuracy", "accuracy_by",
        "backdoored",
    ]  # fmt: skip
    assert [row.split()[0] for row in rows] == [
        "digits-cnn", "digits-mlp", "digits-resnet8", "digits-vit",
    ]  # fmt: skip
    assert rows[0].split()[5:7] == ["-", "-"]  # nobody has measured it yet


def test_list_as_csv_and_json(zoo: Zoo) -> None:
    arguments = ["list", "--where", "accuracy > 0.92", "--dataset", "cifar10", "--columns"]
    text = ok(zoo(*arguments, "name, accuracy", "--format", "csv"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {"name": "akamaster/resnet32-cifar10", "accuracy": "0.9263"} in rows
    assert min(float(row["accuracy"]) for row in rows) > 0.92
    records = json.loads(ok(zoo(*arguments, "*", "--format", "json")))
    assert len(records) == len(rows)
    assert records[0]["mean"] == [0.485, 0.456, 0.406]
    assert len(json.loads(ok(zoo("list", "--limit", "3", "--format", "json")))) == 3


def test_list_and_help_import_nothing_heavy(store: Path) -> None:
    code = (
        "import sys\n"
        "from cli.zoo_app import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'pandas', 'scipy', 'rich.table')"
        " if m in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "ZOO_HOME": str(store)}
    for arguments in (
        ["--help"],
        ["list"],
        ["show", "digits-cnn"],
        ["sql", "SELECT 1"],
        ["fetch", "--help"],
    ):
        found = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, env=environment, check=True,
        )  # fmt: skip
        assert found.stderr == "[]\n", arguments


def test_show_tells_where_values_come_from(zoo: Zoo) -> None:
    text = ok(zoo("show", RESNET))
    assert "BSD-2-Clause" in text
    assert "https://github.com/akamaster/pytorch_resnet_cifar10/tree/d5489e8995e8" in text
    found = json.loads(ok(zoo("show", RESNET, "--format", "json")))
    assert found["model"]["sha256"].startswith("12fca82f")
    facts = list(csv.DictReader(io.StringIO(ok(zoo("show", RESNET, "--format", "csv")))))
    (licence,) = [f for f in facts if (f["entity"], f["field"]) == ("models", "licence")]
    assert (licence["value"], licence["file"]) == ("BSD-2-Clause", "sources/published.csv")


def test_sql_answers_questions(zoo: Zoo) -> None:
    text = ok(zoo("sql", "SELECT count(*) AS n FROM models WHERE purpose = 'security'"))
    header, count = text.split()
    assert header == "n"
    assert int(count) >= 19


def test_every_command_explains_itself_with_an_example(zoo: Zoo) -> None:
    listed = ok(zoo("--help"))
    for command in ("build", "list", "show", "fetch", "verify", "sql", "add"):
        assert f"\n  {command} " in listed
        text = ok(zoo(command, "--help"))
        assert command == "build" or f"zoo {command} " in text


def test_a_models_own_checkpoint_is_added_listed_and_fetched(
    zoo: Zoo, tmp_path: Path, checkpoint: Path
) -> None:
    home = tmp_path / "home"
    mine = ["--name", "me/mlp", "--dataset", "digits", "--architecture", "mlp-128"]
    assert "Added me/mlp" in ok(
        zoo("add", str(checkpoint), *mine, "--mean", "0", "--std", "0.5", home=home)
    )
    (row,) = json.loads(
        ok(zoo("list", "--where", "source = 'local'", "--format", "json", home=home))
    )
    assert row["name"] == "me/mlp"
    (found,) = json.loads(ok(zoo("fetch", "me/mlp", "--format", "json", home=home)))
    assert found["status"] == "cached"
    assert Path(found["path"]).exists()
    assert "Names are never reused" in problem(zoo("add", str(checkpoint), *mine, home=home))


def test_fetch_goes_on_past_a_failure_and_names_it_at_the_end(
    zoo: Zoo, tmp_path: Path, checkpoint: Path
) -> None:
    home, mirror = tmp_path / "home", tmp_path / "mirror"
    mine = ["--name", "me/mlp", "--dataset", "digits", "--architecture", "mlp-128"]
    ok(zoo("add", str(checkpoint), *mine, "--mean", "0", "--std", "1", home=home))
    bad = mirror / "weights/akamaster__pytorch_resnet_cifar10/resnet20-12fca82f.th"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"<html>Quota exceeded</html>")
    result = zoo("fetch", RESNET, "me/mlp", "--mirror", str(mirror), "--format", "json", home=home)
    assert "1 of 2 failed" in problem(result)
    assert "web page" in result.stderr
    assert [(row["name"], row["status"]) for row in json.loads(result.stdout)] == [
        (RESNET, "failed"),
        ("me/mlp", "cached"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "digits-cn"], "No model 'digits-cn'. Nearest: digits-cnn"),
        (["fetch", "digit-mlp"], "No model 'digit-mlp'. Nearest: digits-mlp"),
        (["verify"], "Name the models, or select them with --where, but not both"),
        (["fetch", "--from-file", "x.pt"], "x.pt is one model's file. Name that model alone"),
        (["remove", "digits-cnn", "digits-cn"], "No model 'digits-cn'. Nearest: digits-cnn"),
        (
            ["add", "--name", "me/x", "--dataset", "digits", "--architecture", "mlp-128"],
            "Name the checkpoint to add, or give --train",
        ),
        (
            [
                "add",
                "x.pt",
                "--train",
                "--name",
                "me/x",
                "--dataset",
                "digits",
                "--architecture",
                "mlp-128",
            ],
            "a file cannot be given with --train",
        ),
        (
            [
                "add",
                "x.pt",
                "--set",
                "epochs=3",
                "--name",
                "me/x",
                "--dataset",
                "digits",
                "--architecture",
                "mlp-128",
            ],
            "--set epochs is of your own code, or of a recipe with --train",
        ),
        (["fetch", "digits-mlp", "--where", "true"], "but not both"),
        (["fetch", "--where", "false"], "No model matches --where 'false'"),
        (["fetch", RESNET, "--mirror", "/nowhere"], "mirror /nowhere is not a folder"),
        (["list", "--where", ""], "the condition is empty"),
        (["fetch", "--where", " "], "the condition is empty"),
        (["list", "--dataset", "cifar"], "No dataset 'cifar'. Nearest: cifar10"),
        (["list", "--purpose", "evil"], "No purpose 'evil'"),
        (["list", "--columns", "acc"], "No column 'acc'. Nearest: accuracy"),
        (["list", "--where", "true; DROP TABLE models"], "is not a condition"),
        (["sql", "DROP TABLE models"], "Ask one question"),
        (["sql", "SELECT 1; SELECT 2"], "Ask one question"),
        (["sql", "FROM read_text('/etc/passwd')"], "Permission Error"),
        (["sql", "ATTACH '/tmp/x.duckdb'"], "Ask one question"),
        (["sql", "INSTALL httpfs"], "Ask one question"),
        (["build", "--annotations", "/nowhere"], "annotations in /nowhere cannot be read"),
        (["verify", "digits-cn"], "No model 'digits-cn'"),
    ],
)
def test_a_problem_is_one_line_and_exit_code_two(zoo: Zoo, arguments: list[str], said: str) -> None:
    assert said in problem(zoo(*arguments))


def test_a_checkpoint_that_holds_code_is_one_line(zoo: Zoo, tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    torch.save({"weight": Boom()}, tmp_path / "mine.pt")
    mine = ["--name", "me/boom", "--dataset", "digits", "--architecture", "mlp-128"]
    assert "NOT executed" in problem(zoo("add", str(tmp_path / "mine.pt"), *mine))
    assert not (tmp_path / "marker").exists()


def test_wrong_numbers_are_named(zoo: Zoo, checkpoint: Path) -> None:
    mine = ["--name", "me/mlp", "--dataset", "digits", "--architecture", "mlp-128"]
    said = problem(zoo("add", str(checkpoint), *mine, "--mean", "half", "--std", "1"))
    assert "--mean 'half' is not numbers" in said


def test_numbers_that_are_not_finite_leave_the_catalog_as_it_was(
    zoo: Zoo, tmp_path: Path, checkpoint: Path
) -> None:
    mine = ["--name", "me/mlp", "--dataset", "digits", "--architecture", "mlp-128"]
    for option in ("--mean", "--std"):
        given = {"--mean": "0", "--std": "1", option: "nan"}
        said = problem(
            zoo(
                "add",
                str(checkpoint),
                *mine,
                *itertools.chain(*given.items()),
                home=tmp_path / "home",
            )
        )
        assert "need 1 comma-separated finite number" in said
    assert "me/mlp" not in ok(zoo("list", home=tmp_path / "home"))


@pytest.mark.parametrize("arguments", [["list"], ["fetch", "digits-mlp"], ["build"]])
@pytest.mark.parametrize("place", ["/dev/null", "/proc/x"])
def test_a_place_that_cannot_be_a_store_is_named(
    zoo: Zoo, place: str, arguments: list[str]
) -> None:
    assert place in problem(zoo(*arguments, home=Path(place)))


def give_up_the_right_to_write_anywhere() -> None:
    """In a process of root: without this, root may write to folders that are read-only."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    libc = ctypes.CDLL(None)
    for capability in (dac_override, dac_read_search):
        libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="root cannot be kept from writing")
def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, checkpoint: Path) -> None:
    home = tmp_path / "home"
    mine = ["--dataset", "digits", "--architecture", "mlp-128", "--mean", "0", "--std", "1"]

    def zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from cli.zoo_app import main; main()", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "ZOO_HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")},
            preexec_fn=give_up_the_right_to_write_anywhere,
            check=False,
        )

    ok(zoo("add", str(checkpoint), "--name", "me/mlp", *mine))
    listed = ok(zoo("list"))
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    files = [path for path in home.rglob("*") if path.is_file()]
    modes = {path: path.stat().st_mode for path in folders + files}
    try:
        for path in modes:
            path.chmod(0o555)
        assert ok(zoo("list")) == listed
        assert "cached" in ok(zoo("fetch", "me/mlp"))
        for arguments in (
            ["add", str(checkpoint), "--name", "me/other", *mine],
            ["fetch", RESNET, "--mirror", str(tmp_path)],
        ):
            said = problem(zoo(*arguments))
            assert str(home) in said
            assert "cannot be used: Permission denied" in said
        home.chmod(0)
        assert "Permission denied" in problem(zoo("list"))
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert ok(zoo("list")) == listed


@pytest.mark.parametrize(
    "arguments", [["list"], ["build"], ["fetch", "digits-mlp"], ["show", "digits-mlp"]]
)
def test_a_store_of_a_newer_version_is_refused_and_left_alone(
    zoo: Zoo, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "format.json").write_text('{"format": 999}')
    assert "was written by a newer version" in problem(zoo(*arguments, home=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["format.json"]


def test_a_damaged_database_says_what_to_do(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "zoo.duckdb").write_bytes(b"junk" * 1000)
    assert "delete it and run `zoo build`" in problem(zoo("list", home=tmp_path))


def test_a_full_disk_is_one_line_and_the_same_command_works_later(zoo: Zoo, tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "from cli.zoo_app import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "list"],
        capture_output=True, text=True, env={**os.environ, "ZOO_HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert "the disk is full" in problem(result)
    ok(zoo("list", home=tmp_path))


def test_two_commands_at_once_on_a_new_store_both_succeed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from cli.zoo_app import main; main()", "list"]
    environment = {**os.environ, "ZOO_HOME": str(tmp_path)}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert len(set(answers)) == 1


@pytest.mark.mirror
def test_verify_measures_a_published_model_beside_its_claim(zoo: Zoo, mirror: Path) -> None:
    result = zoo("verify", RESNET, "--mirror", str(mirror), "--limit", "500", "--format", "json")
    (found,) = json.loads(ok(result))
    assert (found["name"], found["n"], found["sha256_ok"]) == (RESNET, 500, True)
    assert (found["annotated"], found["annotated_by"]) == (0.9173, "source")
    assert found["ci_low"] < found["measured"] < found["ci_high"]
    assert found["verdict"] == "agrees"


def test_verifying_weights_that_became_nan_is_a_failure(
    home_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import torch

    from cli.zoo_app import main
    from zoo.add import add
    from zoo.fetch import fetch
    from zoo.home import Home
    from zoo.loading import to_safetensors
    from zoo.nets import build

    home = Home.open(home_dir)
    state = build("mlp-128", (1, 8, 8), 10).state_dict()
    torch.save(dict(state), tmp_path / "mine.pt")
    entry = add(
        home,
        tmp_path / "mine.pt",
        name="me/mlp",
        dataset="digits",
        architecture="mlp-128",
        mean=[0.0],
        std=[1.0],
    )
    path = fetch(entry, home).path
    to_safetensors(
        {key: torch.full_like(value, float("nan")) for key, value in state.items()}, path
    )
    monkeypatch.setattr("sys.argv", ["zoo", "verify", "me/mlp"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("\nerror: me/mlp: was altered.\n")


def test_without_a_name_the_models_to_begin_with_are_fetched(
    home_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    from cli.harness_app import main as harness
    from cli.weights_commands import NEXT
    from cli.zoo_app import main as zoo

    def no_network(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr("sys.argv", ["zoo", "fetch", "--format", "json"])
    with pytest.raises(SystemExit) as end:
        zoo()
    assert end.value.code == 0
    said = capsys.readouterr()
    assert [(row["name"], row["status"]) for row in json.loads(said.out)] == [
        ("digits-mlp", "fetched"),
        ("digits-cnn", "fetched"),
    ]
    assert said.err == f"next: {NEXT}\n"
    # What is said next is about these models.
    words = NEXT.split()
    monkeypatch.setattr("sys.argv", ["harness", "plan", *words[2:], "--format", "json"])
    with pytest.raises(SystemExit) as end:
        harness()
    assert end.value.code == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert {group["model"].partition("(")[0] for group in groups} == {"digits-mlp", "digits-cnn"}
    assert {group["risk"] for group in groups} == {"extraction"}
