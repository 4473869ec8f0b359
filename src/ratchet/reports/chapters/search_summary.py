"""What was tried for one target: candidates, grids, and the settings that won."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import counted, label
from ratchet.reports.target_results import TargetResults


def tried(case: TargetResults) -> list[Block]:
    """The candidates, their grids, and the point that won each search."""
    target = case.target
    frame = pd.DataFrame([_row(case, name) for name in target.all_candidates])
    searched = frame[~frame["candidate"].isin(target.network_candidates)]
    points = int(searched["combinations"].sum())
    order = " in the order of time" if case.is_series else ""
    text = (
        f"{counted(len(searched), 'candidate')} with {counted(points, 'combination')} of settings "
        f"were searched by {target.cv}-fold cross-validation{order} on the training rows, "
        f"{counted(points * target.cv, 'fit')} in all. Each search kept the settings with "
        f"the best {label(case.metric)}."
    )
    if target.networks:
        text += (
            f" Beside them {counted(len(target.networks), 'search', 'searches')} among recurrent "
            "networks trained every trial once."
        )
    table = Table("candidates", "Candidates and their grids", frame, {"combinations": "count"})
    return [Text(text), table]


def _row(case: TargetResults, name: str) -> dict[str, Any]:
    target, search = case.target, case.searches.get(name)
    candidate, network = target.candidates.get(name), target.networks.get(name)
    if name in target.network_candidates and network is None:
        kind, grid, points = "mean of the best networks", {}, None
    elif network:
        shapes = network.architectures
        kind = f"network: {'all architectures' if shapes == 'all' else ', '.join(shapes)}"
        grid, points = network.param_grid, 0 if search is None else len(search)
    elif candidate:
        kind, grid = candidate.estimator, candidate.param_grid
        points = math.prod(len(values) for values in grid.values())
    else:
        kind, grid = f"stacking of the best {target.stacked}", target.stack_param_grid
        points = math.prod(len(values) for values in grid.values())
    return {
        "candidate": name,
        "estimator": kind,
        "grid": _grid(grid),
        "combinations": points,
        "chosen": _chosen(search, grid),
    }


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
