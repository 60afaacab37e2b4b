"""What is asked for as a user writes it: on a command line, in a file, or from Python.

One record for all three, so that a request means the same wherever it comes from. Its field names
are the names of the command line's options.
"""

from __future__ import annotations

import csv
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

from harness import registry
from harness.types import Access, Aux, Regime, Risk
from zoo.errors import ZooError
from zoo.files import write_atomic

LISTS = ("model", "defense", "risk", "attack", "queries", "adversary")
NUMBERS = ("seeds", "workers")
PATHS = ("mirror", "data_dir")


@dataclass(frozen=True, kw_only=True)
class Options:
    """A request and how to carry it out, in words.

    Every field is an option of ``harness eval``; its annotation has the help text.
    """

    model: Annotated[
        tuple[str, ...],
        "Names, with commas between. Every fetched model if neither this nor --where is given, or "
        "digits-cnn if none was.",
    ] = ()
    where: Annotated[str | None, "Models by a SQL expression over the catalog."] = None
    defense: Annotated[
        tuple[str, ...], "Stacks, with commas between: none, dpsgd, a+b; none if not given."
    ] = ("none",)
    regime: Annotated[
        str | None,
        "How published models come to their weights: fine-tuned, also where no defense needs a "
        "training. If not given, they are fine-tuned where a defense does.",
    ] = None
    risk: Annotated[tuple[str, ...], "Risks, with commas between, or all."] = ()
    attack: Annotated[
        tuple[str, ...], "Attacks or rows of a preset, or all; the standard ones if not given."
    ] = ()
    access: Annotated[str | None, "Most that is granted: labels, scores or weights."] = None
    aux: Annotated[
        str | None,
        "Attacker's data: none, shadow, partial (half of the training data), partial:SHARE, ood or "
        "ood:DATASET.",
    ] = None
    queries: Annotated[
        tuple[str, ...], "Query budgets of black-box attacks, with commas between."
    ] = ()
    adversary: Annotated[
        tuple[str, ...],
        "Whether shadow models are trained with the target's defenses (adaptive) or without "
        "(naive); both if not given. Other attacks do not differ.",
    ] = ("adaptive", "naive")
    preset: Annotated[str | None, "Settings of a paper: securitynet, ml-doctor or de-et-al."] = None
    seeds: Annotated[
        int | None,
        "Seeds, from 0. If not given: 12, and 1 for published models as downloaded, which are "
        "judged on their whole test data at once.",
    ] = None
    examples: Annotated[
        str | None,
        "Examples that a model is judged on, or trained on, at most: a number, or all; if not "
        "given 1,000 of photographs, all of other data.",
    ] = None
    set: Annotated[
        Mapping[str, tuple[str, ...]],
        "field=value of a method, or method.field=value; recipe.epochs=5. Several values with "
        "commas between are measured one by one.",
    ] = field(default_factory=dict[str, tuple[str, ...]])
    tuning: Annotated[
        str,
        "Settings tried for every training, with a defense and without, on data that the owner "
        "trusts: none, standard (12) or a number; standard if not given.",
    ] = "standard"
    mirror: Annotated[
        Path | None, "Folder of public datasets and checkpoints; $ZOO_MIRROR if not given."
    ] = None
    data_dir: Annotated[
        Path | None,
        "Folder of datasets: torchvision's formats, tables; $ZOO_DATA_DIR if not given.",
    ] = None
    unreadable: Annotated[
        str,
        "Images that cannot be decoded: refuse, or skip to leave them out; refuse if not given.",
    ] = "refuse"
    device: Annotated[str, "cpu, cuda or cuda:N; cpu if not given."] = "cpu"
    workers: Annotated[int | None, "Processes; all cores if not given."] = None
    executor: Annotated[str, "Where the work is done: local or ray; local if not given."] = "local"

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str = "the request") -> Options:
        """Options from values as TOML and Python have them: lists, texts, numbers, tables.

        Args:
            given: By option; what is None or missing stays at its default.
            where: What holds them, for messages.

        Raises:
            ZooError: An option is unknown or its value is of another kind.
        """
        known = [option.name for option in fields(cls)]
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(known)}."
                raise ZooError(f"{where} has no option {name!r}.{hint}")
            if value is not None:
                values[name] = _value(name, value, where)
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> Options:
        """Options from a TOML file.

        Raises:
            ZooError: There is no such file, or it is no request.
        """
        try:
            stated = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise ZooError(f"There is no request file {path}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ZooError(f"{path} is no TOML: {error}. Correct the file.") from error
        return cls.of(stated, str(path))

    def given(self) -> dict[str, Any]:
        """The options that are not at their defaults, as values of TOML."""
        plain = asdict(Options())
        found: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if value == plain[name]:
                continue
            if isinstance(value, Path):
                found[name] = str(value)
            elif name == "set":
                found[name] = {k: v[0] if len(v) == 1 else list(v) for k, v in self.set.items()}
            elif name in LISTS:
                found[name] = [_plain(name, one) for one in value]
            else:
                found[name] = _plain(name, value)
        return found

    def write(self, path: Path) -> None:
        """Write these options to a file that `read` reads, whole or not at all.

        Raises:
            ZooError: It would be in a folder that is not there.
        """
        import tomlkit

        if not path.absolute().parent.is_dir():
            raise ZooError(f"There is no folder {path.parent} to write {path.name} to. Make it.")
        write_atomic(path, tomlkit.dumps(self.given()).encode())


def _plain(name: str, value: Any) -> Any:
    """A number where a text says one, as somebody would write it."""
    return (
        int(value) if name in ("queries", "tuning", "examples") and str(value).isdigit() else value
    )


def words(texts: Sequence[str]) -> list[str]:
    """``["a,b", "c"]`` as ``["a", "b", "c"]``, without repetitions."""
    return list(dict.fromkeys(w.strip() for text in texts for w in text.split(",") if w.strip()))


def helps() -> dict[str, str]:
    """What each option means, by name."""
    hints = get_type_hints(Options, include_extras=True)
    return {option.name: hints[option.name].__metadata__[0] for option in fields(Options)}


def swept(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``["a=1", "b.c=2,3"]`` as ``{"a": ("1",), "b.c": ("2", "3")}``.

    A value that has commas itself stands in double quotes.

    Raises:
        ZooError: A text has no ``=``, or a key is given twice.
    """
    return {
        key: tuple(next(csv.reader([value], skipinitialspace=True)) or [""])
        for key, value in registry.settings(texts).items()
    }


def _several_of(*one: dict[str, Any]) -> dict[str, Any]:
    """A value, or several in an array."""
    either = {"anyOf": list(one)}
    return {"anyOf": [*one, {"type": "array", "items": either, "minItems": 1}]}


def _list_of(pattern: str) -> dict[str, Any]:
    """A text of one or several words with commas between."""
    word = rf"\s*({pattern})\s*"
    return {"type": "string", "pattern": f"^{word}(,{word})*$"}


def _among(words: Sequence[str]) -> dict[str, Any]:
    return _list_of("|".join(words))


def schema(presets: Iterable[str]) -> dict[str, Any]:
    """The JSON schema of a request file, for editors.

    Args:
        presets: Their names.
    """
    texts = {"type": "string"}
    scalar = {"type": ["string", "number", "boolean"]}
    one_or_more = {"anyOf": [scalar, {"type": "array", "items": scalar, "minItems": 1}]}
    kinds: dict[str, Any] = {
        "set": {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    *one_or_more["anyOf"],
                    {"type": "object", "additionalProperties": one_or_more},
                ]
            },
        },
        "regime": {"enum": [str(Regime.FINE_TUNED)]},
        "access": {"enum": [str(access) for access in Access]},
        "executor": {"enum": ["local", "ray"]},
        "unreadable": {"enum": ["refuse", "skip"]},
        "preset": {"enum": list(presets)},
        "aux": {"pattern": rf"^({'|'.join(Aux)}|ood:.+|partial:0?\.\d*[1-9]\d*)$", **texts},
        "examples": {
            "anyOf": [
                {"enum": ["all"]},
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^0*[1-9]\d*$"},
            ]
        },
        "tuning": {
            "anyOf": [
                {"enum": ["none", "standard", 0]},
                {"type": "integer", "minimum": 2},
                {"type": "string", "pattern": r"^\d+$"},
            ]
        },
        "risk": _several_of(_among(["all", *map(str, Risk)])),
        "adversary": _several_of(_among(["adaptive", "naive"])),
        "queries": _several_of({"type": "integer", "minimum": 1}, _list_of(r"[1-9]\d*")),
        **{name: {"type": "integer", "minimum": 1} for name in NUMBERS},
    }
    several = {"anyOf": [texts, {"type": "array", "items": texts}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A request of harness eval",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {
                "description": help,
                **kinds.get(name, several if name in LISTS else texts),
            }
            for name, help in helps().items()
        },
    }


def _value(name: str, value: Any, where: str) -> Any:
    """An option's value as its field has it."""
    if name == "set":
        return _settings(value, where)
    if name in LISTS:
        texts = [_text(part, name, where) for part in _several(value)]
        found = tuple(words(texts))
        if texts and not found:
            raise ZooError(f"{name} of {where} is empty. Write a name, or leave it out.")
        return found
    if name in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
            raise ZooError(
                f"{name} of {where} wants a whole number of at least 1, found {value!r}."
            )
        return int(value)
    if name in PATHS:
        return Path(value if isinstance(value, Path) else _text(value, name, where)).expanduser()
    return _text(value, name, where)


def _settings(value: Any, where: str) -> dict[str, tuple[str, ...]]:
    """``{"dpsgd": {"lr": [0.1, 0.2]}, "epsilon": 0.1}`` with dotted keys and texts."""
    if not isinstance(value, Mapping):
        raise ZooError(f"set of {where} wants a table of settings, found {value!r}.")
    found: dict[str, tuple[str, ...]] = {}

    def add(key: str, one: Any) -> None:
        if isinstance(one, Mapping):
            for name, inner in cast("Mapping[str, Any]", one).items():
                add(f"{key}.{name}", inner)
            return
        values = _several(one)
        if not values:
            raise ZooError(f"{key} of {where} has no value. Write one, or several in a list.")
        if key in found:
            raise ZooError(f"{where} gives {key} twice. Write its values in one list.")
        found[key] = tuple(_text(v, key, where) for v in values)

    for key, one in cast("Mapping[str, Any]", value).items():
        add(key, one)
    return found


def _several(value: Any) -> list[Any]:
    """One value, or those of a collection."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    return list(cast("Iterable[Any]", value))


def _text(value: Any, name: str, where: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Real):  # of numpy, too
        return str(value)
    raise ZooError(f"{name} of {where} wants a text or a number, found {value!r}.")
