"""Enter a user's own checkpoint into the catalog."""

import math
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from annotations.cells import read_cell
from annotations.load import load_codebook
from zoo.added import checked, entry_file
from zoo.beside import contradictions
from zoo.build import refresh
from zoo.catalog import PURPOSES, Catalog, Purpose, open_catalog
from zoo.counting import count
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError, unknown
from zoo.files import sha256_file, write_json
from zoo.home import Home
from zoo.layout import found_in, options
from zoo.loading import load_weights, read_state_dict
from zoo.nets import SHAPED
from zoo.shards import whole
from zoo.sources.blobs import convert, keep, locked, new_blob


def add(
    home: Home,
    path: Path,
    *,
    name: str,
    dataset: str,
    architecture: str,
    input_shape: tuple[int, ...] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    licence: str | None = None,
    purpose: str = "other",
    state_dict: str = "",
    strip_prefix: str = "",
) -> ModelEntry:
    """Copy a checkpoint into the store and enter it into the catalog.

    What a config.json or preprocessor_config.json beside it says otherwise is a warning.

    Nothing is recorded before the file has been read safely and fits its architecture, nor if the
    catalog cannot be built with it.

    Args:
        home: The store.
        path: A torch checkpoint or safetensors, or the index of several, or one of its shards.
        name: What the catalog is to call it.
        dataset: What it was trained to classify; gives the number of classes.
        architecture: As of `zoo.nets.build`.
        input_shape: (channels, height, width) that it takes; by default the dataset's.
        mean: Per channel, subtracted from the pixels; by default 0.
        std: Per channel, what the pixels are then divided by; by default 1.
        licence: Of the weights.
        purpose: One of `zoo.catalog.PURPOSES`.
        state_dict: Path inside the checkpoint to the tensors: ``"state_dict"``; if empty, and only
            one reading of the file fits, it is found, with a warning that says so.
        strip_prefix: Dropped from every key: ``"module."``; found likewise.

    Raises:
        ZooError: The name is taken, something named is unknown, or the file holds something else
            than such a network's weights.
    """
    catalog = open_catalog(home)
    check_words(catalog, name, purpose)
    facts = catalog.dataset(dataset)
    shape = input_shape or facts["input_shape"]
    if shape is None:
        raise ZooError(
            f"Images of {dataset} differ in size: say what the network takes with --input-shape "
            "3,224,224."
        )
    means, stds = scaling(dataset, tuple(shape), mean, std)
    if not path.is_file():
        raise ZooError(f"There is no file {path}.")

    with whole(path) as file:
        sha256 = sha256_file(file)
        artifact = Artifact(
            sha256=sha256,
            size=file.stat().st_size,
            mirror_path=None,
            url=None,
            state_dict=state_dict,
            strip_prefix=strip_prefix,
        )
        entry = ModelEntry(
            name=name,
            source="local",
            purpose=cast(Purpose, purpose),
            dataset=dataset,
            architecture=architecture,
            input_shape=tuple(shape),
            num_classes=facts["num_classes"],
            mean=means,
            std=stds,
            licence=licence,
            backdoored=False,
            artifact=artifact,
            recipe=None,
        )
        counts = count(architecture, entry.input_shape, entry.num_classes)
        read = found_in(entry, file, artifact)
        if read != artifact:
            warnings.warn(
                f"{path} is read with {options(read)}: nothing else in it fits.", stacklevel=2
            )
            entry, artifact = replace(entry, artifact=read), read
        load_weights(entry, read_state_dict(file, artifact))
        for sentence in contradictions(entry, path):
            warnings.warn(sentence, stacklevel=2)
        values = facts_of(entry) | asdict(artifact) | asdict(counts)
        with entering(home, entry, values) as record:
            with new_blob(home, name) as part:
                shutil.copyfile(file, part)
                if sha256_file(part) != sha256:
                    raise ZooError(f"{path} changed while it was read. Add it when it is finished.")
                keep(home, part, sha256)
            convert(entry, artifact, home)
            brings = of_network(architecture, catalog)
            write_json(record, {"values": values, "brings": brings, "provenance": PROVENANCE})
    return entry


