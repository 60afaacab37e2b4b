"""Enter a model of the user's own that is to be trained: a recipe instead of a checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

from annotations.load import load_codebook
from zoo.add import PROVENANCE, check_words, entering, facts_of, of_network, scaling
from zoo.catalog import Purpose, open_catalog
from zoo.counting import count
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.files import write_json
from zoo.home import Home
from zoo.nets import SHAPED
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Data:
    """What the catalog has to know of a dataset, as it was read.

    Attributes:
        name: As whoever reads it calls it.
        input_shape: (channels, height, width), or (features,).
        num_classes: Number of labels.
        train_size: Examples of the official training part, or all if there is none.
        test_size: Examples of the official test part; None if there is none.
        attributes: Names of the sensitive attributes.
        widths: Of a table, how many features each column is.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int
    train_size: int
    test_size: int | None
    attributes: tuple[str, ...]
    widths: tuple[int, ...]


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
    brings = {"datasets": _dataset(data), **of_network(architecture, catalog)}
    with entering(home, entry, values) as record:
        document = {"values": values, "recipe": asdict(recipe), "brings": brings}
        write_json(record, document | {"provenance": PROVENANCE})
    return entry


def _dataset(data: Data) -> dict[str, object]:
    """What the catalog's columns say of a dataset; nobody has coded its topic."""
    known = load_codebook().tables["datasets"].fields["sensitive_attributes"].values
    attributes = {one if one in known else "other attributes" for one in data.attributes}
    return {
        "key": data.name,
        "name": data.name,
        "train_size": data.train_size,
        "test_size": data.test_size,
        "num_classes": data.num_classes,
        "input_shape": data.input_shape,
        "sensitive_attributes": sorted(attributes) or ["none"],
    }
