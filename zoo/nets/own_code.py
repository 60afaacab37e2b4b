"""Networks that a user's own code defines: ``my_package.models:MyNet`` or ``/home/me/net.py:Net``.

Arguments stand behind the name as Python has them: ``net.py:MyNet(width=64, kind='a')``. In the
catalog a hash of the code follows, so that a model whose code was changed is another one and is not
taken for what was measured, and then what the network answers if that is no logits::

    /home/me/net.py:MyNet(width=64)@3f2a9c01d4e5->probabilities

The code is run, so that it has to be the user's own. Of a file, the hash is that of itself and of
what it imports from beside it; of a package, that of the module's own file. What is beside a file
can be imported while the file is read and while the network is made, and not afterwards.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.nets.answers import LOGITS, as_logits

_KEY = re.compile(
    r"(?P<code>[^()@]+):(?P<name>[A-Za-z_][\w.]*)(\((?P<arguments>.*)\))?"
    r"(@(?P<version>[0-9a-f]{12}))?(->(?P<answers>[a-z-]+))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Parts:
    """An architecture's key, taken apart."""

    code: str
    name: str
    arguments: Mapping[str, Any]
    version: str | None
    answers: str

    def __str__(self) -> str:
        told = ", ".join(f"{one}={value!r}" for one, value in self.arguments.items())
        return (
            f"{self.code}:{self.name}"
            + (f"({told})" if told else "")
            + (f"@{self.version}" if self.version else "")
            + (f"->{self.answers}" if self.answers != LOGITS else "")
        )


@dataclass
class _Loaded:
    """Code that was read."""

    module: ModuleType
    beside: set[Path] = field(default_factory=set)


_files: dict[Path, _Loaded] = {}
"""The files that were read; they are not read again in this process."""


def is_one(architecture: str) -> bool:
    """Whether an architecture's key is of this kind."""
    return _KEY.fullmatch(architecture) is not None


def key(
    architecture: str,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    answers: str | None = None,
) -> str:
    """An architecture's key as the catalog has it: a file by its full path, and with its hash.

    Args:
        architecture: As the user wrote it.
        arguments: More of them: numbers, texts, truth values, None, or lists of these.
        answers: What the network answers: one of `zoo.nets.answers.KINDS`; None for what the key
            says, or logits.

    Raises:
        ZooError: An argument is given twice, or the code makes no network.
    """
    told = _parts(architecture)
    if twice := sorted(told.arguments.keys() & arguments.keys()):
        raise ZooError(f"{architecture} and --set both say {twice[0]}. Say it once.")
    code = told.code
    if code.endswith(".py"):
        code = str(Path(code).expanduser().resolve())
    found = replace(
        told, code=code, arguments={**told.arguments, **arguments}, version=None,
        answers=answers or told.answers,
    )  # fmt: skip
    build(str(found))  # what is imported while it is made has to be known
    return str(replace(found, version=_version(code)))


def build(architecture: str) -> nn.Module:
    """The network that the code makes, which answers with logits.

    Args:
        architecture: Where its code is, what is called there, and with what.

    Raises:
        ZooError: There is no such code, it is not what it was, it fails, or it makes something
            else.
    """
    told = _parts(architecture)
    loaded = _loaded(told.code)
    made = _made(loaded, told, architecture)
    if told.version is not None and told.version != _version(told.code):
        raise ZooError(
            f"The code of {told.code}:{told.name} is not what it was when the model was added. "
            "Add the model again, under another name."
        )
    made.register_forward_hook(partial(_to_logits, told.answers))
    return made


def _to_logits(kind: str, _: nn.Module, __: Any, answer: Any) -> Tensor:
    return as_logits(answer, kind)


