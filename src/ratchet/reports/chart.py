"""What a chart shows; ``vega_lite`` says how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ratchet.frames import DataFrame

Kind = Literal["bar", "dots", "line", "curve", "points", "box", "heatmap", "histogram"]

# Most colour-blind readers can distinguish them, also in grey.
COLORS = ("#2b5c8a", "#d98032", "#6a9f58", "#8d6cab", "#b5485d", "#6f6f6f")
SCALE = ("#f5f8fb", "#2b5c8a")
REFERENCE_COLOR = "#8a8f98"

_MOST_TICKS = 8
_TICKS_FROM_ZERO = (0, 0.5, 1, 2, 5, 10, 100, 1000)


@dataclass(frozen=True)
class Chart:
    """Data, and which column plays which part.

    Attributes:
        name: name of the catalog entry and of the file, without the target.
        kind: ``bar`` (a horizontal bar for each category), ``dots`` (the same as dots; the axis
            need not start at 0), ``line`` (with markers), ``curve`` (without markers, for many
            values; intervals are a band), ``points``, ``box`` (box plot of the values ``y`` of
            each ``x``, in order of appearance, with the values beside it), ``heatmap`` (``x`` by
            ``y``), ``histogram`` (counts ``y`` of bins centred at ``x``).
        title: one line, or several separated by line breaks.
        frame: one row per mark.
        x: column of the horizontal position; for ``bar`` and ``dots`` the value.
        y: column of the vertical position; for ``bar`` and ``dots`` the
            category, first on top.
        x_title: label of the axis, with its unit.
        y_title: the same.
        group: column whose values get a colour each.
        points_only: value of ``group`` whose rows are points without a ``line``.
        with_points: value of ``group`` whose rows are points on their ``curve``, with intervals as
            error bars and not as a band.
        low: column with the lower end of an interval of the value.
        high: column with its upper end.
        value: column with the colour of a cell, for ``heatmap``.
        text: column with the words in a cell, for ``heatmap``.
        percent_axes: axes that show percent: ``x``, ``y``, ``xy`` or none.
        log_axes: axes on a logarithmic scale, likewise.
        band_title: entry of the legend for the band of a ``curve``.
        reference: value to compare with, drawn as a thin line.
        reference_title: its label.
        diagonal: whether to draw the line x = y.
        vertical_lines: values of ``x`` with a thin line, and its label.
        shaded: values of ``x`` between which the background is shaded.
        shaded_title: its label.
    """

    block: ClassVar[str] = "chart"
    name: str
    kind: Kind
    title: str
    frame: DataFrame
    x: str
    y: str
    x_title: str = ""
    y_title: str = ""
    group: str | None = None
    points_only: str | None = None
    with_points: str | None = None
    low: str | None = None
    high: str | None = None
    value: str | None = None
    text: str | None = None
    percent_axes: str = ""
    log_axes: str = ""
    band_title: str = ""
    reference: float | None = None
    reference_title: str = ""
    diagonal: bool = False
    vertical_lines: tuple[tuple[float, str], ...] = ()
    shaded: tuple[float, float] | None = None
    shaded_title: str = ""

    @property
    def is_horizontal(self) -> bool:
        """Whether ``y`` holds the categories and ``x`` the values."""
        return self.kind in ("bar", "dots")

    @property
    def has_interval(self) -> bool:
        """Whether values have an interval."""
        return self.low is not None and self.high is not None

    @property
    def groups(self) -> list[str]:
        """Values of ``group``, in order of appearance."""
        return [] if self.group is None else self.frame[self.group].astype(str).unique().tolist()

    def ticks(self, axis: str) -> list[float]:
        """Where a logarithmic axis has ticks: at its values if they are few, or at 1, 2, 5, 10.

        Decades alone when there are many; none for an axis that is not logarithmic. Where a value
        is 0 the axis is linear up to 2, and then logarithmic.
        """
        values = self.frame[self.x if axis == "x" else self.y].dropna().astype(float)
        if axis not in self.log_axes or values.empty:
            return []
        distinct = sorted(values.unique())
        if distinct[0] == 0:
            return [tick for tick in _TICKS_FROM_ZERO if tick <= max(distinct[-1], 1)]
        if len(distinct) <= _MOST_TICKS:
            return distinct
        low, high = math.floor(math.log10(distinct[0])), math.ceil(math.log10(distinct[-1]))
        decades = [10.0**power for power in range(low, high + 1)]
        fine = [digit * decade for decade in decades for digit in (1, 2, 5)]
        inside = [tick for tick in fine if distinct[0] <= tick <= distinct[-1]]
        return inside if len(inside) <= _MOST_TICKS else decades
