"""Weight files: told apart by their bytes, read without running anything in them."""

import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.entry import Artifact, ModelEntry
from zoo.errors import UnknownNameError, ZooError
from zoo.files import write_atomic
from zoo.finite import tensor_not_finite
from zoo.nets import Scaled, build
from zoo.nets.checkpoints import translate

WeightFormat = Literal["torch-zip", "torch-legacy", "safetensors"]

# A pickle of torch's magic number, with which every checkpoint of torch < 1.6 begins.
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def sniff(path: Path) -> WeightFormat:
    """The format of a weight file, from its first bytes.

    Raises:
        ZooError: It is a web page, a bare pickle, or of no format that is read here.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        if what := _other_archive(path):
            raise ZooError(f"{path} is {what}. Nothing in it was executed.")
        return "torch-zip"
    if head.startswith(_TORCH_LEGACY):
        return "torch-legacy"
    if len(head) > 8 and head[8:9] == b"{":
        (header,) = struct.unpack("<Q", head[:8])
        if header <= path.stat().st_size - 8:
            return "safetensors"
    if is_web_page(head):
        raise ZooError(f"{path} holds a web page, not weights.")
    if is_lfs_pointer(head):
        raise ZooError(f"{path} is a Git LFS pointer, not weights. Fetch the file it points to.")
    if head[:1] == b"\x80":
        raise ZooError(
            f"{path} is a bare Python pickle, not a checkpoint. It may hold code and was not "
            "executed. Save a state dict with torch.save or as safetensors."
        )
    raise ZooError(
        f"{path} is neither a torch checkpoint nor safetensors: it begins with {head[:8]!r}."
    )


_STATE_DICT = "save the network's state_dict() with torch.save or as safetensors"
_ARCHIVES = {
    r"(.*/)?constants\.pkl": (
        f"a TorchScript archive: load it with torch.jit.load, and {_STATE_DICT}"
    ),
    r"(.*/)?archive_format|(.*/)?serialized_exported_program\.json": (
        f"a program of torch.export (.pt2): load it with torch.export.load, and {_STATE_DICT}"
    ),
    r"model\.weights\.h5": (
        "a Keras model (.keras), which is no network of torch: give a checkpoint of torch, or "
        "safetensors"
    ),
    r".*\.npy": ("an archive of numpy arrays (.npz): save them as tensors by name as safetensors"),
}
"""Members of archives that are no checkpoints, and what such an archive is."""


def _other_archive(path: Path) -> str | None:
    """What a zip archive is, by the names in it; None if it may be a checkpoint or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return None
    for pattern, what in _ARCHIVES.items():
        if any(re.fullmatch(pattern, name) for name in names):
            return what
    return None


