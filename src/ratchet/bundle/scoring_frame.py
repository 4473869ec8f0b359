"""Rows as they are delivered, the way one bundle sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ratchet.bundle.reader import IN_FILE, ROW_HASH, Bundle
from ratchet.config import TARGET_PREFIX, Landing, Target, in_table
from ratchet.dates import on_clock, utc
from ratchet.errors import DataError
from ratchet.learning.features.series import SeriesPanel
from ratchet.preparation.answering import features_of
from ratchet.preparation.contract import read_day, typed_rows
from ratchet.preparation.fingerprints import row_hashes
from ratchet.preparation.required_columns import RequiredColumns
from ratchet.preparation.revisions import Revisions, concat_changes, find_revisions
from ratchet.preparation.rows import derive_columns
from ratchet.preparation.steps import lay_out_steps, only_target
from ratchet.values import as_text, is_other


@dataclass(frozen=True, eq=False)
class ScoringFrame:
    """Rows under the contract of a bundle, with its features and its units.

    Attributes:
        bundle: the bundle.
        typed: all typed rows.
    """

    bundle: Bundle
    typed: pd.DataFrame

    @cached_property
    def features(self) -> pd.DataFrame:
        """Features of every row that can be answered, by row key."""
        return features_of(self.typed, self.bundle.use_case, self.bundle.statistics)

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """Source columns of the rows by row key, as ``Bundle.reference`` has them.

        With their time in UTC, in its order, where rows have one: in ``Data.row_time``.
        """
        use_case = self.bundle.use_case
        data, needs = use_case.data, RequiredColumns(use_case)
        if data.series is None:
            rows = derive_columns(self.typed, data, needs.derived_for_targets)
            rows = rows.dropna(subset=needs.required)
        else:
            rows = derive_columns(self._laid.rows, data)[self._laid.under_way.ravel()]
        rows = rows.set_index(data.key)
        if data.time is None:
            return rows
        timed = rows.rename_axis(in_table(data.key)).assign(**{data.row_time: utc(rows[data.time])})
        return timed.sort_values(data.row_time, kind="stable")

    @cached_property
    def given(self) -> pd.Index:
        """Keys of the rows that are in the file; of series there are others, where it has none."""
        data = self.bundle.use_case.data
        if data.series is None:
            return pd.Index(self.typed[data.key])
        return pd.Index(self._laid.rows.loc[self._laid.given.ravel(), data.key])

    @cached_property
    def _laid(self) -> SeriesPanel:
        use_case = self.bundle.use_case
        target = only_target(use_case.targets)
        return lay_out_steps(self.typed, use_case.data, target, RequiredColumns(use_case).required)

    @property
    def times(self) -> pd.Series | None:
        """Time of every row, by row key, where rows have one."""
        data = self.bundle.use_case.data
        return self.inputs[data.row_time] if data.time else None

    def new_inputs(self, moment: Any) -> pd.DataFrame:
        """``inputs`` of the rows that are new after a moment, see ``new_rows``."""
        keys = self.inputs.index
        times = pd.Series(pd.NaT, keys) if self.times is None else self.times
        known = np.ones(len(keys), dtype=bool)
        timeless = moment is None or times.isna().all()
        # Keys and hashes take a while, and of all other rows the time tells enough.
        doubtful = known.copy() if timeless else (times == pd.Timestamp(moment)).to_numpy()
        known[doubtful] = self.knows(keys[doubtful])
        return self.inputs[new_rows(times, moment, known)]

    def knows(self, keys: pd.Index) -> np.ndarray:
        """Which of some rows the bundle knows: by their keys, unless these name other rows now."""
        rows = self.bundle.rows
        known = keys.isin(rows.index)
        if IN_FILE in rows:  # a step that was empty is known until the file has a row for it
            known &= ~keys.isin(self.given.difference(rows_in_file(self.bundle).index))
        if ROW_HASH in rows:
            now = self.hashes(keys[known]).reindex(keys[known].astype(str))
            known[known] = ~is_other(rows[ROW_HASH].reindex(keys[known]), now)
        return known

    def hashes(self, keys: pd.Index) -> pd.Series:
        """What tells whether a key names the row that it named: row key, as text -> its hash."""
        data = self.bundle.use_case.data
        if data.series is not None:
            return pd.Series(dtype="str")
        places = pd.Index(self.typed[data.key]).get_indexer(keys)
        return row_hashes(self.typed.iloc[places[places >= 0]], self.bundle.use_case)

    def past_changes(self, as_of: Any = None) -> Revisions:
        """What the file does to the rows that the bundle was made by.

        Other values are told as far as the bundle has them: of rows by a hash of each, and by the
        training rows that it keeps; of series by the steps that it keeps as context.

        Args:
            as_of: last day whose rows are seen; later ones are not missed.
        """
        data, known = self.bundle.use_case.data, rows_in_file(self.bundle)
        if as_of is not None and data.time:
            days = on_clock(known["time"], data.timezone).dt.normalize()
            known = known[days <= read_day(as_of)]
        return Revisions(
            known=len(known),
            new=len(self.typed),
            gone=known.index.difference(self.given, sort=False),
            values=self._changed_steps(as_of) if data.series else self._changed_rows(known),
            time=None if data.series else data.time,
        )

    def _changed_rows(self, known: pd.DataFrame) -> pd.DataFrame:
        data = self.bundle.use_case.data
        now = self.typed.set_index(data.key)
        now = now.loc[known.index.intersection(now.index, sort=False)]
        known, moved = known.loc[now.index], np.zeros(len(now), dtype=bool)
        times = concat_changes()
        if data.time and not data.columns[data.time].revised:
            pair = {"before": known["time"], "after": utc(now[data.time])}
            moved = (pair["before"] != pair["after"]).to_numpy()
            times = pd.DataFrame({"column": data.time, **pair})[moved]
        if ROW_HASH not in known:
            return times
        hashes = self.hashes(now.index).reindex(now.index.astype(str))
        other = known.index[is_other(known[ROW_HASH], hashes) & ~moved]
        kept = self.bundle.reference.reindex(columns=RequiredColumns(self.bundle.use_case).columns)
        kept = kept.drop(columns=data.key, errors="ignore").dropna(axis=1, how="all")
        kept = kept.loc[kept.index.intersection(other)].rename_axis(data.key).reset_index()
        few = data.model_copy(update={"time": None})
        same = now[now.index.isin(other)].rename_axis(data.key).reset_index()
        found = find_revisions(kept, same, few).values
        plain = pd.DataFrame({"column": None}, index=other.difference(found.index, sort=False))
        return concat_changes(times, found, plain.assign(before=None, after=None))

    def _changed_steps(self, as_of: Any) -> pd.DataFrame:
        data, kept = self.bundle.use_case.data, self.bundle.context
        if kept is None or data.time is None:
            return concat_changes()
        if as_of is not None:
            kept = kept[kept[data.time].dt.tz_localize(None).dt.normalize() <= read_day(as_of)]
        return find_revisions(kept, self.typed, data).values

    def newer_than(self, moment: Any) -> pd.Index:
        """Keys of the rows that can be answered and are new after a moment, see ``new_rows``."""
        keys = self.features.index
        return keys[keys.isin(self.new_inputs(moment).index)]

    def waiting(self) -> pd.Index:
        """Keys of rows from the test part on that the bundle does not know and that have no truth.

        Truth does not always come in the order of the rows: a row may wait for it longer than newer
        ones, by which the bundle was chosen.
        """
        known, use_case = self.bundle.rows, self.bundle.use_case
        if self.times is None:  # all that are not known are new
            return self.features.index[:0]
        columns = [f"{TARGET_PREFIX}{target.column}" for target in use_case.targets.values()]
        waits = self.features.index[self.features[columns].isna().all(axis=1)]
        waits = waits[waits.isin(self.given) & ~waits.isin(known.index)]
        first = known.loc[known["part"] == "test", "time"].min()
        return waits[(self.times.reindex(waits) >= first).to_numpy()]

    def first_after(self, moment: Any) -> Any:
        """Time of the first row that is new after a moment; None where there is none, or no time.

        See ``new_rows``.
        """
        if self.times is None or moment is None:
            return None
        later = self.new_inputs(moment)[self.bundle.use_case.data.row_time]
        return None if later.empty else later.min().to_pydatetime()

    def predict(self, keys: pd.Index) -> dict[str, pd.DataFrame]:
        """Answers of the bundle for some of the rows, by target."""
        return self.bundle.predict(self.features.loc[keys])

    def truth(self, target: Target) -> pd.Series:
        """What is known of a target by row key: numbers, or names of classes."""
        known = self.features[f"{TARGET_PREFIX}{target.column}"].dropna()
        return as_text(known) if target.is_classes else known.astype(float)


def scoring_frame(
    bundle: Bundle, raw: pd.DataFrame, as_of: Any = None, measured: Sequence[Any] = ()
) -> ScoringFrame:
    """Put rows under the contract of a bundle.

    Args:
        bundle: the bundle.
        raw: rows as delivered.
        as_of: last day whose rows are seen.
        measured: what the service was handed in since, see ``preparation.add_measured_rows``.

    Raises:
        DataError: the rows break the contract that the bundle was made under.
    """
    data, targets = bundle.use_case.data, dict(bundle.use_case.targets)
    return ScoringFrame(bundle, typed_rows(raw, data, targets, as_of, measured))


def describe_changed_past(now: ScoringFrame, landing: Landing | None, as_of: Any = None) -> str:
    """What a raw file that was put in place by hand does to known rows and is not allowed.

    Args:
        now: the rows, as the champion sees them.
        landing: what is allowed, and what is done about the rest.
        as_of: last day whose rows are seen.

    Returns:
        A sentence with the numbers; empty where nothing is told.

    Raises:
        DataError: it is found, and files that do this are to be refused.
    """
    landing = landing or Landing()
    if landing.by_hand == "ignore":
        return ""
    findings = now.past_changes(as_of).findings
    found = {word: text for word, text in findings.items() if word not in landing.allow}
    if not found:
        return ""
    # Without brackets, which a log would take for its markup.
    listed = "; ".join(f"{word}: {text}" for word, text in found.items())
    told = (
        f"the raw file differs from the rows that the model that serves was made by: {listed}. Put "
        f"the whole file back, or name {', '.join(found)} in landing.allow where this is meant"
    )
    if landing.by_hand == "refuse":
        raise DataError(told)
    return told


def rows_in_file(bundle: Bundle) -> pd.DataFrame:
    """Rows that a bundle knows and that were in its file: of series, some steps were empty."""
    known = bundle.rows
    return known[known[IN_FILE]] if IN_FILE in known else known


def new_rows(times: pd.Series, moment: Any, known: np.ndarray | None) -> np.ndarray:
    """Which rows are new to a model: one rule for new rows, monitoring and the gate.

    Rows after the moment are new, and those of the moment itself that the model does not know: a
    day that was delivered in two halves ends with rows of the same time.

    Args:
        times: time of every row by its key, in UTC; missing values where rows have no time.
        moment: time of the last row by which the model was made or chosen; None without time:
            then every row that the model does not know is new.
        known: of every row whether the model knows it; None where it knows all of the moment's.

    Returns:
        Of every row whether it is new.
    """
    if known is None:
        known = np.full(len(times), moment is not None)
    if moment is None or times.isna().all():
        return ~known
    at = pd.Timestamp(moment)
    return (times > at).to_numpy() | ((times == at).to_numpy() & ~known)


def training_cutoff(manifest: Mapping[str, Any]) -> str | None:
    """Time of the last row by which a model was made or chosen; None without time."""
    until: str | None = manifest["decided_until"] or manifest["last_row"]
    return until
