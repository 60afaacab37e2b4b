"""The ``zoo`` command, with the questions to the catalog."""

import json
import sys
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli import curator_commands, weights_commands
from cli.options import (
    DatasetOption,
    FormatOption,
    Name,
    PurposeOption,
    Where,
    open_home,
    the_catalog,
)
from cli.printing import Format, new_app, run, show, table
from zoo.errors import ZooError

app = new_app(
    "Which models there are, and getting them.\n\n"
    "Everything is kept in $ZOO_HOME, or else in the platform's folder for user data.\n\n"
    "Examples:\n\n"
    "  zoo list --where \"dataset = 'mnist' and accuracy > 0.98\"\n\n"
    "  zoo fetch digits-cnn\n\n"
    "  zoo verify akamaster/resnet20-cifar10 --mirror /data/mirror"
)


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

    print(build_catalog(open_home(), annotations))


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
    sort: Annotated[
        str | None, typer.Option(help="Column to sort by; with - before it, the largest first.")
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

      zoo list --purpose security --columns name,paper,year --sort -year

      zoo list --where "has_batchnorm and parameters < 300000" --format csv
    """
    from zoo.catalog import DEFAULT_COLUMNS

    chosen = DEFAULT_COLUMNS if columns is None else [c.strip() for c in columns.split(",")]
    header, rows = the_catalog().list(
        chosen, where, dataset, purpose, limit, search=search, all=all, sort=sort
    )
    if not rows and limit != 0:
        print(
            "No model matches. `zoo list --all` also looks among those left out.", file=sys.stderr
        )
    show(header, rows, format)


@app.command("show")
def show_model(name: Name, format: FormatOption = Format.TABLE) -> None:
    """Show everything known about a model, and who says so, how, how sure, and on what evidence.

    For example:

      zoo show akamaster/resnet20-cifar10 --format json
    """
    found = the_catalog().show(name)
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
    said = ["coder", "method", "confidence", "evidence", "file", "line"]
    fields_of: dict[tuple[object, ...], list[str]] = {}
    for fact in facts:
        place = tuple(fact[column] for column in ("entity", "entity_id", *said))
        fields_of.setdefault(place, []).append(fact["field"])
    table(
        ["entity", "entity_id", "fields", *said],
        [[*place[:2], " ".join(names), *place[2:]] for place, names in fields_of.items()],
    )


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

    found = count(the_catalog())
    if plot is not None:
        if plot.suffix.lower() != ".svg":
            raise ZooError(
                f"--plot {plot}: the figure is drawn as SVG; name a file like figure.svg."
            )
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
def sql(
    query: Annotated[str, typer.Argument(help="One question: SELECT, FROM, DESCRIBE, SHOW.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Ask the catalog in SQL. It can read its own tables and nothing else.

    For example:

      zoo sql "SHOW TABLES"

      zoo sql "SELECT dataset, count(*), avg(accuracy) FROM v_models GROUP BY dataset"
    """
    header, rows = the_catalog().sql(query)
    show(header, rows, format)


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
        open_home(),
        folder,
        kind=kind,
        where=where,
        all=all,
        url=url,
        published=None if published is None else published.date(),
    )
    header = [field.name for field in fields(Written)]
    show(header, [list(asdict(file).values()) for file in written], format)


app.add_typer(weights_commands.app)
app.add_typer(curator_commands.app)


def main() -> NoReturn:
    """Run the command line."""
    run(app)
