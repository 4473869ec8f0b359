"""Rolling origins: what predicts a window has seen nothing of it, and all that was known before."""

from __future__ import annotations

import math
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.frozen import FrozenEstimator

from ratchet.config import ONE_WINDOW, Evaluation, Features, Split, Target, Windows
from ratchet.errors import DataError
from ratchet.learning.ensemble_selection import WeightedMeanRegressor
from ratchet.modelling.calibrate_and_refit import calibrate, refit, uncalibrated
from ratchet.modelling.candidate_search import search_candidate
from ratchet.modelling.rolling_origins import fits, predict_rows, predict_windows, window_numbers
from ratchet.preparation.splits import assign_splits

NAMES = ["line", "flat", "persistence"]
ENSEMBLE, WEIGHTS = "weighted_ensemble", {"line": 0.25, "flat": 0.75}
TARGET = Target(
    column="units",
    task="forecasting",
    cv=2,
    n_jobs=1,
    baseline="persistence",
    candidates={
        "line": {"estimator": "ridge", "param_grid": {"model__alpha": [0.1]}},
        "flat": {"estimator": "ridge", "param_grid": {"model__alpha": [50]}},
        "persistence": {"estimator": "persistence"},
    },
)


def features(horizon: int = 1) -> Features:
    return Features(windows=Windows(lookback=2, horizon=horizon, past={"units": "value"}))


def frame(steps: int, n_series: int = 3, seed: int = 0, keep: float = 1.0) -> pd.DataFrame:
    """Model input of series, of which some rows are missing."""
    rng = np.random.default_rng(seed)
    n = steps * n_series
    rows = pd.DataFrame(
        rng.normal(size=(n, 3)), columns=["window_units_1", "window_units_2", "naive_persistence"]
    )
    truth = rows["window_units_1"] * 2 + rng.normal(size=n)
    rows = rows.assign(
        series_id=np.tile([f"s{i}" for i in range(n_series)], steps),
        series_time=pd.Timestamp("2026-01-01", tz="UTC")
        + pd.to_timedelta(np.arange(steps).repeat(n_series), unit="D"),
        series_level=10.0,
        series_scale=2.0,
        series_rms=1.0,
        target_units=10 + 2 * truth,
    )
    rows.index = [f"row{i}" for i in range(n)]
    return rows[rng.uniform(size=n) < keep]


