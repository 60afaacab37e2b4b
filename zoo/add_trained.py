"""Enter a model of the user's own that is to be trained: a recipe instead of a checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from zoo.add import PROVENANCE, check_words, entering, facts_of, of_network, scaling
from zoo.catalog import Purpose, open_catalog
from zoo.counting import count
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.files import write_json
from zoo.home import Home
from zoo.nets import SHAPED, own_code
from zoo.own_data import Data, of_dataset
from zoo.recipe import Recipe


def add_trained(
    home: Home,
    *,
    name: str,
    data: Data,
    architecture: str,
    recipe: Recipe,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    purpose: str = "other",
) -> ModelEntry:
    """Enter a model into the catalog; fetching it trains it.

    Args:
        home: The store.
        name: What the catalog is to call it.
        data: What it is trained to classify; the catalog need not have it.
        architecture: As of `zoo.nets.build`. One that has to be told the widths of the columns is
            told those of the data if it is named without.
        recipe: How it is trained.
        mean: Per channel, subtracted from the input; by default 0.
        std: Per channel, what the input is then divided by; by default 1.
        purpose: One of `zoo.catalog.PURPOSES`.

    Raises:
        ZooError: The name is taken, something named is unknown, or the architecture cannot take
            such data.
    """
    catalog = open_catalog(home)
    check_words(catalog, name, purpose)
    if own_code.is_one(architecture):
        architecture = own_code.key(architecture)
    if architecture in SHAPED:
        if not data.widths:
            raise ZooError(
                f"Architecture {architecture} is for tables, and {data.name} has no columns. "
                "Choose another, such as mlp-128."
            )
        architecture += "/" + ",".join(map(str, data.widths))
    means, stds = scaling(data.name, data.input_shape, mean, std)
    counts = count(architecture, data.input_shape, data.num_classes)
    entry = ModelEntry(
        name=name,
        source="local",
        purpose=cast(Purpose, purpose),
        dataset=data.name,
        architecture=architecture,
        input_shape=data.input_shape,
        num_classes=data.num_classes,
        mean=means,
        std=stds,
        licence=None,
        backdoored=False,
        artifact=None,
        recipe=recipe,
    )
    told = {"pretraining": ["none"], "extra_data": "none", "recipe": name}
    values = facts_of(entry) | told | asdict(counts)
    brings = {"datasets": of_dataset(data), **of_network(architecture, catalog)}
    with entering(home, entry, values) as record:
        document = {"values": values, "recipe": asdict(recipe), "brings": brings}
        write_json(record, document | {"provenance": PROVENANCE})
    return entry
