"""The commands of ``zoo`` about weights: getting, checking and adding them."""

import shlex
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    DataDir,
    FormatOption,
    Mirror,
    Names,
    Where,
    bar,
    chosen_models,
    open_home,
    report,
    the_catalog,
)
from cli.printing import Format, progress, show
from zoo import STARTERS
from zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from zoo.entry import ModelEntry

app = typer.Typer()


NEXT = "harness eval --defense dpsgd --risk extraction"
"""What to do with the first models."""


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Names of models; by default {' and '.join(STARTERS)}."),
    ] = None,
    where: Where = None,
    mirror: Mirror = None,
    data_dir: DataDir = None,
    from_file: Annotated[
        Path | None,
        typer.Option(help="The published file, got by other means; it is checked like any."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network.")] = False,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="You accept licences without commercial use, and terms of gated repositories.",
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(help="Downloads at a time.", min=1, max=32)] = 4,
    format: FormatOption = Format.TABLE,
) -> None:
    """Get models' weights: train self-trained ones, copy or download published ones.

    Without a name, the models to begin with, which need no network. Goes on with the others when
    one cannot be had, and names those at the end. What was accepted is remembered in the store.

    The column "checked" says what a file was held against. Of "first use" nobody states a hash:
    what came is remembered, and is what it has to be from then on. "from file" is what --from-file
    gave and nobody could be asked about yet.

    For example:

      zoo fetch

      zoo fetch --where "dataset = 'mnist' and source = 'published'" --mirror /data/mirror

      zoo fetch bboylyg/nad-wrn16-1-teacher-cifar10 --accept-licence
    """
    from zoo.fetch import Fetched, Progress, fetch_all
    from zoo.fetch import fetch as fetch_model

    home = open_home()
    beginning = not names and where is None
    entries = chosen_models(home, list(STARTERS) if beginning else names, where)
    if from_file is not None and len(entries) > 1:
        raise ZooError(f"--from-file {from_file} is one model's file. Name that model alone.")

    def fetch_one(entry: "ModelEntry", advance: Progress) -> Fetched:
        return fetch_model(
            entry,
            home,
            mirror=mirror,
            data_dir=data_dir,
            from_file=from_file,
            offline=offline,
            accept_licence=accept_licence,
            progress=advance,
        )

    try:
        with _bars("fetch", len(entries)) as watch:
            results = fetch_all(entries, fetch_one, watch, jobs=jobs)
    except KeyboardInterrupt as stopped:
        stopped.add_note("models that were fetched are kept, and so is what came of downloads")
        raise
    header = ["name", "status", "licence", "checked", "accuracy", "stored_sha256", "path"]
    rows, failures = [], []
    for entry, found in zip(entries, results, strict=True):
        licence = entry.licence or (None if entry.recipe else "unknown")
        if isinstance(found, ZooError):
            told = str(found) if entry.name in str(found) else f"{entry.name}: {found}"
            failures.append(ZooError(told))
            rows.append([entry.name, "failed", licence, None, None, None, None])
            continue
        status = "cached" if found.cached else "fetched"
        facts = [found.checked, found.accuracy, found.sha256, str(found.path)]
        rows.append([entry.name, status, licence, *facts])
    show(header, rows, format)
    report(failures, len(rows))
    if beginning:
        typer.echo(f"next: {NEXT}", err=True)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Names of models: see `zoo list`.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Remove models' weights and records from the store, and entries that were added.

    Models of the catalog can be fetched again; of those that you added, the store's copy is gone.
    Weights that are another model's too are kept. What was measured stays.

    For example:

      zoo remove akamaster/resnet20-cifar10 me/resnet20-cifar10
    """
    from zoo.remove import check_known
    from zoo.remove import remove as remove_model

    home = open_home()
    names = list(dict.fromkeys(names))
    check_known(home, names)
    removed = [remove_model(home, name) for name in names]
    show(
        ["name", "files", "bytes", "kept"],
        [[one.name, one.files, one.bytes, list(one.kept)] for one in removed],
        format,
    )


@app.command()
def verify(
    names: Names = None,
    where: Where = None,
    mirror: Mirror = None,
    data_dir: DataDir = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    limit: Annotated[
        int | None, typer.Option(help="Measure on the first so many images only.", min=1)
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Check models against their annotations: hash, strict loading, accuracy on the dataset.

    Exits with 2 if a model cannot be measured, or is not what its annotation says.

    For example:

      zoo verify akamaster/resnet20-cifar10 akamaster/resnet32-cifar10
    """
    home, catalog = open_home(), the_catalog()
    entries = chosen_models(home, names, where)

    from harness.zoo_models.verify import Verified
    from harness.zoo_models.verify import verify as verify_model

    rows, failures = [], []
    header = [field.name for field in fields(Verified)]
    for entry in entries:
        try:
            with bar(f"verify {entry.name}") as advance:
                found = verify_model(
                    entry,
                    home,
                    catalog.accuracy(entry.name),
                    mirror=mirror,
                    data_dir=data_dir,
                    device=device,
                    limit=limit,
                    progress=advance,
                )
        except ZooError as problem:
            failures.append(problem)
            continue
        rows.append(list(asdict(found).values()))
        if found.verdict in ("differs", "was altered"):
            failures.append(ZooError(f"{entry.name}: {found.verdict}."))
    show(header, rows, format)
    report(failures, len(entries))


