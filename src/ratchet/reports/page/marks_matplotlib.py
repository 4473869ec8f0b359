"""What stands between the axes, on paper: one function for each kind of chart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from ratchet.reports.page.chart import COLORS, SCALE, Chart

INK = "#2e3440"
_LABEL_LENGTH = 36


def _short(label: object) -> str:
    text = str(label)
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"


def _entry(name: str) -> str:
    """Name in a legend, which leaves out those that start with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _bars(chart: Chart, axes: Axes) -> None:
    labels = list(chart.frame[chart.y].unique())
    series = chart.series()
    width = 0.75 / len(series)
    for i, (name, rows) in enumerate(series):
        shift = (i - (len(series) - 1) / 2) * width
        axes.barh(
            [labels.index(label) + shift for label in rows[chart.y]],
            rows[chart.x],
            height=width,
            label=_entry(name),
            color=COLORS[i % len(COLORS)],
            xerr=chart.errors(rows),
            error_kw={"ecolor": "#3b4252", "elinewidth": 1, "capsize": 2},
        )
    _name_rows(axes, labels)


def _dots(chart: Chart, axes: Axes) -> None:
    labels = list(chart.frame[chart.y].unique())
    for i, (name, rows) in enumerate(chart.series()):
        axes.errorbar(
            rows[chart.x],
            [labels.index(label) for label in rows[chart.y]],
            xerr=chart.errors(rows),
            label=_entry(name),
            color=COLORS[i % len(COLORS)],
            ecolor="#7b8494",
            fmt="o",
            markersize=7,
            elinewidth=1.2,
            capsize=2.5,
        )
    _name_rows(axes, labels)


def _name_rows(axes: Axes, labels: list[object]) -> None:
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)


def _lines(chart: Chart, axes: Axes) -> None:
    for i, (name, rows) in enumerate(chart.series()):
        axes.errorbar(
            rows[chart.x],
            rows[chart.y],
            yerr=chart.errors(rows),
            label=_entry(name),
            color=COLORS[i % len(COLORS)],
            marker="o",
            markersize=4.5,
            linewidth=0 if name == chart.loose else 1.6,
            alpha=0.6 if name == chart.loose else 1.0,
            elinewidth=1,
            capsize=2,
        )


def _curves(chart: Chart, axes: Axes) -> None:
    title: str | None = chart.band_title
    for i, (name, rows) in enumerate(chart.series()):
        color = COLORS[i % len(COLORS)]
        band = chart.band(rows)
        if len(band):
            ends = band[chart.x], band[chart.low], band[chart.high]
            axes.fill_between(*ends, color=color, alpha=0.2, linewidth=0, label=title)
            title = None  # bands of further colours are the same
        axes.plot(rows[chart.x], rows[chart.y], color=color, linewidth=1.4, label=_entry(name))


def _boxes(chart: Chart, axes: Axes) -> None:
    boxes = chart.boxes()
    jitter = np.random.default_rng(0)
    axes.boxplot(
        [rows[chart.y] for _, rows in boxes],
        widths=0.5,
        showfliers=False,
        boxprops={"color": COLORS[0]},
        medianprops={"color": COLORS[0], "linewidth": 2},
        whiskerprops={"color": COLORS[0]},
        capprops={"color": COLORS[0]},
    )
    for place, (_, rows) in enumerate(boxes, start=1):
        beside = place + jitter.uniform(-0.15, 0.15, len(rows))
        axes.scatter(beside, rows[chart.y], s=10, alpha=0.5, color=COLORS[1])
    axes.set_xticks(range(1, len(boxes) + 1), [_short(name) for name, _ in boxes])


def _points(chart: Chart, axes: Axes) -> None:
    for i, (name, rows) in enumerate(chart.series()):
        color = COLORS[i % len(COLORS)]
        axes.scatter(
            rows[chart.x], rows[chart.y], s=12, alpha=0.35, color=color, label=_entry(name)
        )


def _heatmap(chart: Chart, axes: Axes) -> None:
    columns, index = chart.frame[chart.x].unique(), chart.frame[chart.y].unique()
    grid = chart.frame.set_index([chart.y, chart.x])
    cells = grid[chart.value].unstack().loc[index, columns].to_numpy(dtype=float)
    words = grid[chart.text].unstack().loc[index, columns].to_numpy()
    if not np.isfinite(cells).any():
        return
    scale = LinearSegmentedColormap.from_list("scale", SCALE)
    axes.imshow(cells, cmap=scale, aspect="auto")
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for (row, column), word in np.ndenumerate(words):
        color = "white" if cells[row, column] > middle else INK
        plain = str(word).replace("<br>", "\n")
        axes.text(column, row, plain, ha="center", va="center", color=color, fontsize=10)
    axes.set_xticks(range(len(columns)), [_short(name) for name in columns])
    axes.set_yticks(range(len(index)), [_short(name) for name in index])


def _histogram(chart: Chart, axes: Axes) -> None:
    centres = np.sort(chart.frame[chart.x].unique())
    width = float(np.diff(centres).min()) * 0.95 if len(centres) > 1 else 1.0
    for i, (name, rows) in enumerate(chart.series()):
        axes.bar(
            rows[chart.x],
            rows[chart.y],
            width=width,
            label=_entry(name),
            color=COLORS[i % len(COLORS)],
            alpha=0.6 if chart.group else 1.0,
        )


MARKS: dict[str, Callable[[Chart, Axes], None]] = {
    "bar": _bars,
    "dots": _dots,
    "line": _lines,
    "curve": _curves,
    "box": _boxes,
    "points": _points,
    "heatmap": _heatmap,
    "histogram": _histogram,
}
