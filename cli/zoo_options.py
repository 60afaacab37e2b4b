"""What the commands of ``zoo`` share: options, where things are, progress and failures."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.printing import Format, progress
from zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.catalog import Catalog
    from zoo.entry import ModelEntry
    from zoo.home import Home

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
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]


def open_home() -> "Home":
    """The store that every command uses."""
    from zoo.home import Home

    return Home.open()


def the_catalog() -> "Catalog":
    """The catalog of that store."""
    from zoo.catalog import open_catalog

    return open_catalog(open_home())


def annotations_folder(folder: Path | None) -> Path:
    """The folder of annotations that a curator works on: the one given, or the program's own."""
    from annotations.load import FOLDER

    return folder or FOLDER


@contextmanager
def explained() -> "Iterator[None]":
    """Tell of wrong annotation files in one line, like of every problem a user can solve."""
    from annotations.record import AnnotationError

    try:
        yield
    except AnnotationError as problem:
        raise ZooError(f"{problem}. Correct the files.") from problem


def chosen_models(home: "Home", names: list[str] | None, where: str | None) -> "list[ModelEntry]":
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
def bar(title: str) -> "Iterator[Callable[[int, int], None]]":
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
