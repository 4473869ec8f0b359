"""The inputs of the latest windows against those that the champion learned from."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.monitoring.drift import DriftReport, detect
from ratchet.monitoring.drift.inputs import importance_of, watched
from ratchet.monitoring.windows import cut_windows
from ratchet.params import UseCase
from ratchet.preparation.needs import closure
from ratchet.release.deciding import deciding
from ratchet.release.delivered import Delivered

_PERIOD = "7D"
"""What series of a day's step or less repeat after, beside the year."""


def latest_drift(
    now: Delivered, use_case: UseCase, since: str | None, seed: int
) -> DriftReport | None:
    """Compare the latest complete window of production with the reference.

    The windows before it are looked at, too, to know whether a drift lasts.

    Args:
        now: the delivered rows, as the champion sees them.
        use_case: the parameters of today, which say how drift is looked for.
        since: time after which rows count as production.
        seed: seed of the draws.

    Returns:
        The report; None where no window is complete.
    """
    bundle, data = now.bundle, now.bundle.use_case.data
    drift = watched(use_case, bundle.reference.columns)
    columns = set(data.known_columns)
    importance = importance_of(
        bundle.importance.get(deciding(bundle.use_case)[0], {}),
        drift.columns or [],
        lambda name: closure([name], data) if name in columns else {name},
    )
    reports: list[DriftReport] = []
    for window in _windows(now, use_case.monitoring.watch.window, since)[-drift.persistent :]:
        reports.append(
            detect(
                bundle.reference,
                window,
                drift,
                importance=importance,
                time="time" if data.time else None,
                period=_PERIOD if data.series else None,
                earlier=reports,
                seed=seed,
            )
        )
    return reports[-1] if reports else None


def _windows(now: Delivered, window: str, since: Any) -> list[pd.DataFrame]:
    """Complete windows of the rows of production, oldest first."""
    if now.times is None or since is None:
        fresh = now.inputs[~now.inputs.index.isin(now.bundle.rows.index)]
        return [fresh] if len(fresh) else []
    rows = now.inputs[now.inputs["time"] > pd.Timestamp(since)]
    if rows.empty:
        return []
    cut = cut_windows(rows["time"], window, start=now.first_after(since))
    whole = cut[cut["complete"].astype(bool)]
    return [rows.loc[part.index] for _, part in whole.groupby("start", sort=True)]
