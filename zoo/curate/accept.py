"""Take candidates that a curator has filled in into the annotations."""

import csv
import io
from pathlib import Path

from annotations.load import load_codebook
from zoo.curate.files import checked
from zoo.errors import ZooError
from zoo.sources.hub import endpoint

_TABLE = "huggingface"


def accept(folder: Path, candidates: Path, coder: str) -> list[str]:
    """Add the rows whose column ``accept`` says ``yes`` to ``sources/huggingface.csv``.

    Args:
        folder: Of annotations.
        candidates: CSV that `zoo.curate.discover.as_rows` made, and a curator filled in.
        coder: Who did.

    Returns:
        The names of the new models.

    Raises:
        ZooError: The file is not of that form, or no row is accepted.
        AnnotationError: A row is not as the codebook wants it; nothing is changed.
    """
    table = load_codebook(folder).tables[_TABLE]
    rows = _accepted(candidates)
    before = (folder / table.file).read_text(encoding="utf-8")
    reader = csv.DictReader(io.StringIO(before, newline=""))
    columns = list(reader.fieldnames or [])
    kept = list(reader)
    for row in rows:
        evidence = f"{endpoint()}/{row['hub_repo']}/tree/{row['hub_revision']}"
        said = {"coder": coder, "method": "manual", "confidence": "medium", "evidence": evidence}
        known = {"purpose": "other", "task": "image classification", "backdoored": "false"}
        kept.append({name: (known | row | said).get(name) or "" for name in columns})
    kept.sort(key=lambda row: row["name"])
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    with checked(folder) as copy:
        (copy / table.file).write_text(text.getvalue(), encoding="utf-8")
    return [row["name"] for row in rows]


def _accepted(candidates: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(candidates.read_text(encoding="utf-8"), newline=""))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ZooError(f"{candidates} is no CSV file in UTF-8: {problem}.") from problem
    wanted = ("accept", "name", "hub_repo", "hub_revision")
    missing = [name for name in wanted if name not in (reader.fieldnames or ())]
    if missing:
        raise ZooError(
            f"{candidates} has no column {', '.join(missing)}. Make it with `zoo discover --hub "
            "--out FILE` and fill it in."
        )
    found = [row for row in rows if (row["accept"] or "").strip().lower() == "yes"]
    if not found:
        raise ZooError(f"No row of {candidates} says yes in its column accept.")
    return found