@app.command()
def add(
    name: Annotated[str, typer.Option(help="What to call it: me/resnet20-cifar10.")],
    dataset: Annotated[str, typer.Option(help="What it is trained to classify.")],
    architecture: Annotated[str, typer.Option(help="What it is an instance of.")],
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A torch checkpoint or safetensors, or the index of several; none with --train."
        ),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="There are no weights: fetching it trains it.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="With --train, field=value of the recipe: epochs=20; else argument=value of your "
            "own code.",
        ),
    ] = None,
    data_dir: DataDir = None,
    mirror: Mirror = None,
    input_shape: Annotated[
        str | None,
        typer.Option(help="Channels, height, width that it takes; by default the dataset's."),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Subtracted from pixels in [0, 1], per channel; else told by the data."),
    ] = None,
    std: Annotated[str | None, typer.Option(help="Divides them, per channel; likewise.")] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            help="What it answers: logits, probabilities, one-logit or one-probability (of the "
            "second class). Found, and told, if not given."
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    purpose: Annotated[str, typer.Option(help="benchmark, security or other.")] = "other",
    state_dict: Annotated[
        str,
        typer.Option(
            help="Path inside the checkpoint to the tensors: state_dict. Found, and told, if only "
            "one reading of it fits."
        ),
    ] = "",
    strip_prefix: Annotated[
        str, typer.Option(help="Dropped from the tensors' names: module. Found likewise.")
    ] = "",
) -> None:
    """Enter your own model into the catalog: a checkpoint, or a recipe to train one by.

    A checkpoint is copied into the store. It is read without running anything in it, and has to
    fit its architecture exactly. Its config.json and preprocessor_config.json, if they lie beside
    it, are held against what is said of it here, and its answers against the dataset's labels where
    the dataset is in DATA_DIR or MIRROR or built in: its accuracy is shown, and a model whose
    classes seem to be in another order is a warning. How its input is scaled is not assumed: say
    it, or let these files or the accuracy tell.

    The architecture may be your own code, which is run: net.py:MyNet or my_package.models:MyNet,
    called with what --set says. The dataset may be a table or images of your own, which
    DATA_DIR/NAME.toml describes, or one of those that `harness list datasets` shows.

    With --train the input shape and the number of classes are the dataset's, and so are the
    columns' widths of tabular-transformer. For a table, the epochs are as many as make 2,500 steps,
    but at least 30, unless --set epochs=N says how many.

    For example:

      zoo add mine.pt --name me/resnet20-cifar10 --dataset cifar10 --architecture cifar-resnet20
      --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26

      zoo add best.pt --name me/xray-net --dataset xrays --data-dir data
      --architecture net.py:XrayNet --set width=64

      zoo add --train --name me/credit-mlp --dataset credit --data-dir tables --architecture mlp-32
      --set epochs=20
    """
    if train:
        of_a_file = {
            "a file": path,
            "--input-shape": input_shape,
            "--licence": licence,
            "--state-dict": state_dict,
            "--strip-prefix": strip_prefix,
            "--answers": answers,
        }
        if given := [option for option, value in of_a_file.items() if value]:
            raise ZooError(
                f"{', '.join(given)} cannot be given with --train: there are no weights yet, and "
                "the input is the dataset's. Leave it out."
            )
        from harness.data.dataset import DataLocation
        from harness.zoo_models import user_recipe
        from zoo.add_trained import add_trained

        data = user_recipe.facts(dataset, DataLocation.resolve(data_dir, mirror))
        entry = add_trained(
            open_home(),
            name=name,
            data=data,
            architecture=architecture,
            recipe=user_recipe.recipe(settings or [], data),
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
            purpose=purpose,
        )
        where = {"--data-dir": data_dir, "--mirror": mirror}
        given = [word for option, at in where.items() if at for word in (option, str(at))]
        print(f"Added {entry.name}. Train it with: {shlex.join(['zoo', 'fetch', name, *given])}")
        return
    if path is None:
        raise ZooError("Name the checkpoint to add, or give --train for a model without weights.")
    from harness.data.dataset import DataLocation
    from harness.zoo_models import user_recipe
    from harness.zoo_models.first_look import FirstLook
    from zoo.add import add as add_model

    home, source = open_home(), DataLocation.resolve(data_dir, mirror)
    entry = add_model(
        home,
        path,
        name=name,
        dataset=dataset,
        architecture=architecture,
        input_shape=_shape(input_shape),
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        licence=licence,
        purpose=purpose,
        state_dict=state_dict,
        strip_prefix=strip_prefix,
        answers=answers,
        arguments=user_recipe.arguments(settings or []),
        data=user_recipe.own_facts(dataset, source),
        look=FirstLook(source, print),
    )
    print(f"Added {entry.name}. Check it with: zoo verify {entry.name}")


