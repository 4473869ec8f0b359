"""The latest windows of production against what the champion learned from."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ratchet.bundle.scoring_frame import ScoringFrame
from ratchet.config import UseCase
from ratchet.monitoring.drift import DriftReport
from ratchet.monitoring.windows import cut_windows
from ratchet.production.drift_check import DriftCheck


def latest_drift(
    now: ScoringFrame, use_case: UseCase, since: str | None, seed: int
) -> DriftReport | None:
    """Compare the latest complete window of production with the reference, and its errors.

    The windows before it are looked at, too, to know whether a drift lasts.

    Args:
        now: the delivered rows, as the champion sees them.
        use_case: the parameters of today, which say how drift is looked for.
        since: time after which rows count as production.
        seed: seed of the draws.

    Returns:
        The report; None where no window is complete.
    """
    look = DriftCheck(now, use_case, seed)
    windows = _windows(now, use_case.monitoring.watch.window, since)
    reports = look.follow(windows[-look.drift.persistent :])
    return reports[-1] if reports else None


def _windows(now: ScoringFrame, window: str, since: Any) -> list[pd.DataFrame]:
    """Complete windows of the rows of production, oldest first."""
    rows = now.new_inputs(since)
    if rows.empty:
        return []
    if now.times is None or since is None:
        return [rows]
    cut = cut_windows(now.times.loc[rows.index], window, start=now.first_after(since))
    whole = cut[cut["complete"].astype(bool)]
    return [rows.loc[part.index] for _, part in whole.groupby("start", sort=True)]
