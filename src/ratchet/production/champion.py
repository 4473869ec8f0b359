"""The model that serves, since when, and what is done about it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pandas as pd

from ratchet.bundle.reader import ROW_HASH, Bundle
from ratchet.bundle.scoring_frame import rows_in_file, training_cutoff
from ratchet.bundle.smoke_test import run_smoke_test
from ratchet.database import naive_utc
from ratchet.errors import DataError, UserError
from ratchet.monitoring.log_table import CHAMPION
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.production.monitoring_records import AssessmentRecord
from ratchet.registry.actions import request_retraining, roll_back
from ratchet.registry.ledger import ConflictError
from ratchet.registry.ledger_chain import Entry
from ratchet.registry.registry import Registry

LOGGER = logging.getLogger(__name__)

UNTIL = "until"
"""Number of an assessment: end of the last window that it rests on, which is no part of it."""


@dataclass(frozen=True)
class Champion:
    """The model that serves, and where its time begins.

    Attributes:
        version: its version.
        bundle: its bundle.
        since: time after which rows count as its production; None without time.
        answered: hashes by key of the rows that were answered before it served, by whichever model
            did then.
    """

    version: str
    bundle: Bundle
    since: str | None
    answered: pd.Series

    @property
    def known(self) -> pd.Series:
        """Hashes of the rows that it was made and chosen by, by row key."""
        rows = rows_in_file(self.bundle)
        hashes = rows[ROW_HASH] if ROW_HASH in rows else pd.Series(None, rows.index, dtype="str")
        return hashes.set_axis(rows.index.astype(str))


def open_champion(registry: Registry, log: PredictionLog, name: str) -> Champion | None:
    """Open the model that serves; None before the first promotion.

    Its production begins after the last row by which it was chosen, and after the last row that
    another model answered in its place, by whomever the champion was changed.

    Raises:
        BundleError: its bundle is damaged.
        RegistryError: its bundle is missing.
    """
    entry = registry.ledger.serving_since(name)
    if entry is None:
        return None
    bundle = registry.open_bundle(name, entry.champion)
    rows = log.rows(name, arm=CHAMPION)
    # Answers of others came before, whatever clocks say. One that was ahead when this model was
    # promoted cannot tell which of its own answers did.
    earlier = rows["version"] != entry.champion
    if entry.at <= datetime.now(UTC):
        earlier |= rows["predicted_at"] < naive_utc(entry.at)
    before = rows[earlier]
    # Answers about the future say nothing of how far the rows have come; nor does what somebody
    # has asked of the service, before it is known that such a row came.
    came = before[(before["source"] == "batch") | before["truth"].notna()]
    reached = came["row_time"][came["row_time"] <= came["predicted_at"]]
    moments = [training_cutoff(bundle.manifest), reached.max()]
    cutoffs = [pd.Timestamp(moment) for moment in moments if not pd.isna(moment)]
    since = max(cutoffs).isoformat() if cutoffs else None
    return Champion(str(entry.champion), bundle, since, before["row_hash"])


def failing_part(error: Exception) -> str:
    """Whether it is the ``bundle`` that fails, or the ``data`` that it is given.

    An unexpected error is no evidence against the bundle.
    """
    expected = isinstance(error, UserError) and not isinstance(error, DataError)
    return "bundle" if expected else "data"


def summarize(error: Exception) -> str:
    """Message of an error; of an unexpected one also its type and place."""
    if isinstance(error, UserError):
        return str(error)
    LOGGER.debug("Unexpected error in monitoring", exc_info=error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"


def last_retraining_request(registry: Registry, name: str) -> tuple[bool, str | None]:
    """Whether a retraining was asked for since models last changed.

    Returns:
        And the last moment, by the time of rows, that the newest such request rests on.
    """
    changed = registry.ledger.serving_since(name)
    for entry in reversed(registry.ledger.entries(name)):
        if changed is not None and entry.seq <= changed.seq:
            break
        if entry.event == "retrain":
            until = entry.details.get(UNTIL)
            # The end of a window is no part of it.
            last = pd.Timestamp(until) - pd.Timedelta("1us") if until else None
            return True, None if last is None else last.isoformat()
    return False, None


def carry_out(
    registry: Registry, name: str, assessment: AssessmentRecord, *, actor: str
) -> Entry | None:
    """Roll back, or ask for a retraining, or leave everything as it is.

    Somebody else may have decided meanwhile. Then nothing is done: the next run looks again.

    Returns:
        The ledger's entry, or None.
    """
    actions: dict[str, Callable[..., Entry]] = {
        "rollback": partial(roll_back, check=run_smoke_test),
        "retrain": request_retraining,
    }
    if assessment["action"] not in actions:
        return None
    try:
        return actions[assessment["action"]](
            registry,
            name,
            reason=assessment["reason"],
            actor=actor,
            details=assessment["numbers"],
            expect=assessment["expect"],
        )
    except ConflictError as error:
        LOGGER.warning("%s: nothing is done about the champion now: %s", name, error)
        return None
