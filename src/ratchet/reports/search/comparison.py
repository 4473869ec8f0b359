"""What the networks brought: the baseline against the best of each search, on the test rows."""

from __future__ import annotations

import math

import pandas as pd

from ratchet.config import ensemble_of
from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import label, minus, number
from ratchet.reports.target_results import TargetResults

_METRICS = ["mase", "rmsse", "mae", "rmse", "r2"]


def comparisons(case: TargetResults) -> list[Block]:
    """Baseline against the best networks, with the change in percent."""
    names = case.target.network_candidates
    if not names:
        return []
    frame = comparison(case, names)
    scores = [label(metric) for metric in _METRICS if label(metric) in frame]
    shown = frame[["candidate"]].assign(
        **{
            score: [
                number(value) + ("" if math.isnan(change) else f" ({percent(change)})")
                for value, change in zip(frame[score], frame[f"change of {score}"], strict=True)
            ]
            for score in scores
        }
    )
    title = f"Baseline ({case.target.baseline}) and the best networks, test rows"
    said = [_sentence(case, name) for name in case.target.networks]
    return [
        Text(" ".join(said), title="What the networks brought"),
        Table("baseline_against_best", f"{title}, with the change against the baseline", shown),
        Table("network_changes", title, frame, shown=0),
    ]


def comparison(case: TargetResults, names: list[str]) -> pd.DataFrame:
    """Scores of the baseline and of some candidates on the test rows.

    Returns:
        ``candidate``, the baseline first; then every score, followed by its change as part of the
        baseline's value: NaN for the baseline itself and where that value is 0.
    """
    base = case.scores[case.target.baseline]["test"]
    rows = []
    for name in [case.target.baseline, *names]:
        row: dict[str, object] = {"candidate": name}
        for metric in [m for m in _METRICS if m in base]:
            before, after = base[metric]["value"], case.scores[name]["test"][metric]["value"]
            known = before and name != case.target.baseline
            row[label(metric)] = after
            change = (after - before) / abs(before) if known else math.nan
            row[f"change of {label(metric)}"] = change
        rows.append(row)
    return pd.DataFrame(rows)


def percent(change: float) -> str:
    """A change with its sign: +12.3%, −4.0%."""
    return "–" if math.isnan(change) else minus(f"{change:+.1%}")


def _sentence(case: TargetResults, name: str) -> str:
    base = case.scores[case.target.baseline]["test"]
    metric = case.metric if case.metric in base else "mae"
    before = base[metric]["value"]
    after = case.scores[name]["test"][metric]["value"]
    text = (
        f"The best network of {name} has a {label(metric)} of {number(after)} on the test rows, "
        f"{case.target.baseline} {number(before)}"
    )
    text += f" ({percent((after - before) / abs(before))})." if before else "."
    ensemble = ensemble_of(name)
    if ensemble in case.target.network_candidates:
        together = case.scores[ensemble]["test"][metric]["value"]
        text += f" The mean of the best networks, {ensemble}, has {number(together)}."
    return text
