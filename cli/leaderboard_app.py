"""The ``leaderboard`` command."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli.printing import new_app, run

app = new_app("A static site of what every defense does to every risk.")


@app.callback()
def group() -> None:
    """A static site of what every defense does to every risk."""


@app.command()
def build(
    out: Annotated[
        Path, typer.Option(help="Folder of the site; an older site is replaced.")
    ] = Path("site"),
) -> None:
    """Build the site of everything measured so far and print the path of its first page.

    The site is plain files: open index.html in a browser, or put the folder on any web server. It
    has a reference of every command and method, too.

    Example:
      leaderboard build --out site
    """
    from cli.command_reference import commands
    from leaderboard.build import build as build_site
    from leaderboard.reference import reference
    from zoo.home import Home

    files = build_site(Home.open(), out, reference(commands()))
    print(f"{len(files)} files")
    print(out / "index.html")


def main() -> NoReturn:
    """Entry point of the console script."""
    run(app)