@app.command()
def discover(
    hub: Annotated[bool, typer.Option("--hub", help="Look on the Hugging Face Hub.")] = False,
    search: Annotated[
        str | None, typer.Option(help="Only repositories with these words in their names.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Candidates at most.", min=1)] = 50,
    out: Annotated[
        Path | None, typer.Option(help="Write them to this CSV file, for a curator to edit.")
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List image classifiers that the catalog does not have, the most downloaded first.

    They are candidates: what is shown is what their cards say, not checked and not coded. In the
    file of --out the columns accept (yes), dataset, architecture, input_shape, num_classes, mean,
    std and notes are empty, for the curator to fill in as the codebook says; hub_revision is the
    commit to pin, and card_datasets what the card says of the data.

    For example:

      zoo discover --hub --search cifar --limit 20

      zoo discover --hub --out candidates.csv
    """
    from zoo.curate.discover import Candidate, as_rows
    from zoo.curate.discover import discover as discover_models
    from zoo.files import write_atomic

    if not hub:
        raise ZooError("Say where to look: --hub is the Hugging Face Hub.")
    found = discover_models(open_home(), search=search, limit=limit)
    if out is not None:
        write_atomic(out, as_rows(found).encode())
        print(f"Wrote {len(found)} candidates to {out}.")
        return
    columns = [field.name for field in fields(Candidate)]
    if format is Format.TABLE:
        columns = ["hub_repo", "licence", "card_datasets", "library", "downloads", "last_modified"]
    show(columns, [[asdict(one)[column] for column in columns] for one in found], format)


@contextmanager
def _bars(
    title: str, count: int
) -> "Iterator[Callable[[ModelEntry], AbstractContextManager[Callable[[int, int], None]]]]":
    """A progress bar for each model that is worked on, and one for all of them."""
    with progress() as bars:
        overall = bars.add_task(title, total=count) if count > 1 else None

        @contextmanager
        def watch(entry: "ModelEntry") -> "Iterator[Callable[[int, int], None]]":
            task = bars.add_task(entry.name, total=None)
            try:
                yield lambda done, total: bars.update(task, completed=done, total=total or None)
            finally:
                bars.remove_task(task)
                if overall is not None:
                    bars.advance(overall)

        yield watch


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        channels, height, width = (int(part) for part in text.split(","))
        if min(channels, height, width) < 1:
            raise ValueError
    except ValueError as problem:
        raise ZooError(
            f"--input-shape {text!r} is not channels, height and width, like 3,224,224."
        ) from problem
    return channels, height, width


def _numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as problem:
        raise ZooError(f"{option} {text!r} is not numbers with commas between.") from problem
