"""The commands of ``zoo`` for curators: agreement of coders, and the annotation files."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    AnnotationsOption,
    FormatOption,
    annotations_folder,
    bar,
    explained,
    report,
)
from cli.printing import Format, new_app, show
from zoo.errors import ZooError, unknown

if TYPE_CHECKING:
    from annotations.codings import Round

app = typer.Typer()
annotate = new_app("What a curator runs to bring the annotation files up to date.")
app.add_typer(annotate, name="annotate")


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

    folder = annotations_folder(annotations)
    with explained():
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

    Counts what has no row under computed/ yet. All networks take some fifteen minutes on one core.

    For example:

      zoo annotate compute

      zoo annotate compute --sample 20
    """
    from zoo.curate.compute import check, compute

    folder = annotations_folder(annotations)
    with explained():
        if sample is not None:
            differing = check(folder, sample)
            if differing:
                raise ZooError(f"{len(differing)} counts differ: {' | '.join(differing)}")
            print(f"{sample} networks counted again: nothing differs.")
            return
        with bar("count") as advance:
            counted, problems = compute(folder, library=library, again=again, progress=advance)
    print(f"{counted} networks counted.")
    report([ZooError(problem) for problem in problems], counted + len(problems))


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

    folder = annotations_folder(annotations)
    with explained(), bar("pin") as advance:
        pinned, failures = pin(folder, limit=limit, jobs=jobs, progress=advance)
    print(f"{pinned} models pinned.")
    report(failures, pinned + len(failures))


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

    with explained():
        names = accept(annotations_folder(annotations), candidates, coder)
    print(f"Accepted {', '.join(names)}.")


def _round(name: str | None, annotations: Path | None) -> "Round":
    """A round of coding, by default the newest, that at least two people coded."""
    from annotations.codings import load_round, rounds

    folder = annotations_folder(annotations)
    known = rounds(folder)
    if not known:
        raise ZooError(f"There is no round of coding in {folder / 'codings'}.")
    name = known[-1] if name is None else name
    if name not in known:
        raise unknown("round", name, known)
    with explained():
        found = load_round(name, folder)
    if len(found.codings) < 2:
        coders = ", ".join(found.codings) or "nobody"
        raise ZooError(f"Round {name} was coded by {coders} so far; agreement needs two coders.")
    return found
