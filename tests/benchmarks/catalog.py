"""How long the catalog takes: building the real one, and asking one of a million models.

The million are the real models again and again under other names, with other accuracies. Times are
of whole questions as the commands ask them, database opened and closed; the ratio is to the real
catalog's time in the same run.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from zoo.build import build
from zoo.catalog import Catalog
from zoo.database import publish
from zoo.home import Home
from zoo.stats import stats

MODELS = 1_000_000
QUESTIONS: dict[str, Callable[[Catalog], object]] = {
    "list --limit 20": lambda c: c.list(limit=20),
    "list --where accuracy > .9 and family": lambda c: c.list(
        where="accuracy > 0.9 AND family = 'resnet' AND parameters < 1e6", limit=100
    ),
    "list --where licence, one column": lambda c: c.list(
        ["name"], "licence = 'mit' AND year >= 2021", limit=100
    ),
    "list --search wide resnet cifar": lambda c: c.list(search="wide resnet cifar", limit=20),
    "one entry by its name": lambda c: c.entry("torchvision/resnet50.imagenet1k_v2"),
    "stats": stats,
}


def multiply(home: Home, models: int) -> None:
    """Repeat the models of a catalog until there are so many."""
    with publish(home.database, edit=True) as con:
        (real,) = con.execute("SELECT count(*) FROM models").fetchall()[0:1]
        copies = models // real[0]
        con.execute(f"CREATE TEMP TABLE copy AS SELECT range AS i FROM range(1, {copies})")
        for table, key in (
            ("models", "name"),
            ("artifacts", "model"),
            ("metrics", "model"),
            ("words", "model"),
        ):
            change = (
                ", least(1, value * (0.8 + 0.4 * random())) AS value" if table == "metrics" else ""
            )
            con.execute(
                f"INSERT INTO {table} SELECT {table}.* REPLACE ({key} || '.copy' || i AS {key}{change}) "
                f"FROM {table}, copy"
            )


def seconds(question: Callable[[Catalog], object], catalog: Catalog) -> float:
    """The fastest of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        question(catalog)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the times."""
    models = int(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open(Path(folder))
        wall, cpu = time.perf_counter(), time.process_time()
        build(home)
        print(
            f"zoo build of the real catalog: {time.perf_counter() - wall:.1f} s "
            f"({time.process_time() - cpu:.1f} s of CPU)"
        )
        catalog = Catalog(home)
        real = {name: seconds(question, catalog) for name, question in QUESTIONS.items()}
        multiply(home, models)
        ((number,),) = catalog.sql("SELECT count(*) FROM models")[1]
        print(f"{number:,} models, {home.database.stat().st_size / 1e6:,.0f} MB\n")
        print(f"{'question':40} {'seconds':>8} {'real':>8} {'ratio':>7}")
        for name, question in QUESTIONS.items():
            found = seconds(question, catalog)
            print(f"{name:40} {found:8.2f} {real[name]:8.3f} {found / real[name]:7.1f}")


if __name__ == "__main__":
    main()