def is_web_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of HTML or XML."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--"))


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file begins as what Git LFS puts in the place of a large one."""
    return head.startswith(b"version https://git-lfs")


def read_state_dict(path: Path, artifact: Artifact) -> dict[str, Tensor]:
    """The tensors of a weight file, on the CPU, under the names that its network gives them.

    Raises:
        ZooError: It is of no known format, damaged, or holds anything that could run code.
    """
    return follow(read_checkpoint(path), artifact, path)


def read_weights(entry: ModelEntry, path: Path, artifact: Artifact) -> dict[str, Tensor]:
    """`read_state_dict`, with names by order where the catalog says that the file's are others.

    Raises:
        ZooError: As there, or the tensors are not those of the network in their order.
    """
    state = read_state_dict(path, artifact)
    if not artifact.in_order:
        return state
    wanted = network(entry).state_dict()
    for (ours, tensor), (theirs, value) in zip(wanted.items(), state.items(), strict=False):
        if tensor.shape != value.shape:
            raise ZooError(
                f"{path}: {theirs} has shape {tuple(value.shape)}, and in its place the network of "
                f"{entry.name} has {ours} of {tuple(tensor.shape)}: not the same network."
            )
    if len(wanted) != len(state):
        raise ZooError(
            f"{path} has {len(state)} tensors, and the network of {entry.name} {len(wanted)}: not "
            "the same network."
        )
    return dict(zip(wanted, state.values(), strict=True))


def read_checkpoint(path: Path) -> Any:
    """What a weight file holds, tensors on the CPU: a state dict, or what has one in it.

    Raises:
        ZooError: It is of no known format, damaged, or holds anything that could run code.
    """
    if sniff(path) == "safetensors":
        return _read_safetensors(path)
    else:
        try:
            with warnings.catch_warnings():
                # Of what torch refuses, or reads, all the same; other threads may warn meanwhile.
                warnings.filterwarnings("ignore", module=r"torch\.|zoo\.loading")
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as problem:
            # Torch's own text advises to load the file without this protection.
            named = re.search(r"GLOBAL ([\w.]*\w)", str(problem))
            raise ZooError(
                f"{path} holds code or objects other than tensors"
                f"{f' ({named[1]})' if named else ''} and was NOT executed. Ask its source for a "
                "plain state dict or safetensors."
            ) from problem
        except Exception as problem:  # a damaged file fails in torch's parser in any way
            raise ZooError(
                f"{path} is damaged, or not a checkpoint ({type(problem).__name__}); nothing in "
                "it was executed. Get it again."
            ) from problem


def follow(content: Any, artifact: Artifact, path: Path) -> dict[str, Tensor]:
    """The tensors in what a checkpoint holds, under the names that its network gives them.

    Raises:
        ZooError: There are none where the artifact says, or something else is with them.
    """
    found = _follow(content, artifact.state_dict, path)
    prefix = artifact.strip_prefix
    state = {}
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ZooError(
                f"{path} is not a state dict: {key!r} holds a {type(value).__name__}, not a tensor."
            )
        state[key.removeprefix(prefix)] = value
    if len(state) < len(found):
        raise ZooError(f"{path} names a tensor both with and without {prefix!r}.")
    return state


def to_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, atomically; equal tensors give equal bytes."""
    # Copies: safetensors refuses tensors that share memory, as views of one storage do.
    content = safetensors.torch.save({k: v.detach().clone().contiguous() for k, v in state.items()})
    write_atomic(path, content)


def network(entry: ModelEntry) -> nn.Module:
    """The entry's network with fresh weights.

    Raises:
        ZooError: There is no code for its architecture here, or a library for it is not installed.
    """
    try:
        return build(entry.architecture, entry.input_shape, entry.num_classes)
    except UnknownNameError as problem:
        raise ZooError(
            f"{entry.name} cannot be loaded: there is no code here for its architecture "
            f"{entry.architecture}."
        ) from problem


def load_weights(entry: ModelEntry, state: Mapping[str, Tensor]) -> nn.Module:
    """The entry's network with these weights, every one of them and no other.

    Batch norms of before torch 0.4.1 did not count their batches; those counters alone may be
    missing, and start at 0. Where the network's library publishes weights under other names than
    its network has now, its own mapping is applied.

    Raises:
        ZooError: A tensor is missing, left over, or of the wrong shape; the text names all. Or
            one holds NaN or infinity.
    """
    net = network(entry)
    found = _with_counters(net, state)
    if problems := _misfit(net, found):
        renamed = translate(entry.architecture, entry.input_shape, entry.num_classes, state)
        found = _with_counters(net, renamed or {})
        if _misfit(net, found):
            raise ZooError(
                f"The weights of {entry.name} do not fit architecture {entry.architecture}: "
                f"{'; '.join(problems)}."
            )
    # Some networks want to be told the version of their names; the names are those of today.
    versions = getattr(net.state_dict(), "_metadata", {})
    net.load_state_dict(_Versioned(found, versions))
    if what := tensor_not_finite(net.state_dict()):
        raise ZooError(
            f"The weights of {entry.name} are no model's: {what}. Its training diverged, or its "
            "numbers do not fit into float32; get other weights."
        )
    return net


