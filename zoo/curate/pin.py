"""Pin models on the Hugging Face Hub to the commit and the file that they have now."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from annotations.load import load
from annotations.record import Row as Annotated
from zoo.curate.files import write_rows
from zoo.curate.listing import Row
from zoo.errors import ZooError
from zoo.sources.hub import find

_SAVE_EVERY = 50  # models: what an interrupted run loses at most


def pin(
    folder: Path,
    *,
    limit: int | None = None,
    jobs: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[ZooError]]:
    """Ask the Hub about every model with a repository there and no pin, and write down its answers.

    Args:
        folder: Of annotations; ``pins.csv`` is rewritten.
        limit: How many models to ask about at most.
        jobs: Questions at a time.
        progress: Told how many are done, and how many there are.

    Returns:
        How many were pinned, and what was wrong with the others.

    Raises:
        AnnotationError: The annotations are not valid.
    """
    annotations = load(folder)
    table = annotations.codebook.tables["pins"]
    pins: list[Row] = [dict(row.values) for row in annotations.rows["pins"]]
    pinned = {row["model"] for row in pins}
    todo = [
        row
        for row in annotations.of("models")
        if row.values.get("hub_repo") and not row.values.get("hub_revision")
    ]
    todo = [row for row in todo if row.key not in pinned][:limit]
    failures: list[ZooError] = []
    try:
        with ThreadPoolExecutor(jobs) as pool:
            for done, found in enumerate(pool.map(_ask, todo), 1):
                if isinstance(found, ZooError):
                    failures.append(found)
                else:
                    pins.append(found)
                if progress is not None:
                    progress(done, len(todo))
                if done % _SAVE_EVERY == 0:
                    write_rows(folder, table, pins)
    finally:
        write_rows(folder, table, pins)
    return len(todo) - len(failures), failures


def _ask(row: Annotated) -> Row | ZooError:
    try:
        file = find(row.key, str(row.values["hub_repo"]), None, None)
    except ZooError as problem:
        return problem
    return {
        "model": row.key,
        "hub_revision": file.commit,
        "hub_file": file.path,
        "sha256": file.sha256,
        "size": file.size,
    }
