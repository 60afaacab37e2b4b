"""A model by its name, in one call."""

from pathlib import Path

from zoo.catalog import open_catalog
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model
from zoo.nets import Scaled


def load(
    name: str,
    home: Home | Path | None = None,
    *,
    mirror: Path | None = None,
    offline: bool = False,
    accept_licence: bool = False,
) -> Scaled:
    """The model of that name, fetched first if it is not in the store.

    For example, ``zoo.load("digits-cnn")(images)`` gives the logits (n, classes) of ``images``
    (n, channels, height, width) in [0, 1].

    Args:
        name: As the catalog has it: see ``zoo list``.
        home: The store; by default ``$ZOO_HOME``, or the platform's folder for user data.
        mirror: Folder with copies of published files; by default ``$ZOO_MIRROR``.
        offline: Use no network.
        accept_licence: You accept the model's licence; that is remembered in the store.

    Returns:
        A module in eval mode: pixels in [0, 1] in, logits out.

    Raises:
        ZooError: There is no such model, its weights cannot be had or are not what the catalog
            describes, there is no code for its architecture, or its scaling is unknown.
    """
    if not isinstance(home, Home):
        home = Home.open(home)
    entry = open_catalog(home).entry(name)
    found = fetch(entry, home, mirror=mirror, offline=offline, accept_licence=accept_licence)
    return load_model(entry, found.path)
