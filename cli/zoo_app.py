"""The ``zoo`` command."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.printing import Format, new_app, progress, run, show, table
from zoo.errors import ZooError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from annotations.codings import Round
    from zoo.catalog import Catalog
    from zoo.entry import ModelEntry
    from zoo.home import Home

app = new_app(
    "Which models there are, and getting them.\n\n"
    "Everything is kept in $ZOO_HOME, or else in the platform's folder for user data.\n\n"
    "Examples:\n\n"
    "  zoo list --where \"dataset = 'mnist' and accuracy > 0.98\"\n\n"
    "  zoo fetch digits-cnn\n\n"
    "  zoo verify akamaster/resnet20-cifar10 --mirror /data/mirror"
)

annotate = new_app("What a curator runs to bring the annotation files up to date.")
app.add_typer(annotate, name="annotate")

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
AnnotationsOption = Annotated[
    Path | None,
    typer.Option("--annotations", help="Folder of annotations; by default zoo's own."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]


@app.command()
def build(
    annotations: Annotated[
        Path | None,
        typer.Option(help="Folder of annotations to use instead of those that come with zoo."),
    ] = None,
) -> None:
    """Build the catalog from the annotations and print its content hash.

    Other commands build it by themselves when it is missing or out of date. The same annotations
    give the same hash on every machine.
    """
    from zoo.build import build as build_catalog

    print(build_catalog(_home(), annotations))


@app.command("list")
def list_models(
    where: Where = None,
    dataset: DatasetOption = None,
    purpose: PurposeOption = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns with commas between, or '*' for all.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Models at most.", min=0)] = None,
    search: Annotated[
        str | None, typer.Option(help="Words that describe the models; best matches first.")
    ] = None,
    all: Annotated[
        bool,
        typer.Option("--all", help="Also duplicates, backdoored models and others left out."),
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """List models: by default none that is backdoored, a duplicate, or of very low performance.

    For example:

      zoo list --search "robust wide resnet cifar"

      zoo list --purpose security --columns name,paper,year

      zoo list --where "has_batchnorm and parameters < 300000" --format csv
    """
    from zoo.catalog import DEFAULT_COLUMNS

    chosen = DEFAULT_COLUMNS if columns is None else [c.strip() for c in columns.split(",")]
    header, rows = _catalog().list(chosen, where, dataset, purpose, limit, search=search, all=all)
    show(header, rows, format)


@app.command("show")
def show_model(name: Name, format: FormatOption = Format.TABLE) -> None:
    """Show everything known about a model, and where each value comes from.

    For example:

      zoo show akamaster/resnet20-cifar10 --format json
    """
    found = _catalog().show(name)
    if format is Format.JSON:
        print(json.dumps(found, indent=1))
        return
    facts = found["facts"]
    columns = ["entity", "entity_id", "field", "value", "coder", "method", "confidence", "evidence"]
    if format is Format.CSV:
        columns += ["file", "line"]
        show(columns, [[fact[column] for column in columns] for fact in facts], format)
        return
    known = {key: value for key, value in found["model"].items() if value is not None}
    table(["field", "value"], list(known.items()))
    if found["fetched"] is not None:
        print("\nFetched")
        table(["field", "value"], list(found["fetched"].items()))
    if found["metrics"]:
        print("\nMeasured by others")
        table(list(found["metrics"][0]), [list(metric.values()) for metric in found["metrics"]])
    print("\nSources")
    columns = ["entity", "entity_id", "method", "confidence", "evidence", "file", "line"]
    table(columns, list(dict.fromkeys(tuple(fact[column] for column in columns) for fact in facts)))


@app.command()
def stats(
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the figure into this SVG file.")
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Count what there is: models, complete codes, and SecurityNet's Figure 1.

    Everything but the first two tables is about the models of the default view.

    For example:

      zoo stats --plot figure.svg
    """
    from zoo.stats import as_json
    from zoo.stats import stats as count

    found = count(_catalog())
    if plot is not None:
        from zoo.figure import draw

        draw(found, plot)
    if format is Format.JSON:
        print(json.dumps(as_json(found), indent=1))
        return
    tables = [
        (["", "number"], list(found.counts.items())),
        (["left out because", "models"], list(found.excluded.items())),
        (["code", "models without"], list(found.unfilled.items())),
        *((panel.columns, panel.rows) for panel in found.panels.values()),
    ]
    if format is Format.CSV:
        rows = [(header[0], row[0], row[-1]) for header, rows in tables for row in rows]
        show(["table", "label", "number"], rows, format)
        return
    titles = ["The catalog", "Left out", "Codes", *(p.title for p in found.panels.values())]
    for title, (header, rows) in zip(titles, tables, strict=True):
        print(f"\n{title}")
        table(header, rows)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Annotations, a store, or a catalog's file.")],
    new: Annotated[Path, typer.Argument(help="The same, to compare with.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """List the facts that changed between two catalogs, with the file and line of each.

    For example:

      git worktree add ../before HEAD~1

      zoo diff ../before/annotations annotations
    """
    from zoo.diff import Change
    from zoo.diff import diff as compare

    changes = compare(old, new)
    if not changes and format is Format.TABLE:
        print("No fact changed.")
        return
    header = [field.name for field in fields(Change)]
    show(header, [list(asdict(change).values()) for change in changes], format)


@app.command()
def fetch(
    names: Names = None,
    where: Where = None,
    mirror: Mirror = None,
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

    Goes on with the others when one cannot be had, and names those at the end. What was accepted
    is remembered in the store.

    The column "checked" says what a file was held against. Of "first use" nobody states a hash:
    what came is remembered, and is what it has to be from then on.

    For example:

      zoo fetch digits-cnn digits-mlp

      zoo fetch --where "dataset = 'mnist' and source = 'published'" --mirror /data/mirror

      zoo fetch bboylyg/nad-wrn16-1-teacher-cifar10 --accept-licence
    """
    from zoo.fetch import Fetched, Progress, fetch_all
    from zoo.fetch import fetch as fetch_model

    home = _home()
    entries = _entries(home, names, where)
    if from_file is not None and len(entries) > 1:
        raise ZooError(f"--from-file {from_file} is one model's file. Name that model alone.")

    def fetch_one(entry: "ModelEntry", advance: Progress) -> Fetched:
        return fetch_model(
            entry,
            home,
            mirror=mirror,
            from_file=from_file,
            offline=offline,
            accept_licence=accept_licence,
            progress=advance,
        )

    with _bars("fetch", len(entries)) as watch:
        results = fetch_all(entries, fetch_one, watch, jobs=jobs)
    header = ["name", "status", "licence", "checked", "accuracy", "sha256", "path"]
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
    _report(failures, len(rows))


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
    from zoo.discover import Candidate, as_rows
    from zoo.discover import discover as discover_models
    from zoo.files import write_atomic

    if not hub:
        raise ZooError("Say where to look: --hub is the Hugging Face Hub.")
    found = discover_models(_home(), search=search, limit=limit)
    if out is not None:
        write_atomic(out, as_rows(found).encode())
        print(f"Wrote {len(found)} candidates to {out}.")
        return
    columns = [field.name for field in fields(Candidate)]
    if format is Format.TABLE:
        columns = ["hub_repo", "licence", "card_datasets", "library", "downloads", "last_modified"]
    show(columns, [[asdict(one)[column] for column in columns] for one in found], format)


@app.command()
def verify(
    names: Names = None,
    where: Where = None,
    mirror: Mirror = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with datasets in torchvision's formats.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    limit: Annotated[
        int | None, typer.Option(help="Measure on the first so many images only.", min=1)
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Check models against their annotations: hash, strict loading, accuracy on the dataset.

    Exits with 2 if a model cannot be measured, or is not what its annotation says.

    For example:

      zoo verify akamaster/resnet20-cifar10 bboylyg/nad-wrn16-1-teacher-cifar10
    """
    home, catalog = _home(), _catalog()
    entries = _entries(home, names, where)

    from harness.verify import Verified
    from harness.verify import verify as verify_model

    rows, failures = [], []
    header = [field.name for field in fields(Verified)]
    for entry in entries:
        try:
            with _bar(f"verify {entry.name}") as advance:
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
        if found.verdict in ("differs", "altered"):
            failures.append(ZooError(f"{entry.name}: {found.verdict}."))
    show(header, rows, format)
    _report(failures, len(entries))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One question: SELECT, FROM, DESCRIBE, SHOW.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Ask the catalog in SQL. It can read its own tables and nothing else.

    For example:

      zoo sql "SHOW TABLES"

      zoo sql "SELECT dataset, count(*), avg(accuracy) FROM v_models GROUP BY dataset"
    """
    header, rows = _catalog().sql(query)
    show(header, rows, format)


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to: an empty folder, or an earlier export.")
    ],
    kind: Annotated[str, typer.Option("--as", help="parquet or csv.")] = "parquet",
    where: Where = None,
    all: Annotated[
        bool,
        typer.Option("--all", help="Also duplicates, backdoored models and others left out."),
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Page that you will publish it at, for croissant.json.")
    ] = None,
    published: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day it is published, for croissant.json."),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Write the catalog as files that anybody can read: models, what they refer to, provenance.

    croissant.json describes them in MLCommons' format, column by column. The same catalog gives
    the same bytes. Parquet keeps every type. In CSV, lists are JSON texts, and programs that guess
    types take the arXiv number 2312.04960 for 2312.0496.

    For example:

      zoo export catalog

      zoo export catalog-csv --as csv --where "dataset = 'cifar10'" --all

      zoo export catalog --url https://example.org/zoo --published 2026-12-01 --format json
    """
    from zoo.export import Written
    from zoo.export import export as export_catalog

    written = export_catalog(
        _home(),
        folder,
        kind=kind,
        where=where,
        all=all,
        url=url,
        published=None if published is None else published.date(),
    )
    header = [field.name for field in fields(Written)]
    show(header, [list(asdict(file).values()) for file in written], format)


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="A torch checkpoint or safetensors.")],
    name: Annotated[str, typer.Option(help="What to call it: me/resnet20-cifar10.")],
    dataset: Annotated[str, typer.Option(help="What it was trained to classify.")],
    architecture: Annotated[str, typer.Option(help="What it is an instance of.")],
    input_shape: Annotated[
        str | None,
        typer.Option(help="Channels, height, width that it takes; by default the dataset's."),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from the pixels, per channel; by default 0.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Divides the pixels, per channel; by default 1.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    purpose: Annotated[str, typer.Option(help="benchmark, security or other.")] = "other",
    state_dict: Annotated[
        str, typer.Option(help="Path inside the checkpoint to the tensors: state_dict.")
    ] = "",
    strip_prefix: Annotated[
        str, typer.Option(help="Dropped from the tensors' names: module.")
    ] = "",
) -> None:
    """Enter your own checkpoint into the catalog, and copy it into the store.

    The file is read without running anything in it, and has to fit its architecture exactly.

    For example:

      zoo add mine.pt --name me/resnet20-cifar10 --dataset cifar10 --architecture cifar-resnet20
      --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26
    """
    from zoo.add import add as add_model

    entry = add_model(
        _home(),
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
    )
    print(f"Added {entry.name}. Check it with: zoo verify {entry.name}")


@app.command()
def agreement(
    round_name: Annotated[
        str | None,
        typer.Option("--round", help="Which round of coding; by default the newest."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Folder of annotations to use instead of those that come with zoo."),
    ] = None,
    disagreements: Annotated[
        bool,
        typer.Option("--disagreements", help="List where they differ, and what was decided."),
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Compare what people coded by hand, before anybody decided between them.

    Shows Cohen's kappa of two coders, and Fleiss' of more, with a 95 % bootstrap interval over
    items. n counts what all of them filled in, left_out what one of them left empty, and open the
    disagreements that nobody has decided. kappa is empty where it is undefined: nothing to
    compare, or one and the same value throughout.

    For example:

      zoo agreement --round 2026-11 --format csv

      zoo agreement --disagreements
    """
    from annotations.agreement import agreement_table, disagreement_table

    found = _round(round_name, annotations)
    show(*(disagreement_table(found) if disagreements else agreement_table(found)), format)


@annotate.command("snapshot")
def annotate_snapshot(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources to read; by default all.")
    ] = None,
    annotations: AnnotationsOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 2 if something would.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Read the models that installed packages list, and rewrite the files about them.

    Names are never reused and no model vanishes: what a package no longer lists is kept. Models of
    an architecture without a row in architectures.csv are left out until it has one.

    For example:

      zoo annotate snapshot timm
    """
    from zoo.curate.snapshot import SOURCES, Update, snapshot

    folder = _annotations(annotations)
    with _explained():
        found = [snapshot(folder, name, write=not check) for name in sources or SOURCES]
    header = [field.name for field in fields(Update)]
    rows = [list(asdict(update).values()) for update in found]
    if format is Format.TABLE:
        rows = [[*row[:2], *map(len, row[2:])] for row in rows]
    show(header, rows, format)
    uncoded = [name for update in found for name in update.uncoded]
    if uncoded:
        raise ZooError(
            f"{len(uncoded)} architectures have no family yet ({', '.join(uncoded[:5])}): add rows "
            "to architectures.csv and run this again."
        )
    if check and any(update.added or update.changed for update in found):
        raise ZooError("The files are out of date: run `zoo annotate snapshot`.")


@annotate.command("pin")
def annotate_pin(
    limit: Annotated[
        int | None, typer.Option(help="Ask about so many models at most.", min=1)
    ] = None,
    jobs: Annotated[int, typer.Option(help="Questions at a time.", min=1, max=32)] = 8,
    annotations: AnnotationsOption = None,
) -> None:
    """Write down which commit, file and sha256 the models on the Hugging Face Hub have now.

    Asks about models that have no row in pins.csv yet; with one, they are that file for ever. Goes
    on past repositories that cannot be had, and names them at the end.

    For example:

      zoo annotate pin --limit 100
    """
    from zoo.curate.pin import pin

    folder = _annotations(annotations)
    with _explained(), _bar("pin") as advance:
        pinned, failures = pin(folder, limit=limit, jobs=jobs, progress=advance)
    print(f"{pinned} models pinned.")
    _report(failures, pinned + len(failures))


@annotate.command("accept")
def annotate_accept(
    candidates: Annotated[Path, typer.Argument(help="What `zoo discover --out` wrote, edited.")],
    coder: Annotated[str, typer.Option(help="Who filled it in.")] = "maintainers",
    annotations: AnnotationsOption = None,
) -> None:
    """Take candidates of the Hub into the annotations: rows whose column accept says yes.

    All of them or none: every problem is named with its line.

    For example:

      zoo discover --hub --search cifar --out candidates.csv

      zoo annotate accept candidates.csv --coder ada
    """
    from zoo.curate.accept import accept

    with _explained():
        names = accept(_annotations(annotations), candidates, coder)
    print(f"Accepted {', '.join(names)}.")


@annotate.command("compute")
def annotate_compute(
    library: Annotated[
        str | None,
        typer.Option(help="Only networks of timm, torchvision, pytorchcv or nets (our own)."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Count anew what is there already.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(help="Only count so many at random again and compare them.", min=1),
    ] = None,
    annotations: AnnotationsOption = None,
) -> None:
    """Count parameters, FLOPs and kinds of layers, without weights, and write them down.

    Counts what has no row under computed/ yet. All networks take some ten minutes on one core.

    For example:

      zoo annotate compute

      zoo annotate compute --sample 20
    """
    from zoo.curate.compute import check, compute

    folder = _annotations(annotations)
    with _explained():
        if sample is not None:
            differing = check(folder, sample)
            if differing:
                raise ZooError(f"{len(differing)} counts differ: {' | '.join(differing)}")
            print(f"{sample} networks counted again: nothing differs.")
            return
        with _bar("count") as advance:
            counted, problems = compute(folder, library=library, again=again, progress=advance)
    print(f"{counted} networks counted.")
    _report([ZooError(problem) for problem in problems], counted + len(problems))


def main() -> NoReturn:
    """Run the command line."""
    run(app)


def _home() -> "Home":
    from zoo.home import Home

    return Home.open()


def _catalog() -> "Catalog":
    from zoo.catalog import open_catalog

    return open_catalog(_home())


def _annotations(folder: Path | None) -> Path:
    """The folder of annotations that a curator works on."""
    from annotations.load import FOLDER

    return folder or FOLDER


@contextmanager
def _explained() -> "Iterator[None]":
    """Tell of wrong annotation files in one line, like of every problem a user can solve."""
    from annotations.record import AnnotationError

    try:
        yield
    except AnnotationError as problem:
        raise ZooError(f"{problem}. Correct the files.") from problem


def _entries(home: "Home", names: list[str] | None, where: str | None) -> "list[ModelEntry]":
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


def _round(name: str | None, annotations: Path | None) -> "Round":
    """A round of coding, by default the newest, that at least two people coded."""
    from annotations.codings import load_round, rounds

    folder = _annotations(annotations)
    known = rounds(folder)
    if not known:
        raise ZooError(f"There is no round of coding in {folder / 'codings'}.")
    name = known[-1] if name is None else name
    if name not in known:
        raise unknown("round", name, known)
    with _explained():
        found = load_round(name, folder)
    if len(found.codings) < 2:
        coders = ", ".join(found.codings) or "nobody"
        raise ZooError(f"Round {name} was coded by {coders} so far; agreement needs two coders.")
    return found


@contextmanager
def _bar(title: str) -> "Iterator[Callable[[int, int], None]]":
    """A progress bar, moved by telling it how much is done and how much there is to do."""
    with progress() as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


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


def _report(failures: list[ZooError], asked: int) -> None:
    """Exit with one line about everything that went wrong, if anything did."""
    if len(failures) == 1 == asked:
        raise failures[0]
    if failures:
        reasons = " | ".join(map(str, failures))
        raise ZooError(f"{len(failures)} of {asked} failed: {reasons}")


def _shape(text: str | None) -> tuple[int, int, int] | None:
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
