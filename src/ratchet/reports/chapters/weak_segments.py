"""Groups of rows whose predictions are clearly worse than the rest."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.chart_ids import group_charts
from ratchet.reports.errors_by_group import group_errors, overall_score
from ratchet.reports.formatting import listed
from ratchet.reports.target_results import TargetResults

_FEWEST_ROWS = 20
_LARGER = 0.2


def harder_groups(case: TargetResults) -> pd.DataFrame:
    """Groups whose whole interval is worse than the overall value, by at least a fifth.

    Returns:
        ``column``, ``group``, ``rows``, ``error`` (share wrong or mean error), ``low``, ``high``
        and ``times`` the overall error; worst first.
    """
    overall = 1 - overall_score(case) if case.is_classes else overall_score(case)
    frames = []
    for column in group_charts(case.features, case.data).values():
        frame = group_errors(case, column).assign(column=column)
        if case.is_classes:
            ends = {"low": 1 - frame["high"], "high": 1 - frame["low"]}
            frame = frame.assign(value=1 - frame["value"], **ends)
        frames.append(frame)
    if not frames or overall <= 0:
        return pd.DataFrame(columns=["column", "group", "rows", "error", "times"])
    table = pd.concat(frames, ignore_index=True).rename(columns={"value": "error"})
    table["times"] = table["error"] / overall
    clear = (table["low"] > overall) & (table["times"] >= 1 + _LARGER)
    harder = table[clear & (table["rows"] >= _FEWEST_ROWS)]
    return harder.sort_values("times", ascending=False, ignore_index=True)


def hard_blocks(case: TargetResults) -> list[Block]:
    """The groups that are clearly harder, or that there is none."""
    columns = group_charts(case.features, case.data).values()
    if not columns:
        return []
    harder = harder_groups(case)
    if harder.empty:
        return [Text(f"No group by {listed(list(columns))} is clearly harder than the rest.")]
    shown = harder.drop(columns=["largest class"], errors="ignore")
    shown_columns = ["column", "group", "rows", "error", "low", "high", "times"]
    form = "share" if case.is_classes else "number"
    error = "share wrong" if case.is_classes else case.loss_name
    formats = {"rows": "count", **dict.fromkeys(["error", "low", "high"], form), "times": "number"}
    title = f"Groups that are clearly harder ({error}; times: compared with all test rows)"
    return [Table("harder_groups", title, shown[shown_columns], formats)]
