"""Evaluations as files, and the DuckDB index of them.

One folder per cell, ``cells/<key>/{spec.json, result.json, samples.parquet, *.png}``, written whole
or not at all. Workers write files only; one process indexes.
"""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.results import RESULT_FORMAT, Cell, Evaluation
from harness.types import Regime
from zoo.files import DAMAGE, canonical_json, new_folder, write_json
from zoo.home import Home

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from filelock import FileLock

ROWS = 200
"""Inserted by one statement: DuckDB takes as long for one row as for many."""

SPEC, RESULT, SAMPLES = "spec.json", "result.json", "samples.parquet"


@dataclass(frozen=True)
class EvaluationStore:
    """The evaluations of one home folder."""

    home: Home

    def put(
        self,
        evaluation: Evaluation,
        samples: Mapping[str, np.ndarray] | None = None,
        images: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Store an evaluation, replacing an earlier one of the same cell.

        Call it with the cell's lock held.

        Args:
            evaluation: What was measured.
            samples: Per-example columns of one length.
            images: By name, (height, width) or (height, width, 3) uint8; written as PNG.
        """
        with new_folder(self.home.cells / evaluation.cell.key) as folder:
            if samples:
                _write_parquet(folder / SAMPLES, samples)
            for name, image in (images or {}).items():
                _write_png(folder / f"{name}.png", image)
            write_json(folder / SPEC, {"format": RESULT_FORMAT, **evaluation.cell.to_dict()})
            write_json(folder / RESULT, evaluation.to_dict())

    def get(self, key: str) -> Evaluation | None:
        """The evaluation of the cell with this key.

        None if there is none, if its files are damaged, or if their numbers have another meaning
        than today's: such a cell is measured again.
        """
        format, found = self._read(key) or (None, None)
        return found if format == RESULT_FORMAT else None

    def _read(self, key: str) -> tuple[int, Evaluation] | None:
        """The format of a stored evaluation and what it says; None if there is none to be read."""
        folder = self.home.cells / key
        try:
            spec = json.loads((folder / SPEC).read_text())
            format = int(spec.pop("format"))
            if format > RESULT_FORMAT:  # of a later version of this program
                return None
            result = json.loads((folder / RESULT).read_text())
            found = Evaluation.from_dict(Cell.from_dict(spec), result)
            _check(found)
            return format, found
        except FileNotFoundError:
            return None
        except DAMAGE:
            warnings.warn(
                f"The cell {folder} is damaged and left out. The command that measured it measures "
                "it again; or remove the folder.",
                stacklevel=2,
            )
            return None

    @contextmanager
    def reading_samples(self) -> Generator[Callable[[str], dict[str, np.ndarray] | None]]:
        """A function from a cell's key to its per-example columns; None if it has none."""
        import duckdb
        import numpy as np

        from zoo.database import only

        with duckdb.connect() as database:

            def read(key: str) -> dict[str, np.ndarray] | None:
                path = self.home.cells / key / SAMPLES
                if not path.exists():
                    return None
                try:
                    found = database.read_parquet(only(path)).fetchnumpy()
                except duckdb.Error:
                    warnings.warn(
                        f"{path} is damaged and left out, so intervals leave out what other "
                        f"examples would give. Remove {path.parent} and measure the cell again.",
                        stacklevel=2,
                    )
                    return None
                return {name: np.ma.getdata(column) for name, column in found.items()}

            yield cache(read)

    def pictures(self, key: str) -> dict[str, bytes]:
        """The pictures of an evaluation as PNG files, by name, sorted."""
        files = sorted((self.home.cells / key).glob("*.png"))
        return {file.stem: file.read_bytes() for file in files}

    def is_done(self, key: str) -> bool:
        """Whether the cell was measured or found not applicable; a failed one is not done."""
        found = self.get(key)
        return found is not None and found.status != "failed"

    def lock(self, key: str) -> FileLock:
        """The lock that whoever measures this cell holds; a dead process's lock is free."""
        return self.home.lock(f"cell-{key}")

    def sync(self) -> int:
        """Bring the DuckDB index up to date with the files; how many rows changed.

        Readers of the database are not disturbed: they keep the old file until they reopen it.
        """
        from zoo.catalog import open_catalog
        from zoo.database import connect, publish

        open_catalog(self.home)
        with connect(self.home.database) as database:
            if self._present() == _indexed(database):
                return 0
        with publish(self.home.database, edit=True) as database:
            # Compared again: while this waited, another process may have indexed.
            present, indexed = self._present(), _indexed(database)
            changed = sorted(key for key, when in present.items() if indexed.get(key) != when)
            gone = sorted(indexed.keys() - present.keys())
            database.execute(
                "DELETE FROM evaluations WHERE list_contains(?, key)", [changed + gone]
            )
            rows: list[dict[str, Any]] = []
            for key in changed:
                found = self._read(key)
                if found is not None:
                    rows.append(_row(key, present[key], *found))
            columns = ", ".join(rows[0]) if rows else ""
            for start in range(0, len(rows), ROWS):
                part = rows[start : start + ROWS]
                marks = ", ".join(["(" + ", ".join("?" * len(part[0])) + ")"] * len(part))
                values = [value for row in part for value in row.values()]
                database.execute(f"INSERT INTO evaluations ({columns}) VALUES {marks}", values)
        return len(rows) + len(gone)

    def _present(self) -> dict[str, int]:
        """When each stored cell's result was written, in nanoseconds, by key."""
        found: dict[str, int] = {}
        if self.home.cells.exists():
            for folder in self.home.cells.iterdir():
                with suppress(FileNotFoundError):
                    if not folder.name.startswith("."):
                        found[folder.name] = (folder / RESULT).stat().st_mtime_ns
        return found

    def evaluations(self) -> list[Evaluation]:
        """Every stored evaluation whose numbers have today's meaning, ordered by cell."""
        rows = self._asked("SELECT spec, result FROM evaluations WHERE format = ? ORDER BY key")
        return [
            Evaluation.from_dict(Cell.from_dict(json.loads(spec)), json.loads(result))
            for spec, result in rows
        ]

    def outdated(self) -> list[Cell]:
        """The cells whose stored numbers have an earlier meaning and were not measured again.

        A cell of today stands for an old one of the same request, whatever tuning chose for it. Of
        a published model one seed stands for all: it is judged on all its test data at once.
        """
        old, new = (
            [Cell.from_dict(json.loads(spec)) for (spec,) in self._asked(query)]
            for query in (
                "SELECT spec FROM evaluations WHERE format < ? AND status = 'ok' ORDER BY key",
                "SELECT spec FROM evaluations WHERE format = ?",
            )
        )
        renewed: dict[tuple[Any, ...], list[Cell]] = defaultdict(list)
        for cell in new if old else ():
            renewed[_request(cell)].append(cell)
        return [cell for cell in old if not _is_renewed(cell, renewed[_request(cell)])]

    def _asked(self, query: str) -> list[tuple[Any, ...]]:
        """The answer of the index, brought up to date, to a query about the format of today."""
        from zoo.database import connect

        self.sync()
        with connect(self.home.database) as database:
            return database.execute(query, [RESULT_FORMAT]).fetchall()


def _check(evaluation: Evaluation) -> None:
    """Refuse numbers that are none.

    Raises:
        TypeError: There are some.
    """
    # They come from a file, which may say anything.
    optional: list[object] = [evaluation.susceptibility, evaluation.utility]
    numbers: list[object] = [n for n in (*optional, *evaluation.metrics.values()) if n is not None]
    if not all(isinstance(number, int | float) for number in (evaluation.seconds, *numbers)):
        raise TypeError("a number is none")


def _request(cell: Cell) -> tuple[Any, ...]:
    """What was asked for, the settings of the defenses aside."""
    seed = 0 if cell.regime is Regime.PUBLISHED else cell.seed
    stack = tuple(method.name for method in cell.stack)
    attack = (cell.attack.name, cell.attack.params, cell.source_weights)
    where = (cell.model, cell.recipe, cell.dataset, cell.regime)
    return *where, stack, cell.risk, attack, cell.threat, seed


def _is_renewed(cell: Cell, news: Sequence[Cell]) -> bool:
    """Whether one of ``news``, of the same request, has the settings of an old cell's defenses."""
    return any(_settings(cell, one) == _settings(one, one) for one in news)


def _settings(cell: Cell, tuned: Cell) -> list[dict[str, Any]]:
    """The settings of a cell's defenses but those that tuning chose for ``tuned``."""
    chosen = {name for name, _ in tuned.tuned}
    return [
        {name: value for name, value in method.params if f"{method.name}.{name}" not in chosen}
        for method in cell.stack
    ]


def _indexed(database: DuckDBPyConnection) -> dict[str, int]:
    return dict(database.execute("SELECT key, mtime_ns FROM evaluations").fetchall())


def _row(key: str, mtime_ns: int, format: int, evaluation: Evaluation) -> dict[str, Any]:
    """A row of the table ``evaluations``, which schema.sql declares, by column."""
    cell = evaluation.cell
    return {
        "key": key,
        "mtime_ns": mtime_ns,
        "format": format,
        "model": cell.model_label,
        "dataset": cell.dataset,
        "regime": str(cell.regime),
        "defense": cell.defense,
        "risk": str(cell.risk),
        "attack": str(cell.attack),
        "threat_model": str(cell.threat),
        "seed": cell.seed,
        "status": evaluation.status,
        "reason": evaluation.reason,
        "primary_metric": evaluation.primary,
        "susceptibility": evaluation.susceptibility,
        "utility": evaluation.utility,
        "metrics": canonical_json(dict(evaluation.metrics)),
        "spec": canonical_json(cell.to_dict()),
        "result": canonical_json(evaluation.to_dict()),
        "seconds": evaluation.seconds,
    }


def _write_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def _write_parquet(path: Any, columns: Mapping[str, np.ndarray]) -> None:
    import duckdb
    import pandas as pd

    with duckdb.connect() as database:
        database.register("frame", pd.DataFrame(dict(columns)))
        database.execute(
            "COPY (SELECT * FROM frame) TO ? (FORMAT parquet, COMPRESSION zstd)", [str(path)]
        )
