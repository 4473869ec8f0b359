"""What was done with the data of a series: steps, holes, and what a forecast may see."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.config import Data, Features
from ratchet.reports.blocks import Block, Finding, Table, Text
from ratchet.reports.formatting import count, counted, listed, plain, share

_MANY_LOST = 0.05
_FREQUENCIES = {"D": "a day", "h": "an hour", "min": "a minute", "W": "a week"}
_REASONS = {
    "not_begun": "the series has not begun",
    "ended": "the series has ended",
    "waiting": "what comes true is not known yet",
    "beginning": "the window reaches back beyond the beginning of the series",
    "holes": "the window or the target falls into a hole",
    "missing": "a value that the forecast needs is missing",
    "between": "not known yet at the first origin of the next part",
}


def steps_of_series(selection: dict[str, Any], data: Data) -> list[Block]:
    """How rows became steps of series, and which steps are not forecast."""
    found = selection["series"]
    steps = found["count"] * found["steps"]
    text = (
        f"{counted(selection['rows'], 'row')} of the file are "
        f"{counted(found['count'], 'series', 'series')} of {counted(found['steps'], 'step')}"
        f"{_distance(data)}; {count(selection['kept'])} of {counted(steps, 'step')} are forecast. "
        f"{_absent(found, data)} {_holes(found)}"
    )
    if found["unscaled"]:
        text += (
            f" {_first(found['unscaled'])} did not change over a season in the training rows; the "
            "errors there are measured by what is usual in the other series."
        )
    if ended := found.get("ended"):
        text += (
            f" {_first(ended)} {'has' if len(ended) == 1 else 'have'} ended: no row follows for "
            f"longer than {'is usual there' if _usual(data) else 'data.series.ends_after says'}."
        )
    lost = pd.DataFrame(
        {
            "steps not forecast, because": [_REASONS.get(r, r) for r in found["left_out"]],
            "steps": found["left_out"].values(),
        }
    )
    lost = lost[lost["steps"] > 0]
    table = Table("left_out", "Steps that are not forecast", lost, {"steps": "count"})
    return [Text(text.strip(), title="Series"), *([table] if len(lost) else [])]


def _usual(data: Data) -> bool:
    return data.series is None or data.series.ends_after is None


def _distance(data: Data) -> str:
    frequency = data.series.frequency if data.series else None
    return f", {_FREQUENCIES.get(frequency, frequency)} apart" if frequency else ""


def _absent(found: dict[str, Any], data: Data) -> str:
    if not found["absent"]:
        return ""
    filled = data.series.absent if data.series else {}
    held = [
        f"{name} {'as before' if value == 'previous' else plain(float(value))}"
        for name, value in filled.items()
    ]
    return (
        f"At {counted(found['absent'], 'step')} a series has no row while others have one; there "
        + (f"it counts as {listed(held)}." if held else "its values are missing.")
    )


def _holes(found: dict[str, Any]) -> str:
    if not found["holes"]:
        return "At every step there is a row, so that there are no holes."
    return (
        f"At {counted(found['holes'], 'step')} no series has a row: such holes are not filled, and "
        "no forecast looks into them."
    )


def _first(names: list[str], shown: int = 3) -> str:
    if len(names) <= shown:
        return listed(names)
    return listed([*names[:shown], f"{len(names) - shown} more series"])


def window_sources(features: Features) -> dict[str, str]:
    """What a forecast sees of its series: source -> how."""
    windows = features.windows
    if windows is None:
        return {}
    back = counted(windows.lookback, "step")
    how = {
        "value": "",
        "log1p": ", as the logarithm of 1 more",
        "change": ", as changes from step to step",
        "log_change": ", as relative changes from step to step",
    }
    sources = {
        f"earlier {name}": f"the last {back} up to the origin{how[form]}"
        for name, form in windows.past.items()
    }
    ahead = f"{counted(windows.horizon, 'step')} ahead"
    if windows.known:
        sources[listed(windows.known)] = f"also at each step of the window, {ahead}; networks only"
    target = "the target"
    if windows.seasons:
        sources[f"{target}, seasons before"] = (
            f"its value {listed([count(n) for n in windows.seasons])} steps before each forecast"
        )
    if lags := [n for n in windows.lags if n >= windows.horizon]:
        sources[f"{target}, single steps"] = f"{listed([count(n) for n in lags])} steps before"
    if windows.rolling:
        sources[f"{target}, on average"] = (
            f"mean and spread over the last {listed([count(n) for n in windows.rolling])} steps"
        )
    return sources


def steps_lost(selection: dict[str, Any]) -> list[Finding]:
    """Many steps cannot be forecast because of gaps."""
    found = selection["series"]
    lost = found["left_out"].get("holes", 0) + found["left_out"].get("missing", 0)
    part = lost / max(found["count"] * found["steps"], 1)
    if part <= _MANY_LOST:
        return []
    return [
        Finding(
            f"{share(part)} of the steps ({counted(lost, 'step')}) are not forecast, as they or "
            "what the forecast needs fall into holes or missing values: the results say nothing "
            "of such times.",
            "Find out why values are missing, and whether they will be when the forecast is used.",
        )
    ]
