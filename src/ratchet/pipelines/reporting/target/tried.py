"""What was tried for one target: candidates, grids, and the settings that won."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from ratchet.pipelines.reporting.case import Case
from ratchet.pipelines.reporting.page.blocks import Block, Table, Text
from ratchet.pipelines.reporting.page.wording import (
    counted,
    label,
)


def tried(case: Case) -> list[Block]:
    """The candidates, their grids, and the point that won each search."""
    rows = []
    for name in case.target.contenders:
        candidate = case.target.candidates.get(name)
        grid = candidate.param_grid if candidate else case.target.stack_param_grid
        rows.append(
            {
                "candidate": name,
                "estimator": candidate.estimator
                if candidate
                else f"stacking of the best {case.target.stacked}",
                "grid": _grid(grid),
                "combinations": math.prod(len(values) for values in grid.values()),
                "chosen": _chosen(case.searches.get(name), grid),
            }
        )
    frame = pd.DataFrame(rows)
    points = int(frame["combinations"].sum())
    text = (
        f"{counted(len(frame), 'candidate')} with {counted(points, 'combination')} of settings "
        f"were searched by {case.target.cv}-fold cross-validation on the training rows, "
        f"{counted(points * case.target.cv, 'fit')} in all. Each search kept the settings with "
        f"the best {label(case.metric)}."
    )
    table = Table("candidates", "Candidates and their grids", frame, {"combinations": "count"})
    return [Text(text), table]


def _grid(grid: dict[str, list[Any]]) -> str:
    return "; ".join(
        f"{name.split('__')[-1]}: {', '.join(map(_setting, values))}"
        for name, values in grid.items()
    )


def _setting(value: Any) -> str:
    return "none" if value is None else str(value)


def _chosen(search: pd.DataFrame | None, grid: dict[str, list[Any]]) -> str:
    if search is None or search.empty:
        return "–"
    settings = {
        name: value
        for name, value in json.loads(search.iloc[0]["params"]).items()
        if len(grid.get(name, [])) > 1
    }
    return ", ".join(f"{name.split('__')[-1]} {_setting(v)}" for name, v in settings.items()) or "–"