def of_network(architecture: str, catalog: Catalog) -> dict[str, dict[str, str]]:
    """What an entry has to say of a network that nobody has coded, as `zoo.added.BROUGHT`.

    All whose name is told its input and who are called alike are of one family; a network of
    another package is a family of its own.
    """
    _, rows = catalog.sql("SELECT key, family FROM architectures")
    families = dict(rows)
    if architecture in families:
        return {}
    kind, slash, _ = architecture.partition("/")
    if kind in SHAPED:
        alike = (family for key, family in rows if key.partition("/")[0] == kind)
        return {"architectures": {"key": architecture, "family": next(alike)}}
    if slash:  # of a library, all of whose networks are coded
        return {}
    return {
        "families": {"key": architecture, "name": architecture},
        "architectures": {"key": architecture, "family": architecture},
    }


PROVENANCE = {
    "coder": "user",
    "method": "manual",
    "confidence": "medium",
    "evidence": "added with zoo add",
}
"""Of everything that a user says of a model."""


def check_words(catalog: Catalog, name: str, purpose: str) -> None:
    """Refuse a name that is taken or cannot be one, and an unknown purpose.

    Raises:
        ZooError: It is so.
    """
    try:
        read_cell(load_codebook().tables["published"].fields["name"], name)
    except ValueError as problem:
        raise ZooError(
            f"--name {problem}: use lower-case letters, digits, hyphens and dots, like "
            "me/resnet20-cifar10."
        ) from problem
    if name in catalog.names():
        raise ZooError(
            f"There is a model {name!r} already. Names are never reused; choose another."
        )
    if purpose not in PURPOSES:
        raise unknown("purpose", purpose, PURPOSES)


def scaling(
    dataset: str,
    shape: tuple[int, ...],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel, 0 and 1 unless given; of a table one for all features.

    Raises:
        ZooError: They are of another number of channels, or no scaling.
    """
    channels = shape[0] if len(shape) == 3 else 1
    means = (0.0,) * channels if mean is None else tuple(mean)
    stds = (1.0,) * channels if std is None else tuple(std)
    finite = all(map(math.isfinite, (*means, *stds)))
    if not (len(means) == len(stds) == channels and finite and min(stds) > 0):
        raise ZooError(
            f"Images of {dataset} have {channels} channel{'s' * (channels > 1)}: --mean and --std "
            f"need {channels} comma-separated finite number{'s' * (channels > 1)}, those of --std "
            "above 0."
        )
    return means, stds


def facts_of(entry: ModelEntry) -> dict[str, Any]:
    """What the catalog's columns say of a user's model, its weights and counts aside."""
    kind = "image" if len(entry.input_shape) == 3 else "tabular"
    return {
        "name": entry.name,
        "purpose": entry.purpose,
        "task": f"{kind} classification",
        "dataset": entry.dataset,
        "architecture": entry.architecture,
        "input_shape": entry.input_shape,
        "num_classes": entry.num_classes,
        "mean": entry.mean,
        "std": entry.std,
        "licence": entry.licence,
        "backdoored": False,
    }


@contextmanager
def entering(home: Home, entry: ModelEntry, values: Mapping[str, Any]) -> Iterator[Path]:
    """Where to write the model's file; the catalog is built with it, or all is taken back.

    Args:
        home: The store.
        entry: The model.
        values: What is going to be written of it.

    Raises:
        ZooError: A value cannot be one of the catalog, or the name is taken.
    """
    try:
        checked(values, load_codebook())
    except ValueError as problem:
        raise ZooError(f"{entry.name} cannot be added: {problem}.") from problem
    record = entry_file(home, entry.name)
    with locked(home, entry.name):
        if record.exists():
            raise ZooError(f"Another command has just added {entry.name!r}. Choose another name.")
        try:
            yield record
            refresh(home)
            if entry.name not in Catalog(home).names():
                raise ZooError(
                    f"{entry.name} cannot be added: the catalog could not be built with it, for "
                    "the reason that the warning above gives."
                )
        except BaseException:
            shutil.rmtree(
                record.parent, ignore_errors=True
            )  # its blobs may be another model's as well
            raise
