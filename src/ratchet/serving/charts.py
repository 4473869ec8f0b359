"""Charts that the server draws: SVG without styles or texts, both of which the page has around it.

Colours and strokes stand in the style sheet, since the pages allow no styles inside of them; texts
would shrink with the chart on a small screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT, _EDGE = 600.0, 140.0, 4.0

Values = Sequence[float | None]


def top_of(*lines: Values) -> float:
    """A round number that no value is above."""
    highest = max((value for line in lines for value in line if value is not None), default=0.0)
    if highest <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(highest))
    return next(step * size for step in (1, 2, 5, 10) if step * size >= highest * (1 - 1e-9))


def line_chart(*lines: Values, top: float, label: str) -> Markup:
    """Lines over the same moments, from 0 to ``top``; gaps where nothing is known.

    Args:
        lines: values of each line, the oldest first.
        top: value at the upper edge.
        label: what it shows, for screen readers.
    """
    drawn = "".join(
        f'<polyline class="line-{number}" points="{" ".join(part)}"/>'
        for number, line in enumerate(lines, 1)
        for part in _parts(line, top)
    )
    grid = "".join(
        f'<line class="grid" x1="0" x2="{_WIDTH:g}" y1="{y:g}" y2="{y:g}"/>'
        for y in (_EDGE, _HEIGHT / 2, _HEIGHT - _EDGE)
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}{}</svg>'
    ).format(f"{_WIDTH:g}", f"{_HEIGHT:g}", label, Markup(grid), Markup(drawn))


def interval_chart(value: float, low: float, high: float) -> Markup:
    """A value inside of its interval, with some room on both sides."""
    width = max(high, value) - min(low, value)
    start = min(low, value) - 0.25 * (width or 1.0)
    scale = _WIDTH / (1.5 * (width or 1.0))
    left, right, middle = ((each - start) * scale for each in (low, high, value))
    return Markup(
        '<svg class="interval" viewBox="0 0 600 24" aria-hidden="true" focusable="false">'
        '<line class="grid" x1="0" x2="600" y1="12" y2="12"/>'
        '<rect x="{:.1f}" y="6" width="{:.1f}" height="12"/>'
        '<circle cx="{:.1f}" cy="12" r="7"/></svg>'
    ).format(left, right - left, middle)


def _parts(line: Values, top: float) -> list[list[str]]:
    """Points of a line, apart where values are missing; one alone becomes a short dash."""
    step = _WIDTH / max(len(line) - 1, 1)
    parts: list[list[str]] = [[]]
    for number, value in enumerate(line):
        if value is None:
            parts.append([])
            continue
        y = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * min(value / top, 1.0)
        parts[-1].append(f"{number * step:.1f},{y:.1f}")
    return [part if len(part) > 1 else _dash(part[0]) for part in parts if part]


def _dash(point: str) -> list[str]:
    x, y = point.split(",")
    return [f"{max(0.0, float(x) - 2):.1f},{y}", f"{float(x) + 2:.1f},{y}"]
