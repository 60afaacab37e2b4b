"""What the commands share: options, where things are, progress and failures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.printing import Format, progress
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.experiment.experiment import Experiment
    from harness.experiment.options import Options
    from zoo.catalog import Catalog
    from zoo.entry import ModelEntry
    from zoo.home import Home

FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
Name = Annotated[str, typer.Argument(help="Name of a model: see `zoo list`.")]
Names = Annotated[list[str] | None, typer.Argument(help="Names of models: see `zoo list`.")]
Where = Annotated[
    str | None,
    typer.Option(help="SQL condition on the columns that `zoo list --columns '*'` shows."),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Only models of this dataset.")
]
PurposeOption = Annotated[
    str | None, typer.Option("--purpose", help="Only these: benchmark, security or other.")
]
Mirror = Annotated[
    Path | None,
    typer.Option(help="Folder with copies of published files; by default $ZOO_MIRROR."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with datasets: torchvision's formats, tables; $ZOO_DATA_DIR."),
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option("--annotations", help="Folder of annotations; by default zoo's own."),
]

KINDS: dict[str, Any] = {
    "seeds": (int | None, {"min": 1}),
    "workers": (int | None, {"min": 1}),
    "mirror": (Path | None, {}),
    "data_dir": (Path | None, {}),
}
"""Types of the options that are no texts."""


@dataclass(frozen=True)
class Asked:
    """What a command was asked for.

    Attributes:
        options: From a file and from the command line.
        save: Where they are to be kept; None for nowhere.
    """

    options: Options
    save: Path | None

    def open(self, home: Home, *, fetching: bool) -> Experiment:
        """`Experiment.open`; the options are kept once it is known that they can be carried out."""
        from harness.experiment.experiment import Experiment

        found = Experiment.open(self.options, home, fetching=fetching)
        if self.save is not None:
            self.options.write(self.save)
        return found


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a request, and what they say as its first argument.

    All of them may stand in a file, whose options those of the command line replace.
    """
    from harness.experiment.options import LISTS, helps

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values()][1:]
    file = Annotated[
        Path | None, typer.Argument(help="A request in TOML; options here replace its options.")
    ]
    save = Annotated[
        Path | None, typer.Option("--save", help="Write the request to this file, too.")
    ]
    parameters = [_parameter("request", file)]
    for name, text in helps().items():
        several = name in LISTS or name == "set"
        kind, limits = KINDS.get(name, (list[str] | None if several else str | None, {}))
        option = typer.Option(f"--{name.replace('_', '-')}", help=text, **limits)
        parameters.append(_parameter(name, Annotated[kind, option]))
    parameters.append(_parameter("save", save))
    parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        rest = {p.name: given.pop(p.name) for p in own}
        request, target = given.pop("request"), given.pop("save")
        command(Asked(asked(request, given), target), **rest)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def asked(file: Path | None, given: dict[str, Any]) -> Options:
    """The options of a file, and in their place those given on the command line.

    Args:
        file: In TOML; None for none.
        given: By option; None or empty where it was not given.

    Raises:
        ZooError: The file is no request, or an option is unknown or wrong.
    """
    from harness.experiment.options import Options, swept

    line = {name: value for name, value in given.items() if value not in (None, (), [])}
    if "set" in line:
        line["set"] = swept(line["set"])
    of_line = Options.of(line, "the command line")
    if file is None:
        return of_line
    of_file = Options.read(file)
    changes = {name: getattr(of_line, name) for name in line}
    if "model" in line or "where" in line:  # either of them says which models
        changes = {"model": (), "where": None, **changes}
    if "set" in line:
        changes["set"] = {**of_file.set, **of_line.set}
    return replace(of_file, **changes)


def open_home() -> Home:
    """The store that every command uses."""
    from zoo.home import Home

    return Home.open()


def the_catalog() -> Catalog:
    """The catalog of that store."""
    from zoo.catalog import open_catalog

    return open_catalog(open_home())


def annotations_folder(folder: Path | None) -> Path:
    """The folder of annotations that a curator works on: the one given, or the program's own."""
    from annotations.load import FOLDER

    return folder or FOLDER


@contextmanager
def explained() -> Iterator[None]:
    """Tell of wrong annotation files in one line, like of every problem a user can solve."""
    from annotations.record import AnnotationError

    try:
        yield
    except AnnotationError as problem:
        raise ZooError(f"{problem}. Correct the files.") from problem


def chosen_models(home: Home, names: list[str] | None, where: str | None) -> list[ModelEntry]:
    """The models that the user asked for; all of them exist."""
    from zoo.catalog import open_catalog

    catalog = open_catalog(home)
    if bool(names) == (where is not None):
        raise ZooError("Name the models, or select them with --where, but not both.")
    if names:
        return [catalog.entry(name) for name in dict.fromkeys(names)]
    found = catalog.entries(where)
    if not found:
        raise ZooError(f"No model matches --where {where!r}. See `zoo list`.")
    return found


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, moved by telling it how much is done and how much there is to do."""
    with progress() as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def report(failures: list[ZooError], asked: int) -> None:
    """Exit with one line about everything that went wrong, if anything did."""
    if len(failures) == 1 == asked:
        raise failures[0]
    if failures:
        reasons = " | ".join(map(str, failures))
        raise ZooError(f"{len(failures)} of {asked} failed: {reasons}")
