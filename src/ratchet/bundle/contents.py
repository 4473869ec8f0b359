"""What a version consists of, before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ratchet.bundle.context_rows import contexts, differing, features_in_context
from ratchet.bundle.golden_rows import fields_of, golden_keys
from ratchet.bundle.manifest import BundleError
from ratchet.config import SERIES_ID, SERIES_PREFIX, UseCase, in_table
from ratchet.dates import utc
from ratchet.learning.demand.book import DemandBook
from ratchet.preparation.fingerprints import row_hashes

REFERENCE_ROWS = 20_000
"""Training rows that drift is measured against; more of them say nothing more."""

ROW_HASH = "row_hash"
"""Column of the known rows that says which row a key names; of series there is none."""

GIVEN = "given"
"""Of series, column of the known rows: whether the file had the row, or its step was empty."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a version consists of.

    Attributes:
        use_case: the parameters.
        encoder: the fitted encoder of the features.
        models: the chosen model of every target, fitted and calibrated.
        typed: the typed rows of the run.
        primary: the prepared rows, with ``split``.
        features: their features before encoding, with ``split``.
        statistics: units of the series, where there are series.
        metrics: scores of every target's model, with intervals.
        without_past: of targets of series, a second model that needs nothing of their past.
        importance: of every target ``source`` and ``importance``, as ``explain_best`` gives them.
        demand_book: what it takes to price the segments of a market, where there is one.
    """

    use_case: UseCase
    encoder: Any
    models: Mapping[str, Any]
    typed: pd.DataFrame
    primary: pd.DataFrame
    features: pd.DataFrame
    statistics: pd.DataFrame | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    importance: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    without_past: Mapping[str, Any] = field(default_factory=dict)
    demand_book: DemandBook | None = None


def tables(contents: Contents) -> dict[str, pd.DataFrame | None]:
    """Give the tables of a bundle by name; nothing for those that it can do without."""
    return {
        "statistics": contents.statistics,
        "context": choose_context(contents),
        "reference": _reference(contents),
        "rows": _rows(contents),
    }


def choose_context(contents: Contents) -> pd.DataFrame | None:
    """Choose the rows that have to be kept, so that raw fields give the features of the training.

    They are tried on the golden rows, each by itself: nothing is known of it then, and others may
    have it in their history. Of series they are tried on all that are forecast at the same steps.

    Raises:
        BundleError: not even with all rows at hand do raw fields give these features.
    """
    use_case, features = contents.use_case, contents.features
    keys = golden_keys(features, contents.typed, use_case)
    steps: list[list[Any]] = [[key] for key in keys]
    since = None
    if use_case.data.series:
        at = features[f"{SERIES_PREFIX}time"]
        since = at[keys].min()
        steps = [_there(features.index[at == step], contents) for step in at[keys].unique()]
    apart: list[str] = []
    for context in contexts(contents.typed, contents.primary, use_case, since):
        apart = [name for step in steps for name in _apart(step, contents, context)]
        if not apart:
            return context
    raise BundleError(
        f"raw fields of rows {keys} do not give the features that the models were trained on: "
        f"{sorted(set(apart))} differ; a derived column may look at its own row and, in series, at "
        f"steps of its own series"
    )


def _there(keys: pd.Index, contents: Contents) -> list[Any]:
    """Rows of one step that have a row of their own in the file."""
    series = contents.use_case.data.series
    if series is None or series.id is None:
        return list(keys)
    at = contents.features.loc[keys]
    rows = contents.typed[
        utc(contents.typed[contents.use_case.data.time]) == at[f"{SERIES_PREFIX}time"].iloc[0]
    ]
    return list(keys[at[SERIES_ID].isin(rows[series.id])])


def _apart(keys: list[Any], contents: Contents, context: pd.DataFrame | None) -> list[str]:
    """Columns in which features made from raw fields differ from those of the training."""
    fields = fields_of(keys, contents.features, contents.typed, contents.use_case)
    found = features_in_context(fields, contents.use_case, contents.statistics, context)
    return differing(found, contents.features.loc[keys])


def _reference(contents: Contents) -> pd.DataFrame:
    """Source columns of the latest training rows."""
    use_case = contents.use_case
    features, drift = use_case.features, use_case.monitoring.drift
    named = [
        *features.columns,
        *(features.windows.past if features.windows else []),
        *(drift.columns or []),
        *(name for scenario in drift.scenarios.values() for name in scenario.columns),
        *(target.column for target in use_case.targets.values()),
    ]
    rows = contents.primary[contents.primary["split"] == "train"].tail(REFERENCE_ROWS)
    rows = rows.set_index(use_case.data.key).rename_axis(in_table(use_case.data.key))
    reference = rows[[name for name in dict.fromkeys(named) if name in rows]]
    data = use_case.data
    return reference.assign(**{data.row_time: utc(rows[data.time])}) if data.time else reference


def _rows(contents: Contents) -> pd.DataFrame:
    data = contents.use_case.data
    rows = contents.primary[contents.primary["split"].notna()].set_index(data.key)
    rows = rows.rename_axis(in_table(data.key))
    known = pd.DataFrame({"part": rows["split"].astype(str)})
    hashes = row_hashes(contents.typed, contents.use_case)
    if len(hashes):
        known[ROW_HASH] = hashes.reindex(rows.index.astype(str)).to_numpy()
    if data.series and data.time:
        names = [data.time, *([data.series.id] if data.series.id else [])]
        there = pd.MultiIndex.from_frame(contents.typed[names])
        known[GIVEN] = pd.MultiIndex.from_frame(rows[names]).isin(there)
    return known.assign(time=utc(rows[data.time])) if data.time else known


def importance_of(contents: Contents) -> dict[str, dict[str, float]]:
    """Importance of every source of features, by target."""
    return {
        target: dict(zip(frame["source"], frame["importance"], strict=True))
        for target, frame in contents.importance.items()
    }
