"""The watch from end to end: windows, the previous model where it is asked for, and what follows.

The pipelines look both up in the prediction log, the replay among answers that it has kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import pandas as pd

from ratchet.config.monitoring import Watch
from ratchet.monitoring.comparison import Comparison
from ratchet.monitoring.watch import Action, Assessment, assess, decide

Against = Callable[[Assessment], tuple[Comparison | None, str]]
"""Compares champion and previous model on the rows in question; or says why that cannot be done."""


def evaluate_champion(
    windows: pd.DataFrame,
    promoted: Mapping[str, float] | None,
    metric: str,
    watch: Watch,
    against: Against,
    *,
    since: datetime | None,
    last_request: datetime | None,
    inputs: Sequence[str] = (),
) -> Action:
    """Say what is to be done about a champion.

    Args:
        windows: as ``score_windows`` gives them.
        promoted: score at the promotion, ``value``, ``low`` and ``high``; ``None`` if not known.
        metric: what is looked at.
        watch: the rules.
        against: called where the assessment asks for the previous model.
        since: when the champion began to serve, by the time of rows.
        last_request: when a retraining was last asked for.
        inputs: what is known to have happened to the inputs, in sentences.
    """
    found = assess(
        windows,
        promoted["value"] if promoted else math.nan,
        metric,
        watch,
        since=since,
        last_change=since,
        last_request=last_request,
        promoted_interval=(promoted["low"], promoted["high"]) if promoted else None,
    )
    comparison, why = against(found) if found.action == "compare" else (None, "")
    return decide(found, comparison, min_rows=watch.min_rows, inputs=inputs, no_way_back=why)
