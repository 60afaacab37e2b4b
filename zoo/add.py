"""Enter a user's own checkpoint into the catalog."""

import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from annotations.cells import read_cell
from annotations.load import load_codebook
from zoo.added import checked, entry_file
from zoo.beside import contradictions, scaling_beside
from zoo.build import refresh
from zoo.catalog import PURPOSES, Catalog, Purpose, open_catalog
from zoo.counting import count
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError, unknown
from zoo.files import sha256_file, write_json
from zoo.home import Home
from zoo.layout import found_in, options
from zoo.loading import load_weights, read_state_dict
from zoo.nets import LIBRARIES, SHAPED, Scaled, own_code
from zoo.nets.answers import KINDS, LOGITS, ONE_LOGIT, ONE_PROBABILITY, PROBABILITIES, kind_of
from zoo.nets.registry import ARCHITECTURES
from zoo.own_data import Data, of_dataset
from zoo.shards import whole
from zoo.sources.blobs import convert, keep, locked, new_blob

Look = Callable[[ModelEntry, nn.Module], ModelEntry]
"""Whatever is to be seen of a model before it is recorded."""


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
    answers: str | None = None,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    data: Data | None = None,
    look: Look = lambda entry, net: entry,
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
        architecture: As of `zoo.nets.build`; of a user's own code also by a path of any kind.
        input_shape: (channels, height, width) that it takes; by default the dataset's.
        mean: Per channel, subtracted from the pixels; by default what a file beside the checkpoint
            says, else what ``look`` finds; of a table 0.
        std: Per channel, what the pixels are then divided by; likewise, of a table 1.
        licence: Of the weights.
        purpose: One of `zoo.catalog.PURPOSES`.
        state_dict: Path inside the checkpoint to the tensors: ``"state_dict"``; if empty, and only
            one reading of the file fits, it is found, with a warning that says so.
        strip_prefix: Dropped from every key: ``"module."``; found likewise.
        answers: One of `zoo.nets.answers.KINDS`; found, with a warning, if it is not logits.
        arguments: What a user's own code is called with.
        data: What it was trained to classify, if the catalog does not know that.
        look: Called with the entry, whose scaling may not be known, and the network with its
            weights, before anything is recorded; returns the entry as it is to be.

    Raises:
        ZooError: The name is taken, something named is unknown, or the file holds something else
            than such a network's weights.
    """
    catalog = open_catalog(home)
    check_words(catalog, name, purpose)
    own = own_code.is_one(architecture)
    if own:
        architecture = own_code.key(architecture, arguments)
    elif arguments or answers:
        told = f"--set {next(iter(arguments))}" if arguments else "--answers"
        raise ZooError(
            f"{told} is of your own code, or of a recipe with --train, and {architecture} is none. "
            "Leave it out, or name the code: net.py:MyNet."
        )
    facts = catalog.dataset(dataset) if data is None else asdict(data)
    shape = input_shape or facts["input_shape"]
    if shape is None:
        raise ZooError(
            f"Images of {dataset} differ in size: say what the network takes with --input-shape "
            "3,224,224."
        )
    if not path.is_file():
        raise ZooError(f"There is no file {path}.")
    means, stds = _scaling(dataset, tuple(shape), mean, std, path)

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
        state = read_state_dict(file, artifact)
        net = load_weights(entry, state).eval()
        if own:
            kind = _answers(answers, entry, net)
            entry = replace(entry, architecture=own_code.key(architecture, answers=kind))
            net = load_weights(entry, state).eval()
        entry = look(entry, net)
        if entry.mean is None or entry.std is None:
            raise ZooError(
                f"Nothing says how the images of {dataset} are scaled for {name}. Give --mean and "
                "--std per channel, of pixels in [0, 1]; --mean 0 --std 1 if it takes these as "
                "they are."
            )
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
            brings: dict[str, Any] = of_network(entry.architecture, catalog)
            if data is not None:
                brings["datasets"] = of_dataset(data)
            found = {**PROVENANCE, **({} if means == entry.mean else SCALING_FOUND)}
            write_json(record, {"values": values, "brings": brings, "provenance": found})
    return entry


_INPUTS = 64
"""Random inputs that tell what a network answers."""


def _answers(said: str | None, entry: ModelEntry, net: nn.Module) -> str:
    """What a network of the user's own answers: as the user says, else as it seems."""
    if said is not None and said not in KINDS:
        raise unknown("kind of answers", said, KINDS)
    x = torch.rand(_INPUTS, *entry.input_shape, generator=torch.Generator().manual_seed(0))
    if entry.mean is not None and entry.std is not None:
        x = Scaled(nn.Identity(), entry.mean, entry.std, entry.input_shape)(x)
    with torch.no_grad():
        answer = torch.cat([net(part) for part in x.split(8)])
    found, one = kind_of(answer, entry.num_classes), (ONE_LOGIT, ONE_PROBABILITY)
    single = found in (None, *one)
    if said is None and found is None:
        raise ZooError(
            f"{entry.name} answers with one number in [0, 1], which may be a logit or a "
            f"probability. Say which: --answers {' or '.join(one)}."
        )
    if said is not None and (said in one) != single:
        numbers = 1 if single else entry.num_classes
        raise ZooError(f"--answers {said}: but the network gives {numbers} for each input.")
    wrong = (said == PROBABILITIES and found == LOGITS) or (
        said == ONE_PROBABILITY and found == ONE_LOGIT
    )
    if wrong:
        raise ZooError(
            f"--answers {said}: but the network gives {answer.min():.3g} to {answer.max():.3g}, "
            "which are none."
        )
    if said is None and found != LOGITS:
        warnings.warn(
            f"{entry.name} is taken to answer with {_TOLD[str(found)]}. If it does not, say what: "
            f"--answers {' or '.join(kind for kind in KINDS if (kind in one) == single)}.",
            stacklevel=3,
        )
    return said or str(found)


