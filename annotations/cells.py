"""One cell of an annotation file: text as people write it, and the value that it stands for."""

import math
import re

from annotations.record import Field, Value


def read_cell(field: Field, text: str) -> Value:
    """The value that a CSV cell stands for; None if it is empty.

    Raises:
        ValueError: The cell is not what the codebook allows; the text says why.
    """
    if text == "":
        if field.required:
            raise ValueError("is required, but empty")
        return None
    if text != text.strip() or "\n" in text:
        raise ValueError(f"{text!r} has spaces around it, or a line break")
    value: Value
    match field.type:
        case "text" | "ref":
            value = text
        case "bool":
            if text not in ("true", "false"):
                raise ValueError(f"{text!r} is not true or false")
            value = text == "true"
        case "int":
            value = _integer(text)
        case "float":
            value = _number(text)
        case "texts":
            value = tuple(text.split(";"))
            if any(part != part.strip() or not part for part in value):
                raise ValueError(f"{text!r} has an empty part, or spaces around one")
            if len(set(value)) < len(value):
                raise ValueError(f"{text!r} has a part twice")
        case "ints":
            value = tuple(_integer(part) for part in text.split(";"))
        case "floats":
            value = tuple(_number(part) for part in text.split(";"))
    check_value(field, value)
    return value


def write_cell(value: Value) -> str:
    """The cell that stands for a value: `read_cell` the other way round."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ";".join(map(write_cell, value))
    return str(value)


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", text):
        raise ValueError(f"{text!r} is not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large")
    return value


def check_value(field: Field, value: Value) -> None:
    """Check a value against its column.

    Raises:
        ValueError: The codebook does not allow it; the text says why.
    """
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if field.values and part not in field.values:
            raise ValueError(f"{part!r} is not one of {', '.join(field.values)}")
        if field.pattern and not re.fullmatch(field.pattern, str(part)):
            raise ValueError(f"{part!r} does not look like {field.pattern}")
    if field.lengths and isinstance(value, tuple) and len(value) not in field.lengths:
        wanted = " or ".join(map(str, field.lengths))
        raise ValueError(f"has {len(value)} numbers instead of {wanted}")
    for number in parts:
        if isinstance(number, int | float):
            if field.min is not None and number < field.min:
                raise ValueError(f"{number} is below {field.min}")
            if field.max is not None and number > field.max:
                raise ValueError(f"{number} is above {field.max}")
