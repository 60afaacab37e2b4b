"""Write the site to a folder that a browser opens from disk."""

from collections.abc import Mapping
from pathlib import Path

from harness.experiment.interactions import load
from harness.experiment.store import EvaluationStore
from leaderboard.publish import publish
from leaderboard.reference import Reference
from leaderboard.render import render
from leaderboard.tables import tables
from zoo.catalog import open_catalog
from zoo.errors import UnknownNameError, ZooError
from zoo.files import digest
from zoo.home import Home


def build(home: Home, out: Path, reference: Reference = Reference()) -> list[Path]:
    """Build the site of everything measured in ``home`` and put it at ``out``.

    Args:
        home: The store.
        out: Folder of the site.
        reference: Of commands and methods; none if not given.

    Returns:
        The files written, sorted.

    Raises:
        ZooError: Nothing was measured, or ``out`` holds something that is not a site.
    """
    store = EvaluationStore(home)
    interactions, evaluations = load(home)
    outdated = store.outdated()
    if not evaluations and not outdated:
        raise ZooError(f"no evaluations in {home.root}; run `harness eval …` first")
    models = {e.cell.model_label: e.cell.model for e in evaluations}
    models |= {i.model: i.model_name for i in interactions}
    pictures = {key: found for e in evaluations if (found := store.pictures(key := e.cell.key))}
    site = tables(interactions, evaluations, _facts(home, models), pictures, outdated)
    out = out.expanduser().resolve()
    with home.lock(f"site-{digest(str(out))[:16]}"):
        return publish(render(site, reference), out)


def _facts(home: Home, models: Mapping[str, str]) -> dict[str, Mapping[str, object]]:
    """What the catalog says of models, by what people call them; their names are the values."""
    catalog = open_catalog(home)
    facts: dict[str, Mapping[str, object]] = {}
    for model, name in models.items():
        try:
            facts[model] = catalog.show(name)
        except UnknownNameError:
            # A model may leave the catalog while its evaluations stay; its page says so.
            continue
    return facts
