"""SecurityNet's Figure 1 drawn as SVG."""

import io
from pathlib import Path
from typing import Any

from zoo.catalog import PURPOSES
from zoo.files import write_atomic
from zoo.stats import Panel, Stats

_PER_ROW = 2
_INK = "#222222"
_COLOURS = {"benchmark": "#4269d0", "security": "#efb118", "other": "#97bbf5"}


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
    """One bar per group, made of a part per purpose."""
    upright = panel.columns[0] == "year"
    rows = panel.rows if upright else panel.rows[::-1]
    labels: list[Any] = [row[0] if upright else str(row[0]) for row in rows]
    below = [0] * len(rows)
    for place, purpose in enumerate(PURPOSES, 1):
        part = [row[place] for row in rows]
        if upright:
            axes.bar(labels, part, bottom=below, color=_COLOURS[purpose], label=purpose)
        else:
            axes.barh(labels, part, left=below, color=_COLOURS[purpose], label=purpose)
        below = [start + length for start, length in zip(below, part, strict=True)]
    axes.set_title(f"{panel.title} (number of models)", fontsize=10, loc="left")
    if upright:
        axes.set_xticks(range(min(labels, default=0), max(labels, default=0) + 1))
        axes.tick_params("x", rotation=90)
        shown = [place for place, purpose in enumerate(PURPOSES) if any(r[place + 1] for r in rows)]
        handles, names = axes.get_legend_handles_labels()
        axes.legend([handles[i] for i in shown], [names[i] for i in shown], frameon=False)
    else:
        for place, models in enumerate(below):
            axes.text(models, place, f" {models:,}", va="center", fontsize=8)
        axes.set_xlim(0, 1.15 * max(below, default=1))  # room for the numbers
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