_TOLD = {
    PROBABILITIES: "probabilities, which are none below 0 and sum to 1",
    ONE_LOGIT: "one logit, that of class 1",
}


def _scaling(
    dataset: str,
    shape: tuple[int, ...],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    path: Path,
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation as the user says them, or the files beside the checkpoint, or nobody."""
    if len(shape) != 3:
        return scaling(dataset, shape, mean, std)
    if (mean is None) != (std is None):
        raise ZooError("Give both --mean and --std, or neither.")
    if mean is None:
        told = scaling_beside(path)
        if told is None:
            return None, None
        warnings.warn(f"The scaling is that of {told.file}: {told}.", stacklevel=3)
        mean, std = told.mean, told.std
    return scaling(dataset, shape, mean, std)


def of_network(architecture: str, catalog: Catalog) -> dict[str, dict[str, str]]:
    """What an entry has to say of a network that nobody has coded, as `zoo.added.BROUGHT`.

    All whose name is told its input and who are called alike are of one family; a network of
    another package, or of the user's own code, is a family of its own. Each entry says it, so that
    another one of the same network can be removed.
    """
    kind = architecture.partition("/")[0]
    if architecture in ARCHITECTURES or (kind in LIBRARIES and not own_code.is_one(architecture)):
        return {}  # all of these are coded
    if kind in SHAPED:
        _, rows = catalog.sql("SELECT key, family FROM architectures")
        alike = (family for key, family in rows if key.partition("/")[0] == kind)
        return {"architectures": {"key": architecture, "family": next(alike)}}
    return {
        "families": {"key": architecture, "name": architecture},
        "architectures": {"key": architecture, "family": architecture},
    }


LARGEST_MEAN, LARGEST_STD = 5.0, 20.0
"""Of pixels in [0, 1]; what is larger is of another unit."""

PROVENANCE = {
    "coder": "user",
    "method": "manual",
    "confidence": "medium",
    "evidence": "added with zoo add",
}
"""Of everything that a user says of a model."""

SCALING_FOUND = {"evidence": "added with zoo add; mean and std are those with the best accuracy"}


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
    means = _each(mean, 0.0, channels)
    stds = _each(std, 1.0, channels)
    finite = all(map(math.isfinite, (*means, *stds)))
    if not (len(means) == len(stds) == channels and finite and min(stds) > 0):
        raise ZooError(
            f"Images of {dataset} have {channels} channel{'s' * (channels > 1)}: --mean and --std "
            f"need {channels} comma-separated finite number{'s' * (channels > 1)}, those of --std "
            "above 0."
        )
    if max(map(abs, means)) > LARGEST_MEAN or max(stds) > LARGEST_STD:
        told = ",".join(f"{one / 255:.3g}" for one in (*means, *stds))
        raise ZooError(
            f"--mean and --std are of pixels in [0, 1], and {max(*map(abs, means), *stds):g} is of "
            f"0 to 255. Divide them by 255 ({told}), or write 0 and {1 / 255:.3g} for a network "
            "that takes 0 to 255 as they are."
        )
    return means, stds


def _each(values: Sequence[float] | None, default: float, channels: int) -> tuple[float, ...]:
    """A number for each channel; one alone is that of all."""
    given = (default,) if values is None else tuple(values)
    return given * channels if len(given) == 1 else given


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
