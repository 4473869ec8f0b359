"""Whether there are rows that the model that serves does not know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ratchet.dates import utc
from ratchet.params import UseCase
from ratchet.preparation import typed_rows
from ratchet.release.bundle import open_bundle
from ratchet.release.delivered import Delivered, decided_until, delivered, new_rows, told_past
from ratchet.release.registry import Registry


@dataclass(frozen=True)
class Unseen:
    """Rows that a training would see and the model that serves has not.

    Attributes:
        rows: how many.
        champion: version that serves.
        until: time of the last row that it knows; None without time.
        reason: one sentence.
    """

    rows: int
    champion: str | None
    until: str | None
    reason: str

    @property
    def fresh(self) -> bool:
        """Whether training is worth while."""
        return self.rows > 0

    def to_json(self) -> dict[str, Any]:
        """The fields, and ``fresh``."""
        return {"fresh": self.fresh, **asdict(self)}


def unseen_rows(
    registry: Registry, name: str, use_case: UseCase, raw: pd.DataFrame, as_of: Any = None
) -> Unseen:
    """Count the rows that the model that serves does not know.

    Rows of which no target is known yet do not count, nor those that lack a required value:
    nothing can be learned from them. Where targets become known at different times, a row counts
    from the first on, as in the training.

    Args:
        registry: versions and decisions.
        name: name of the use case.
        use_case: its parameters.
        raw: rows as delivered.
        as_of: last day whose rows are seen.

    Raises:
        DataError: the rows break their contract, or do to known rows what is to be refused.
        BundleError: the bundle of the model that serves cannot be read.
    """
    typed = typed_rows(raw, use_case.data, dict(use_case.targets), as_of)
    targets = [t.column for t in use_case.targets.values() if t.column in typed]
    known = typed.dropna(subset=targets, how="all") if targets else typed
    known = known.dropna(subset=use_case.data.required)
    champion = registry.champion(name)
    if champion is None:
        return Unseen(len(known), None, None, f"nothing serves yet; there are {len(known)} rows")
    bundle = open_bundle(registry.folder(name, champion))
    until = decided_until(bundle.manifest) if use_case.data.time else None
    now = delivered(bundle, raw, as_of)
    rows = _count_new(known, use_case, until, now)
    told = f"{rows} new rows" if rows else "no new rows"
    since = f"since {_on_clock(until, use_case)}, the last that" if until else "beside those that"
    past = told_past(now, use_case.landing, as_of)
    reason = f"{told} {since} version {champion} knows" + (f"; {past}" if past else "")
    return Unseen(rows, champion, until, reason)


def _on_clock(until: str, use_case: UseCase) -> str:
    """A moment as the clock of the data shows it."""
    zone = use_case.data.timezone
    if zone is None:
        return until
    return str(pd.Timestamp(until, tz="UTC").tz_convert(zone).isoformat())


def _count_new(rows: pd.DataFrame, use_case: UseCase, until: str | None, now: Delivered) -> int:
    """How many of some rows are new to a bundle.

    Args:
        rows: typed rows whose truth is known.
        use_case: the parameters.
        until: time of the last row by which the bundle was made or chosen.
        now: all rows, as the bundle sees them.
    """
    data = use_case.data
    if until is not None and data.time is not None:
        times = utc(rows[data.time])
        if not (times == pd.Timestamp(until)).any():
            return int(new_rows(times, until, None).sum())
    new = now.new_inputs(until)
    if data.series is None:
        return int(new.index.isin(rows[data.key]).sum())
    (target,) = use_case.targets.values()
    return int((new[target.column].notna() & new.index.isin(now.given)).sum())
