"""Whether there are rows that the model that serves does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ratchet.bundle.reader import open_bundle
from ratchet.bundle.scoring_frame import (
    ScoringFrame,
    describe_changed_past,
    new_rows,
    scoring_frame,
    training_cutoff,
)
from ratchet.config import UseCase
from ratchet.dates import utc
from ratchet.errors import UserError
from ratchet.preparation.contract import typed_rows
from ratchet.registry.registry import Registry


@dataclass(frozen=True)
class NewRows:
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


def count_new_rows(
    registry: Registry,
    name: str,
    use_case: UseCase,
    raw: pd.DataFrame,
    as_of: Any = None,
    measured: Sequence[Any] = (),
) -> NewRows:
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
        measured: what the service was handed in since.

    Raises:
        DataError: the rows break their contract, or do to known rows what is to be refused.
        BundleError: the bundle of the model that serves cannot be read.
    """
    typed = typed_rows(raw, use_case.data, use_case.targets, as_of, measured)
    targets = [t.column for t in use_case.targets.values() if t.column in typed]
    complete = typed.dropna(subset=targets, how="all") if targets else typed
    complete = complete.dropna(subset=use_case.data.required)
    champion = registry.champion(name)
    if champion is None:
        return NewRows(
            len(complete), None, None, f"nothing serves yet; there are {len(complete)} rows"
        )
    bundle = open_bundle(registry.folder(name, champion))
    until = training_cutoff(bundle.manifest) if use_case.data.time else None
    now, note = None, ""
    try:
        now = scoring_frame(bundle, raw, as_of, measured)
    except UserError as error:  # the contract is another one today: training goes on under it
        note = f"version {champion} cannot read these rows: {str(error).partition(chr(10))[0]}"
    rows = _count_new(complete, use_case, until, bundle.rows.index, now)
    count_text = f"{rows} new rows" if rows else "no new rows"
    since = f"since {_on_clock(until, use_case)}, the last that" if until else "beside those that"
    note = describe_changed_past(now, use_case.landing, as_of) if now else note
    reason = f"{count_text} {since} version {champion} knows" + (f"; {note}" if note else "")
    return NewRows(rows, champion, until, reason)


def _on_clock(until: str, use_case: UseCase) -> str:
    """A moment as the clock of the data shows it."""
    zone = use_case.data.timezone
    if zone is None:
        return until
    return str(pd.Timestamp(until, tz="UTC").tz_convert(zone).isoformat())


def _count_new(
    rows: pd.DataFrame,
    use_case: UseCase,
    until: str | None,
    known: pd.Index,
    now: ScoringFrame | None,
) -> int:
    """How many of some rows are new to a bundle.

    Args:
        rows: typed rows whose truth is known.
        use_case: the parameters.
        until: time of the last row by which the bundle was made or chosen.
        known: keys of the rows that the bundle knows.
        now: all rows, as the bundle sees them; None where it cannot read them.
    """
    data = use_case.data
    times = utc(rows[data.time]) if until and data.time else pd.Series(pd.NaT, rows.index)
    if now is None or (until and not (times == pd.Timestamp(until)).any()):
        same = None if data.series else rows[data.key].isin(known).to_numpy()
        return int(new_rows(times, until, same).sum())
    new = now.new_inputs(until)
    if data.series is None:
        return int(new.index.isin(rows[data.key]).sum())
    (target,) = use_case.targets.values()
    return int((new[target.column].notna() & new.index.isin(now.keys_in_file)).sum())