def _made(loaded: _Loaded, told: _Parts, architecture: str) -> nn.Module:
    found: Any = loaded.module
    for part in told.name.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ZooError(f"{told.code} defines no {told.name}. Name what makes the network.")
    if not callable(found):
        raise ZooError(f"{told.code}:{told.name} cannot be called: it is {found!r:.80}.")
    try:
        with _importing_beside(told.code, loaded):
            made = found(**told.arguments)
    except (Exception, SystemExit) as error:  # somebody else's code may fail in any way
        advice = "Give its arguments with --set name=value." if isinstance(error, TypeError) else ""
        raise ZooError(
            f"{architecture} could not be made ({_told(error)}). {advice}".rstrip()
        ) from error
    if not isinstance(made, nn.Module):
        raise ZooError(f"{architecture} makes a {type(made).__name__}, not a torch.nn.Module.")
    return made


def _parts(architecture: str) -> _Parts:
    match = _KEY.fullmatch(architecture)
    if match is None:
        raise ZooError(f"{architecture!r} is not like my_package.models:MyNet or net.py:MyNet.")
    given: dict[str, Any] = {}
    if match["arguments"]:
        try:
            call = ast.parse(f"f({match['arguments']})", mode="eval").body
            assert isinstance(call, ast.Call)
            if call.args or any(one.arg is None for one in call.keywords):
                raise ValueError("every argument needs a name")
            given = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
        except (SyntaxError, ValueError, AssertionError) as error:
            raise ZooError(
                f"The arguments of {architecture} cannot be read ({error}). Write them as "
                "MyNet(width=64, kind='a')."
            ) from error
    return _Parts(match["code"], match["name"], given, match["version"], match["answers"] or LOGITS)


def _loaded(code: str) -> _Loaded:
    if code.endswith(".py"):
        return _of_file(Path(code))
    if code.partition(".")[0] in sys.stdlib_module_names:
        raise ZooError(f"{code} is of Python's own library, which has no networks. Name your code.")
    try:
        return _Loaded(importlib.import_module(code))
    except (Exception, SystemExit) as error:  # likewise
        raise ZooError(
            f"The code of {code} cannot be imported ({_told(error)}). Install its package, set "
            "PYTHONPATH, or name the file: net.py:MyNet."
        ) from error


def _of_file(path: Path) -> _Loaded:
    """A file as a module, which is run if it is the user's."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ZooError(f"There is no file {path}, whose code is wanted. Put it there again.")
    if path in _files:
        return _files[path]
    # A store may be shared: whoever writes to it must not make others run what they wrote.
    if hasattr(os, "getuid") and path.stat().st_uid not in (os.getuid(), 0):
        raise ZooError(f"{path} is another user's code, which is not run. Add a copy of yours.")
    name = f"zoo_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = _Loaded(importlib.util.module_from_spec(spec))
    sys.modules[name] = loaded.module  # before it is run, so that its classes can be pickled
    try:
        with _importing_beside(str(path), loaded):
            spec.loader.exec_module(loaded.module)
    except (Exception, SystemExit) as error:  # likewise
        del sys.modules[name]
        raise ZooError(f"{path} cannot be run ({_told(error)}). Correct it.") from error
    _files[path] = loaded
    return loaded


@contextmanager
def _importing_beside(code: str, loaded: _Loaded) -> Iterator[None]:
    """What lies beside a file can be imported, and is forgotten: another file may have its like."""
    if not code.endswith(".py"):
        yield
        return
    folder = Path(code).parent
    names = {path.stem for path in folder.glob("*.py")}
    names |= {path.parent.name for path in folder.glob("*/__init__.py")}
    elsewhere = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in names and not _is_in(module, folder)
    }
    for name in elsewhere:
        del sys.modules[name]
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if _is_in(sys.modules[name], folder):
                loaded.beside.add(Path(str(sys.modules[name].__file__)))
                del sys.modules[name]
        sys.modules.update(elsewhere)


def _is_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)


def _version(code: str) -> str:
    """The first 12 hexadecimal digits of the hash of code that was read."""
    loaded = _loaded(code)
    own = Path(code) if code.endswith(".py") else Path(str(loaded.module.__file__))
    sha = hashlib.sha256()
    for path in [own, *sorted(loaded.beside)]:
        content = path.read_bytes()
        sha.update(f"{path.name} {len(content)}\n".encode() + content)
    return sha.hexdigest()[:12]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