def load_network(entry: ModelEntry, path: Path) -> nn.Module:
    """The raw network of an entry, from the safetensors file that `zoo.fetch.fetch` gave.

    Raises:
        ZooError: The file is damaged, or its tensors do not fit.
    """
    return load_weights(entry, _read_safetensors(path))


def load_model(entry: ModelEntry, path: Path) -> Scaled:
    """The model of an entry in eval mode: pixels in [0, 1] in, logits out.

    Raises:
        ZooError: The file is damaged, its tensors do not fit, or nobody states how its input is
            to be scaled.
    """
    if entry.mean is None or entry.std is None:
        raise ZooError(
            f"{entry.name} cannot be used: its source does not say how to scale its input (mean "
            "and std are unknown). `zoo.loading.load_network` gives the network without scaling."
        )
    return Scaled(load_network(entry, path), entry.mean, entry.std, entry.input_shape).eval()


class _Versioned(OrderedDict[str, Tensor]):
    """A state dict with the versions of its modules, as `nn.Module.state_dict` gives it."""

    def __init__(self, state: Mapping[str, Tensor], versions: Mapping[str, Any]) -> None:
        super().__init__(state)
        self._metadata = versions


def _with_counters(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with a 0 for each counter of batches that ``net`` has and it has not."""
    counters = {
        key: torch.zeros_like(value)
        for key, value in net.state_dict().items()
        if key.endswith(".num_batches_tracked")
    }
    return counters | dict(state)


def _misfit(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state dict from being that of a network; nothing if it is."""
    wanted = net.state_dict()
    problems = []
    if missing := sorted(wanted.keys() - state.keys()):
        problems.append(f"missing {_some(missing)}")
    if unexpected := sorted(state.keys() - wanted.keys()):
        problems.append(f"unexpected {_some(unexpected)}")
    if wrong := [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]:
        problems.append(f"wrong shape of {_some(wrong)}")
    if whole := [
        f"{key} ({str(state[key].dtype).removeprefix('torch.')})"
        for key in wanted
        if key in state
        and wanted[key].is_floating_point()
        and not (state[key].is_floating_point() or state[key].is_complex())
        and not state[key].is_quantized
    ]:
        problems.append(
            f"whole numbers instead of real ones in {_some(whole)}, as of a quantised network "
            "whose scales are not here: give the weights from before it was quantised"
        )
    if odd := [key for key in wanted if key in state and not _is_plain(state[key])]:
        problems.append(f"no plain real numbers in {_some(odd)}")
    return problems


def _is_plain(value: Tensor) -> bool:
    dense = value.layout is torch.strided and value.device.type == "cpu"
    return dense and not value.is_quantized and not value.is_complex()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except Exception as problem:  # a damaged file fails in its parser, or in torch, in any way
        raise ZooError(f"{path} is damaged safetensors ({problem}). Get it again.") from problem


def _follow(found: Any, route: str, path: Path) -> Mapping[Any, Any]:
    """The mapping at ``route`` inside a checkpoint; numbers are places in a list."""
    for step in route.split(".") if route else []:
        try:
            found = found[int(step)] if isinstance(found, list | tuple) else found[step]
        except (KeyError, IndexError, ValueError, TypeError) as problem:
            raise ZooError(
                f"{path} has nothing at {route!r}: {step!r} is not in {_contents(found)}."
            ) from problem
    if not isinstance(found, Mapping):
        where = f"at {route!r}" if route else "at its top"
        raise ZooError(f"{path} holds {_contents(found)} {where}, not a state dict.")
    return found


def _contents(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a dict of {_some([str(key) for key in found])}"
    if isinstance(found, list | tuple):
        return f"a list of {len(found)}"
    return f"a {type(found).__name__}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
