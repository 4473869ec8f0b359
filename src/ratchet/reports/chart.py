"""What a chart shows; ``vega_lite`` says how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ratchet.frames import DataFrame

Kind = Literal["bar", "dots", "line", "curve", "points", "box", "heatmap", "histogram"]

# Told apart by most colour-blind readers, and in grey.
COLORS = ("#2b5c8a", "#d98032", "#6a9f58", "#8d6cab", "#b5485d", "#6f6f6f")
SCALE = ("#f5f8fb", "#2b5c8a")
REFERENCE_COLOR = "#8a8f98"

_MOST_TICKS = 8
_TICKS_FROM_ZERO = (0, 0.5, 1, 2, 5, 10, 100, 1000)


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        name: name of the data set, and of the file.
        kind: ``bar`` (lying bars of one category each), ``dots`` (the same as dots, so that the
            axis need not start at 0), ``line`` (with markers), ``curve`` (without, for many
            values; intervals are a band), ``points``, ``box`` (a box over the values ``y`` of
            each ``x``, in order of appearance, and the values beside it), ``heatmap`` (``x`` by
            ``y``), ``histogram`` (counts ``y`` of bins centred at ``x``).
        title: what it shows.
        frame: one row per mark.
        x: column of the horizontal position; for ``bar`` and ``dots`` the value.
        y: column of the vertical position; for ``bar`` and ``dots`` the
            category, first on top.
        x_title: what ``x`` measures.
        y_title: what ``y`` measures.
        group: column whose values get a colour each.
        loose: value of ``group`` whose rows are points without a ``line``.
        dotted: value of ``group`` whose rows are points on their ``curve``, with intervals as
            error bars and not as a band.
        low: column with the lower end of an interval of the value.
        high: column with its upper end.
        value: column with the colour of a cell, for ``heatmap``.
        text: column with the words in a cell, for ``heatmap``.
        shares: axes that show percent.
        logs: axes on a logarithmic scale.
        band_title: what the band of a ``curve`` is.
        reference: value to compare with, drawn as a thin line.
        reference_title: what that is.
        diagonal: whether to draw the line x = y.
        marks: values of ``x`` with a thin upright line, and what each is.
        shaded: values of ``x`` between which the ground is shaded.
        shaded_title: what that is.
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
    loose: str | None = None
    dotted: str | None = None
    low: str | None = None
    high: str | None = None
    value: str | None = None
    text: str | None = None
    shares: str = ""
    logs: str = ""
    band_title: str = ""
    reference: float | None = None
    reference_title: str = ""
    diagonal: bool = False
    marks: tuple[tuple[float, str], ...] = ()
    shaded: tuple[float, float] | None = None
    shaded_title: str = ""

    @property
    def lies(self) -> bool:
        """Whether categories stand at the side and values run to the right."""
        return self.kind in ("bar", "dots")

    @property
    def has_interval(self) -> bool:
        """Whether values have a lower and an upper end."""
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
        if axis not in self.logs or values.empty:
            return []
        few = sorted(values.unique())
        if few[0] == 0:
            return [tick for tick in _TICKS_FROM_ZERO if tick <= max(few[-1], 1)]
        if len(few) <= _MOST_TICKS:
            return few
        powers = range(math.floor(math.log10(few[0])), math.ceil(math.log10(few[-1])) + 1)
        fine = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        inside = [tick for tick in fine if few[0] <= tick <= few[-1]]
        return inside if len(inside) <= _MOST_TICKS else [10.0**power for power in powers]
