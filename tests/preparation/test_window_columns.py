"""Windows are told in units that were learned once, from the training steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.config import SERIES_ID, SERIES_KEY
from ratchet.learning.features.series import seasonal_change
from ratchet.preparation.splits import count_train_steps
from ratchet.preparation.window_columns import panel, series_statistics


def prepared(part) -> pd.DataFrame:
    from ratchet.pipelines.preprocessing import select_series

    use_case = part.use_case
    return select_series(part.typed, use_case.data, use_case.features, dict(use_case.targets))[0]


@pytest.mark.parametrize("name", ["power", "stock", "prices"])
def test_units_are_those_of_the_training_steps_to_the_last_bit(slice_of, name):
    """Computed here as it was before statistics were kept: from the panel, for every row."""
    part = slice_of(name)
    primary, (built, _) = prepared(part), part.built
    (target,) = part.use_case.targets.values()
    values, season = panel(primary, target.column), part.use_case.data.series.season
    n_train = count_train_steps(values, part.use_case.data.split)
    relative = target.learn == "return"
    mean, rms, _ = seasonal_change(values[:n_train], season, relative=relative)
    origin = np.full_like(values, np.nan)
    origin[1:] = values[:-1]  # the horizon is one step
    unit = np.abs(origin) if relative else np.ones_like(values)
    rows = primary["split"].notna().to_numpy().reshape(values.shape)

    np.testing.assert_array_equal(built["series_scale"], (unit * mean)[rows])
    np.testing.assert_array_equal(built["series_rms"], (unit * rms)[rows])
    assert list(built.index) == list(primary.loc[primary["split"].notna(), SERIES_KEY])
    if part.use_case.data.series.id:
        own = seasonal_change(values[:n_train], season)[0]
        level = np.nansum(values[:n_train], axis=0) / np.isfinite(values[:n_train]).sum(axis=0)
        expected = np.broadcast_to(level / own, values.shape)[rows]
        np.testing.assert_array_equal(built["static_level"], expected)


@pytest.mark.parametrize("name", ["power", "stock", "prices"])
def test_a_row_for_every_series(slice_of, name):
    part = slice_of(name)
    statistics = part.built[1]

    assert list(statistics.index) == list(dict.fromkeys(prepared(part)[SERIES_ID]))
    assert (statistics[["mean", "rms"]] > 0).all(axis=None)
    several = part.use_case.data.series.id is not None
    static = ["static_level", "static_change", "static_zeros"] if several else []
    assert list(statistics) == ["mean", "rms", *static]


def test_what_comes_after_the_training_steps_changes_nothing(slice_of):
    part = slice_of("stock")
    primary, data = prepared(part), part.use_case.data
    steps = np.sort(primary["date"].unique())
    n_train = count_train_steps(panel(primary, "units"), data.split)
    later = primary["date"] > steps[n_train - 1]

    found = series_statistics(
        primary.assign(units=primary["units"].mask(later, 1e6)), data, dict(part.use_case.targets)
    )

    assert later.any()
    pd.testing.assert_frame_equal(found, part.built[1])
