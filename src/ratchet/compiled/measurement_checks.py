"""Which measurements can be taken: checked before anything is written down."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ratchet.compiled.answers import RequestError
from ratchet.compiled.series_steps import SeriesRow, Steps, off_grid

MOST_NEW_SERIES = 1_000
"""Series that a version takes measurements of beyond those that it was trained on."""
LONGEST_NAME = 200
"""Characters of the name of a new series."""


def check_measured(
    steps: Steps, rows: Sequence[SeriesRow], now: int | None, named: str | None = None
) -> None:
    """Make sure that rows can be taken.

    Args:
        steps: the steps.
        rows: the rows.
        now: the moment after which nothing can be known; ``None`` where any is right.
        named: column that names the series.

    Raises:
        RequestError: a time is no step, lies too far ahead, a value is not above 0, or there are
            too many new series.
    """
    _check_names(steps, rows, named)
    grid, target = steps.spec.grid, steps.spec.target
    derived = target not in steps.raw  # nobody hands it in
    measured = [steps.place(row.moment)[0] for row in rows if derived or _is_measured(row, target)]
    last = max([len(steps) - 1, *measured]) + steps.spec.steps
    ends = [row.moment for row in rows if derived or _is_measured(row, target)]
    for row in rows:
        at, there = steps.place(row.moment)
        if not grid.is_open and not there:
            raise off_grid(steps, row)
        known = _is_measured(row, target)
        if known and now is not None and row.moment > now:
            raise RequestError(
                f"{steps.text(row.moment)} is still to come: '{target}' cannot be known yet",
                field=target,
                row=row.row,
            )
        if not known and grid.is_open and grid.longest is not None:
            end = max([int(steps.times[-1]), *ends])
            if row.moment > end + grid.longest * steps.spec.steps:
                raise RequestError(
                    f"{steps.text(row.moment)} lies too far after {steps.text(end)}, the last step "
                    f"with '{target}'",
                    field=steps.spec.time,
                    row=row.row,
                )
        if not known and at > last:
            raise RequestError(
                f"{steps.text(row.moment)} lies more than {steps.spec.steps} steps after "
                f"{steps.text(steps.moment(len(steps) - 1))}, the last one with a row",
                field=steps.spec.time,
                row=row.row,
            )
        value = row.values.get(target)
        if known and steps.spec.above_zero and float(value or 0) <= 0:
            raise RequestError(f"expected a number above 0, got {value}", field=target, row=row.row)


def _check_names(steps: Steps, rows: Sequence[SeriesRow], named: str | None) -> None:
    """Make sure that new series fit into memory: every one adds a column to every panel."""
    new = {row.series: row.row for row in reversed(rows) if not steps.is_known(row.series)}
    for name, row in new.items():
        if len(str(name)) > LONGEST_NAME:
            raise RequestError(
                f"expected the name of a series of at most {LONGEST_NAME} characters, got "
                f"{len(str(name))}",
                field=named,
                row=row,
            )
    room = steps.trained + MOST_NEW_SERIES - len(steps.names)
    if len(new) > room:
        raise RequestError(
            f"{len(new)} series are new, and there is room for {max(room, 0)}: until the next "
            f"training a version takes {MOST_NEW_SERIES:,} beside the {steps.trained:,} that it "
            f"knows",
            field=named,
            row=min(new.values()),
        )


def _is_measured(row: SeriesRow, target: str) -> bool:
    """Whether a row has the target; otherwise it says what is known ahead."""
    value = row.values.get(target)
    return value is not None and not math.isnan(value)
