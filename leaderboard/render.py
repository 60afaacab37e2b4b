"""Tables become files. Pure: the same tables give the same bytes."""

from collections.abc import Mapping
from importlib import resources
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.analysis.verdicts import MARGIN, what_would_resolve
from harness.metrics.susceptibility import DIRECTIONS
from leaderboard import words
from leaderboard.exports import as_csv, as_json
from leaderboard.reference import Reference
from leaderboard.tables import Site

STATIC = ("site.css", "site.js")


def render(site: Site, reference: Reference = Reference()) -> dict[str, bytes]:
    """Every file of the site by its path: pages, style, script and data."""
    environment = _environment()
    environment.globals["REFERENCE"] = [(path, title) for path, title, _ in reference.pages()]
    interactions = [finding.record for finding in site.findings]
    index = environment.get_template("index.html.j2")
    page = environment.get_template("model.html.j2")
    files = {"index.html": index.render(site=site, root="").encode()}
    files |= {one.path: page.render(page=one, root="../").encode() for one in site.pages}
    entries = environment.get_template("reference.html.j2")
    for path, title, found in reference.pages():
        groups = [(group, list(of)) for group, of in groupby(found, key=lambda one: one.group)]
        noun = title.lower().removesuffix("s")
        text = entries.render(title=title, noun=noun, entries=found, groups=groups, root="../")
        files[path] = text.encode()
    files |= {
        picture.path: picture.png
        for one in site.pages
        for section in one.sections
        for table in section.seed_tables
        for picture in table.pictures
    }
    files |= {
        f"static/{name}": resources.files("leaderboard").joinpath("static", name).read_bytes()
        for name in STATIC
    }
    files["data/interactions.json"] = as_json(interactions)
    files["data/interactions.csv"] = as_csv(interactions)
    return dict(sorted(files.items()))


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _environment() -> Environment:
    # select_autoescape() decides by the ending and leaves `.j2` unescaped.
    environment = Environment(
        loader=PackageLoader("leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "breakable": words.breakable,
        "points": words.points,
        "raw": words.raw,
        "percent": words.percent,
        "probability": words.probability,
        "plain": words.plain,
        "with_code": words.with_code,
    }
    environment.tests["records"] = _is_records
    environment.globals |= {
        "count": words.count,
        "interval": words.interval,
        "DIRECTIONS": DIRECTIONS,
        "MARGIN": MARGIN,
        "MISSING": words.MISSING,
        "REGIME_WORDS": words.REGIME_WORDS,
        "SYMBOLS": words.SYMBOLS,
        "what_would_resolve": what_would_resolve,
    }
    return environment