def parts(rows: pd.DataFrame, *at: int) -> list[pd.DataFrame]:
    """The rows before, between and after some steps."""
    step = (rows["series_time"] - rows["series_time"].min()).dt.days
    return [
        rows[(step >= first) & (step < end)]
        for first, end in zip((0, *at), (*at, 999), strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(
    windows=st.integers(1, 6),
    step=st.integers(1, 5) | st.none(),
    refit=st.booleans() | st.integers(1, 3),
    horizon=st.integers(1, 4),
    keep=st.sampled_from([0.2, 1.0]),
    seed=st.integers(0, 99),
)
def test_no_fit_knows_a_row_from_the_first_origin_on(windows, step, refit, horizon, keep, seed):
    rows = frame(60, seed=seed, keep=keep)
    earlier, test = parts(rows, 40)
    evaluation = Evaluation(windows=windows, step=step, refit=refit)

    made = list(fits(earlier, test, TARGET, horizon, evaluation))

    pd.testing.assert_frame_equal(pd.concat([fit.rows for fit in made]), test)
    assert made[0].known is earlier
    days = pd.DatetimeIndex(rows["series_time"].unique()).sort_values()
    for fit in made[1:]:
        first = fit.rows["series_time"].min()
        # The origin lies the horizon before the target, and what is known goes up to it.
        origin = days[days.searchsorted(first) - horizon]
        assert fit.known["series_time"].max() == origin < first
        assert len(fit.known) == (rows["series_time"] <= origin).sum()
    if not refit or windows == 1:
        assert len(made) == 1
    elif keep == 1 and step:
        assert len(made) == math.ceil(math.ceil(20 / step) / int(refit))


Models = dict[str, Any]


def searched(
    train: pd.DataFrame, validation: pd.DataFrame, evaluation: Evaluation = ONE_WINDOW
) -> tuple[Models, Models]:
    """Models and held-out predictions, by candidate."""
    models, held_out = {}, {}
    for name in NAMES:
        models[name], _, held_out[name] = search_candidate(
            *(train, validation, TARGET, features(), TARGET.candidates[name], 0),
            *(joblib.Memory(None), evaluation),
        )
    members = [FrozenEstimator(uncalibrated(models[name], TARGET)) for name in WEIGHTS]
    held_out[ENSEMBLE] = sum(weight * held_out[name] for name, weight in WEIGHTS.items())
    mean = WeightedMeanRegressor(members, list(WEIGHTS.values()))
    models[ENSEMBLE] = calibrate(mean, held_out[ENSEMBLE], validation, TARGET)
    return models, held_out


@pytest.fixture(scope="module")
def made() -> Any:
    train, validation, test = parts(frame(60, seed=3), 30, 40)
    return (*searched(train, validation), pd.concat([train, validation]), test)


def predicted(made: Any, evaluation: Evaluation, test: Any = None, cache: Any = None) -> Any:
    models, held_out, earlier, rows = made
    return predict_windows(
        *(models, held_out, WEIGHTS, earlier, rows if test is None else test),
        *(TARGET, features(), evaluation, cache or joblib.Memory(None)),
    )


def test_predictions_do_not_hang_on_what_comes_true_from_the_cutoff_on(made):
    evaluation, test = Evaluation(windows=4, step=5, refit=True), made[3]
    before = predicted(made, evaluation)

    for window in range(4):
        later = window_numbers(test, evaluation) >= window
        changed = test.assign(target_units=test["target_units"].mask(later, 99.0))
        after = predicted(made, evaluation, changed)
        for name in NAMES:
            seen = before[name]["window"] <= window + 1
            columns = ["prediction", "low", "high"]
            pd.testing.assert_frame_equal(before[name][seen][columns], after[name][seen][columns])
        if window < 3:  # and of the next window they do
            assert (before["line"][~seen]["prediction"] != after["line"][~seen]["prediction"]).all()


def test_held_out_predictions_hang_on_what_came_true_before_their_window(made):
    train, validation, _ = parts(frame(60, seed=3), 30, 40)
    evaluation = Evaluation(windows=2, step=5, refit=True)
    models, before = searched(train, validation, evaluation)
    later = window_numbers(validation, evaluation) >= 1
    changed = validation.assign(target_units=validation["target_units"].mask(later, 99.0))

    after = searched(train, changed, evaluation)[1]
    others = validation.assign(target_units=validation["target_units"].mask(~later, 99.0))
    of_others = searched(train, others, evaluation)[1]["line"]

    for name in NAMES:
        pd.testing.assert_frame_equal(before[name], after[name])
        assert before[name].index.equals(validation.index)
    changes = (before["line"] != of_others)["prediction"].to_numpy()
    np.testing.assert_array_equal(changes, later)
    # The first window is predicted as without windows, and so is every row by the final model.
    pd.testing.assert_frame_equal(before["line"][~later], made[1]["line"][~later])
    final, without = (predict_rows(one["line"], made[3], TARGET) for one in (models, made[0]))
    pd.testing.assert_series_equal(final["prediction"], without["prediction"])


def test_without_refit_one_fit_predicts_all_windows(made):
    rows = predicted(made, Evaluation(windows=4, step=5))

    for name in NAMES:
        whole = predict_rows(made[0][name], made[3], TARGET)
        pd.testing.assert_frame_equal(rows[name].drop(columns="window"), whole)
        assert rows[name]["window"].value_counts().to_dict() == dict.fromkeys([1, 2, 3, 4], 15)


def test_a_refit_at_every_second_cutoff_goes_on_for_two_windows(made):
    every, second = (
        predicted(made, Evaluation(windows=4, step=5, refit=k))["line"] for k in (1, 2)
    )

    same = (every["prediction"] == second["prediction"]).groupby(every["window"]).all()
    assert same.to_dict() == {1: True, 2: False, 3: True, 4: False}


def test_the_weighted_ensemble_is_the_mean_of_its_fitted_members(made):
    models, _, earlier, test = made
    rows = predicted(made, Evaluation(windows=2, step=10, refit=True))[ENSEMBLE]
    known = pd.concat([earlier, test[:30]])

    expected = predict_rows(refit(models[ENSEMBLE], known, TARGET), test[30:], TARGET)

    pd.testing.assert_frame_equal(rows[30:].drop(columns="window"), expected)


def test_fits_that_were_finished_are_not_made_again(made, tmp_path, monkeypatch):
    evaluation, cache = (
        Evaluation(windows=4, step=5, refit=True),
        joblib.Memory(tmp_path, verbose=0),
    )
    import ratchet.modelling.rolling_origins as module

    real, calls, broken = module.refit, [], 4

    def refit(*args: Any, **options: Any) -> Any:
        if len(calls) == broken:
            raise RuntimeError
        calls.append(args)
        return real(*args, **options)

    monkeypatch.setattr(module, "refit", refit)
    with pytest.raises(RuntimeError):
        predicted(made, evaluation, cache=cache)
    broken = None
    rows = predicted(made, evaluation, cache=cache)

    assert len(calls) == 9  # 3 later windows of 3 candidates, none of them twice
    monkeypatch.undo()
    for name, one in predicted(made, evaluation).items():
        pd.testing.assert_frame_equal(rows[name], one)


def of_rows(column: str, learn: str = "value", **candidates: str) -> Target:
    """A target of rows that follow the time."""
    named = {name: {"estimator": estimator} for name, estimator in candidates.items()}
    fixed = {"cv": 2, "n_jobs": 1, "folds": "time", "candidates": named}
    return Target.model_validate({"column": column, "task": "regression", "learn": learn, **fixed})


REFITTED = Evaluation(windows=4, step=5, refit=True)


def score_rows(
    rows: pd.DataFrame, target: Target, weights: Any, cache: Any, evaluation: Evaluation = REFITTED
) -> Any:
    """Predictions of the last third of some rows, in windows."""
    train, validation, test = rows[:25], rows[25:40], rows[40:]
    if evaluation.delay:  # as the preparation leaves them out between the parts
        wait = pd.Timedelta(evaluation.delay)
        train = train[train["series_time"] + wait < validation["series_time"].min()]
        validation = validation[validation["series_time"] + wait < test["series_time"].min()]
    found = {
        name: search_candidate(
            *(train, validation, target, Features(numeric=["x"]), candidate, 0, cache, evaluation)
        )
        for name, candidate in target.candidates.items()
    }
    models, held_out = ({name: one[i] for name, one in found.items()} for i in (0, 2))
    if weights:
        members = [FrozenEstimator(uncalibrated(models[name], target)) for name in weights]
        mean = sum(weight * held_out[name] for name, weight in weights.items())
        ensemble = WeightedMeanRegressor(members, list(weights.values()))
        models[ENSEMBLE] = calibrate(ensemble, mean, validation, target)
        held_out[ENSEMBLE] = mean
    return predict_windows(
        *(
            models,
            held_out,
            weights,
            pd.concat([train, validation]),
            test,
            target,
            Features(numeric=["x"]),
        ),
        *(evaluation, cache),
    )


@pytest.fixture
def sold() -> pd.DataFrame:
    """Rows of two targets that are the same before the test part."""
    rows = frame(60, 1)[["window_units_1", "series_time"]].set_axis(["x", "series_time"], axis=1)
    price = np.exp(1 + rows["x"])
    return rows.assign(target_price=price, target_cost=price.where(np.arange(60) < 40, 2 * price))


def test_a_row_without_a_logarithm_is_predicted_by_the_ensemble_as_well(sold):
    sold.iloc[57, sold.columns.get_loc("target_price")] = 0.0
    target = of_rows("price", "log", dummy="dummy", line="ridge", trees="extra_trees")

    rows = score_rows(sold, target, {"line": 0.5, "trees": 0.5}, joblib.Memory(None))

    members = np.log([rows[name]["prediction"] for name in ("line", "trees")])
    expected = np.exp(members.mean(axis=0))
    np.testing.assert_allclose(rows[ENSEMBLE]["prediction"], expected, rtol=1e-6)


def test_fits_of_a_target_are_not_taken_for_those_of_another_one(sold, tmp_path):
    cache = joblib.Memory(tmp_path, verbose=0)
    price, cost = (of_rows(name, dummy="dummy", other="dummy") for name in ("price", "cost"))
    score_rows(sold, price, {}, cache)

    rows = score_rows(sold, cost, {}, cache)["dummy"]

    pd.testing.assert_series_equal(rows["truth"], sold["target_cost"][40:], check_names=False)


def test_a_window_without_the_truth_of_a_target_is_left_out(sold):
    unknown = np.isin(np.arange(60) // 5, [6, 9, 11])  # a window of validation, two of the test
    sold["target_cost"] = sold["target_cost"].mask(unknown)

    rows = score_rows(sold, of_rows("cost", dummy="dummy", line="ridge"), {}, joblib.Memory(None))

    for one in rows.values():
        assert one["window"].value_counts().to_dict() == {1: 5, 3: 5}
        pd.testing.assert_index_equal(one.index, sold.index[40:][~unknown[40:]])


@pytest.mark.parametrize("delay", [None, "4D"])
def test_a_refit_learns_no_truth_that_came_after_the_first_row_of_its_window(sold, delay):
    target = of_rows("price", dummy="dummy", line="ridge")
    wait = pd.Timedelta(delay or 0)
    evaluation = Evaluation(windows=4, step=5, refit=True, delay=delay)

    def first_of_window(window):
        return sold["series_time"].iloc[40 + 5 * window]

    before = score_rows(sold, target, {}, joblib.Memory(None), evaluation)
    for window in range(1, 4):
        # All truth of the rows and windows before that comes with or after the first row.
        late = sold["series_time"] + wait >= first_of_window(window)
        assert late[: 40 + 5 * window].sum() == wait.days
        changed = sold.assign(target_price=sold["target_price"].mask(late, 99.0))
        after = score_rows(changed, target, {}, joblib.Memory(None), evaluation)
        for name, rows in before.items():
            seen = rows["window"] == window + 1
            pd.testing.assert_series_equal(
                rows["prediction"][seen], after[name]["prediction"][seen]
            )
        early = sold.assign(target_price=sold["target_price"].mask(~late, 99.0))
        moved = score_rows(early, target, {}, joblib.Memory(None), evaluation)["line"]
        assert (moved["prediction"][seen] != before["line"]["prediction"][seen]).all()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(20, 400),
    validation=st.sampled_from([0.05, 0.1, 0.2]),
    test=st.sampled_from([0.05, 0.1, 0.2]),
)
def test_one_window_of_the_share_is_the_split_by_shares(n, validation, test):
    truth, split = np.ones((n, 1), dtype=bool), Split(validation=validation, test=test)
    by_share = assign_splits(truth, split)

    same = Evaluation(windows=1, step=int((by_share == 2).sum()))

    np.testing.assert_array_equal(assign_splits(truth, split, same), by_share)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(20, 400), windows=st.integers(2, 8), step=st.integers(1, 30))
def test_windows_say_how_long_the_test_part_is(n, windows, step):
    truth, split = np.ones((n, 1), dtype=bool), Split()
    shares = np.bincount(assign_splits(truth, split))
    evaluation = Evaluation(windows=windows, step=step)
    if windows * step + shares[1] >= n:
        with pytest.raises(DataError, match=r"lower evaluation\.windows"):
            assign_splits(truth, split, evaluation)
        return

    train, validation, test = np.bincount(assign_splits(truth, split, evaluation), minlength=3)

    assert test == windows * step
    assert validation >= shares[1]
    if validation > shares[1]:
        assert validation % step == 0
        assert validation <= test
        assert train >= 0.6 * n
    assert train >= 1
