"""Networks that a user's own code defines: ``my_package.models:MyNet`` or ``/home/me/net.py:Net``.

Arguments stand behind the name as Python has them: ``net.py:MyNet(width=64, kind='a')``. The code
is run, so that it has to be the user's own, or trusted.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from zoo.errors import ZooError

_KEY = re.compile(r"(?P<code>[^()]+):(?P<name>[A-Za-z_][\w.]*)(\((?P<arguments>.*)\))?", re.DOTALL)


def is_one(architecture: str) -> bool:
    """Whether an architecture's key is of this kind."""
    return _KEY.fullmatch(architecture) is not None


def key(architecture: str, arguments: Mapping[str, Any]) -> str:
    """An architecture's key as the catalog has it: a file by its full path, with arguments.

    Args:
        architecture: As the user wrote it.
        arguments: More of them: numbers, texts, truth values, None, or lists of these.

    Raises:
        ZooError: An argument is given twice, or none of these.
    """
    code, name, given = _parts(architecture)
    if twice := sorted(given.keys() & arguments.keys()):
        raise ZooError(f"{architecture} and --set both say {twice[0]}. Say it once.")
    if code.endswith(".py"):
        code = str(Path(code).expanduser().resolve())
    found = {**given, **arguments}
    told = ", ".join(f"{one}={value!r}" for one, value in found.items())
    return f"{code}:{name}" + (f"({told})" if told else "")


def build(architecture: str) -> nn.Module:
    """The network that the code makes.

    Args:
        architecture: Where its code is, what is called there, and with what.

    Raises:
        ZooError: There is no such code, it fails, or it makes something else.
    """
    code, name, arguments = _parts(architecture)
    found: Any = _module(code)
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ZooError(f"{code} defines no {name}. Name what makes the network.")
    if not callable(found):
        raise ZooError(f"{code}:{name} cannot be called: it is {found!r:.80}.")
    try:
        made = found(**arguments)
    except Exception as error:  # somebody else's code may fail in any way
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise ZooError(
            f"{architecture} could not be made ({reason}). Give its arguments with --set "
            "name=value."
        ) from error
    if not isinstance(made, nn.Module):
        raise ZooError(f"{architecture} makes a {type(made).__name__}, not a torch.nn.Module.")
    return made


def _parts(architecture: str) -> tuple[str, str, dict[str, Any]]:
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
    return match["code"], match["name"], given


def _module(code: str) -> ModuleType:
    if code.endswith(".py"):
        return _of_file(Path(code))
    try:
        return importlib.import_module(code)
    except Exception as error:  # likewise
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise ZooError(
            f"The code of {code} cannot be imported ({reason}). Install its package, set "
            "PYTHONPATH, or name the file: net.py:MyNet."
        ) from error


def _of_file(path: Path) -> ModuleType:
    """A file as a module; the files beside it can be imported from it."""
    if not path.is_file():
        raise ZooError(f"There is no file {path}, whose code is wanted. Put it there again.")
    name = f"zoo_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it is run, so that its classes can be pickled
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # likewise
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise ZooError(f"{path} cannot be run ({reason}). Correct it.") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
