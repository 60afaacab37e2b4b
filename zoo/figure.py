"""SecurityNet's Figure 1 drawn as SVG."""

import io
from pathlib import Path
from typing import Any

from zoo.files import write_atomic
from zoo.stats import Panel, Stats

_PER_ROW = 2
_INK, _BAR = "#222222", "#4269d0"


def draw(found: Stats, path: Path) -> None:
    """Write the panels as one SVG file; the same numbers give the same bytes.

    Args:
        found: The numbers.
        path: Of the file.

    Raises:
        OSError: It cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = list(found.panels.values())
    lines = -(-len(panels) // _PER_ROW)
    settings: Any = {
        "svg.hashsalt": "zoo",
        "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
        "font.size": 9,
        "font.family": "sans-serif",
        "text.color": _INK,
        "axes.edgecolor": "#bbbbbb",
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(10, 2.9 * lines), layout="constrained")
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(lines, _PER_ROW, place + 1)
            _bars(axes, panel)
        models = found.counts["models"]
        figure.suptitle(f"{models:,} models in the catalog", fontsize=12, fontweight="bold")
        text = io.BytesIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    write_atomic(path, text.getvalue())


def _bars(axes: Any, panel: Panel) -> None:
    labels = [str(row[0]) for row in panel.rows]
    values = [row[-1] for row in panel.rows]
    axes.set_title(f"{panel.title} (models)", fontsize=10, loc="left")
    if panel.columns[0] == "year":
        axes.bar(labels, values, color=_BAR)
        axes.tick_params("x", rotation=90)
    else:
        axes.barh(labels[::-1], values[::-1], color=_BAR)
        for place, value in enumerate(values[::-1]):
            axes.text(value, place, f" {value:,}", va="center", fontsize=8)
        axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
