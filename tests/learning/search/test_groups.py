"""Recurrent candidates: trained together, kept on disk, and reported as by scikit-learn."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit, TimeSeriesSplit
from sklearn.utils.validation import check_is_fitted

from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.search import Holdout, Search, table
from ratchet.learning.search.worker_pool import ADDRESS

STRATEGIES = {
    "grid": {},
    "random": {"n_trials": 10},
    "bayesian": {"n_trials": 14, "strategy_options": {"batch_size": 5}},
    "halving": {"strategy_options": {"rungs": [3, 9], "keep": 1 / 3}},
}


def results(search: Search) -> pd.DataFrame:
    """All that does not depend on the clock."""
    rows = table(search)
    return rows.loc[:, ~rows.columns.str.contains("time")]


def kept(search: Search, kind: str) -> list[str]:
    return sorted(path.name for path in search.folder.glob(f"*/{kind}/*"))


def test_groups_share_a_graph_and_are_no_larger_than_asked(search, trainer, windows):
    search(group_size=4).fit(*windows)

    assert Counter(trainer.groups) == {4: 6, 1: 3}  # 9 points per number of units
    assert set(trainer.calls.values()) == {1}


@pytest.mark.parametrize(
    ("name", "values", "place"), [("random_state", [3, 4], 1), ("compiled", [True, False], 2)]
)
def test_groups_share_seed_and_way_of_training(search, trainer, windows, name, values, place):
    grid = {name: values, "learning_rate": [1e-1, 1e-2]}
    search(param_grid=grid, group_size=4).fit(*windows)

    assert trainer.groups == [2, 2]
    assert sorted(kind[place] for kind in trainer.kinds) == sorted(values)


def test_table_is_that_of_scikit_learn_with_more_columns(search, trainer, windows):
    fitted = search().fit(*windows)
    rows = fitted.cv_results_

    check_is_fitted(fitted)
    assert len(rows["params"]) == 27
    assert rows["params"][0] == {"dropout": 0.0, "learning_rate": 0.1, "units": 4}
    np.testing.assert_array_equal(rows["split0_test_score"], rows["mean_test_score"])
    assert set(rows["std_test_score"]) == {0.0}
    assert list(np.asarray(rows["param_units"])) == [p["units"] for p in rows["params"]]
    assert fitted.best_params_ == {"dropout": 0.1, "learning_rate": 0.01, "units": 16}
    assert fitted.best_score_ == max(rows["mean_test_score"])
    assert rows["rank_test_score"][fitted.best_index_] == 1
    assert list(np.argsort(rows["rank_test_score"])) == list(np.argsort(-rows["mean_test_score"]))
    stopped = [p["units"] == 16 and p["dropout"] == 0 for p in rows["params"]]
    assert list(rows["status"]) == ["stopped" if end else "completed" for end in stopped]
    assert list(rows["epochs"]) == [7 if end else 20 for end in stopped]
    np.testing.assert_allclose(rows["val_mae"], -rows["mean_test_score"] / 2)
    assert (rows["mean_fit_time"] >= 0).all()
    assert set(rows["n_parameters"]) == {3}  # the made-up weights


def test_curves_have_a_row_per_epoch(search, trainer, windows):
    fitted = search().fit(*windows)

    curves = fitted.curves_
    assert list(curves) == [
        *("trial", "split", "epoch", "loss", "val_loss", "val_mae", "learning_rate")
    ]
    assert len(curves) == fitted.cv_results_["epochs"].sum()
    lowest = curves.groupby("trial")["val_loss"].min()
    np.testing.assert_allclose(-lowest, fitted.cv_results_["mean_test_score"])


def test_every_fold_counts_and_the_last_one_gives_the_model(search, trainer, windows):
    fitted = search(cv=TimeSeriesSplit(3, gap=1), top_k=2).fit(*windows)

    rows = fitted.cv_results_
    splits = np.array([rows[f"split{i}_test_score"] for i in range(3)])
    assert (splits[0] > splits[2]).all()
    np.testing.assert_allclose(rows["mean_test_score"], splits.mean(axis=0))
    best = fitted.top_estimators_[0]
    np.testing.assert_array_equal(best.weights_[0], np.full(3, 20.0))
    assert -min(best.history_["val_loss"]) == splits[2][fitted.best_index_]
    assert sorted(fitted.curves_["split"].unique()) == [0, 1, 2]


@pytest.mark.parametrize(("top_k", "n"), [(1, 1), (5, 5), ("all", 27)])
def test_weights_of_the_best_are_kept(search, trainer, windows, tmp_path, top_k, n):
    fitted = search(top_k=top_k, folder=tmp_path).fit(*windows)

    assert len(kept(fitted, "weights")) == n
    assert kept(fitted, "states") == []
    ranks = np.argsort(fitted.cv_results_["rank_test_score"], kind="stable")[:n]
    points = [fitted.cv_results_["params"][i] for i in ranks]
    models = fitted.top_estimators_
    assert [{k: m.get_params()[k] for k in points[0]} for m in models] == points
    for model in models:
        np.testing.assert_array_equal(model.weights_[0], np.full(3, model.n_epochs_))
        assert model.n_features_in_ == 6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_search_again_trains_nothing(search, trainer, windows, tmp_path, strategy):
    def again():
        return search(strategy=strategy, folder=tmp_path, **STRATEGIES[strategy]).fit(*windows)

    first, calls = again(), trainer.calls.copy()
    second = again()

    assert calls == trainer.calls
    pd.testing.assert_frame_equal(table(first), table(second))  # times too
    assert [m.get_params() for m in first.top_estimators_] == [
        m.get_params() for m in second.top_estimators_
    ]


@pytest.mark.parametrize("kill_at", [1, 2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_killed_in_training_goes_on(search, trainer, windows, tmp_path, strategy, kill_at):
    settings = {"strategy": strategy, **STRATEGIES[strategy]}
    whole = search(**settings).fit(*windows)
    calls = trainer.calls.copy()
    trainer.calls.clear()

    fitted, kills = None, 0
    while fitted is None:
        trainer.groups.clear()
        trainer.kill_at = kill_at if kills < 20 else 0
        try:
            fitted = search(folder=tmp_path, **settings).fit(*windows)
        except KeyboardInterrupt:
            kills += 1

    assert kills
    assert trainer.calls == calls
    assert_same(fitted, whole)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_killed_while_writing_goes_on(
    search, trainer, windows, tmp_path, monkeypatch, strategy
):
    settings = {"strategy": strategy, **STRATEGIES[strategy]}
    whole = search(**settings).fit(*windows)
    calls, sync, left = set(trainer.calls), os.fsync, [0]

    def fsync(file):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(100):
        left[0] = 1 + 3 * number % 17
        before = set(tmp_path.glob("*/groups/*.gz"))
        try:
            fitted = search(folder=tmp_path, **settings).fit(*windows)
            break
        except KeyboardInterrupt:
            assert before <= set(tmp_path.glob("*/groups/*.gz"))  # nothing is lost
    else:
        pytest.fail("no end")

    assert number > 3
    assert set(trainer.calls) == calls  # what was trained went on where it was
    assert_same(fitted, whole)


def assert_same(one: Search, other: Search) -> None:
    pd.testing.assert_frame_equal(results(one), results(other))
    pd.testing.assert_frame_equal(one.curves_, other.curves_)
    assert one.best_params_ == other.best_params_
    for a, b in zip(one.top_estimators_, other.top_estimators_, strict=True):
        assert a.get_params() == b.get_params()
        np.testing.assert_array_equal(a.weights_[0], b.weights_[0])


@pytest.mark.parametrize("changed", ["rows", "targets", "split", "estimator", "seed", "scoring"])
def test_what_changes_results_starts_anew(search, trainer, windows, tmp_path, changed):
    X, y = windows
    search(folder=tmp_path).fit(X, y)
    settings = {
        "split": {"cv": Holdout(0.25, gap=1)},
        "estimator": {"estimator": RecurrentRegressor(lookback=3, epochs=20, patience=9)},
        "seed": {"estimator": RecurrentRegressor(lookback=3, epochs=20, random_state=1)},
        "scoring": {"scoring": lambda *_: 1.0},
    }.get(changed, {})
    trainer.groups.clear()

    search(folder=tmp_path, **settings).fit(
        X + (changed == "rows") * (np.arange(40) == 3)[:, None],
        y + (changed == "targets") * (np.arange(40) == 3),
    )

    assert len(trainer.groups) == 27


@pytest.mark.parametrize("changed", ["regressor.py", "groups.py"])
def test_other_code_starts_anew(search, trainer, windows, tmp_path, monkeypatch, changed):
    search(folder=tmp_path).fit(*windows)
    trainer.groups.clear()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == changed))

    search(folder=tmp_path).fit(*windows)

    assert len(trainer.groups) == 27


def test_a_larger_grid_trains_what_is_new(search, trainer, windows, tmp_path):
    grid = {"units": [4], "dropout": [0.0, 0.1], "learning_rate": [1e-1]}
    search(folder=tmp_path, param_grid=grid).fit(*windows)

    search(folder=tmp_path, param_grid=grid | {"units": [4, 8]}).fit(*windows)

    assert len(trainer.calls) == 4
    assert set(trainer.calls.values()) == {1}


@pytest.mark.parametrize("strategy", ["grid", "halving"])
def test_damaged_weights_are_trained_again(search, trainer, windows, tmp_path, strategy):
    settings = {"strategy": strategy, "folder": tmp_path, **STRATEGIES[strategy]}
    first = search(**settings).fit(*windows)
    trainer.groups.clear()
    for path in list(tmp_path.glob("*/weights/*"))[:1]:
        path.write_bytes(path.read_bytes()[:100])

    second = search(**settings).fit(*windows)

    assert len(trainer.groups) == 1
    assert_same(second, first)


def test_a_damaged_group_is_trained_again(search, trainer, windows, tmp_path):
    first = search(folder=tmp_path).fit(*windows)
    trainer.groups.clear()
    path = next(tmp_path.glob("*/groups/*"))
    path.write_bytes(path.read_bytes()[:50])

    assert_same(search(folder=tmp_path).fit(*windows), first)
    assert len(trainer.groups) == 1


def test_halving_goes_on_where_it_was_and_keeps_what_it_needs(search, trainer, windows, tmp_path):
    fitted = search(
        strategy="halving",
        strategy_options={"rungs": [3, 9], "keep": 1 / 3},
        folder=tmp_path,
        top_k=5,
    ).fit(*windows)

    steps = Counter((start, stop) for *_, start, stop in trainer.calls.elements())
    last = fitted.cv_results_["status"][fitted.cv_results_["rung"] == 3]
    assert sum(steps.values()) == 27 + 9 + 3 - list(last).count("stopped")
    assert steps[0, 3] == 27
    assert set(steps) <= {(0, 3), (3, 9), (3, 7), (9, 20)}
    rows = fitted.cv_results_
    assert sorted(Counter(rows["rung"]).values()) == [3, 6, 18]
    assert rows["rung"][fitted.best_index_] == 3
    assert max(rows["rank_test_score"][rows["rung"] == 3]) <= 3
    assert len(fitted.top_estimators_) == 5  # some of them from the rung before
    assert kept(fitted, "states") == []
    assert len(kept(fitted, "weights")) == 5


def test_halving_keeps_states_for_those_that_go_on_only(search, trainer, windows, tmp_path):
    trainer.kill_at = 10  # 9 groups in the first rung
    with pytest.raises(KeyboardInterrupt):
        search(
            strategy="halving", strategy_options={"rungs": [3, 9], "keep": 1 / 3}, folder=tmp_path
        ).fit(*windows)

    assert len(list(tmp_path.glob("*/states/*"))) == 9


def test_lost_states_are_made_again(search, trainer, windows, tmp_path):
    settings = {"strategy": "halving", **STRATEGIES["halving"]}
    whole = search(**settings).fit(*windows)
    trainer.groups.clear()
    trainer.kill_at = 10
    with pytest.raises(KeyboardInterrupt):
        search(folder=tmp_path, **settings).fit(*windows)
    next(tmp_path.glob("*/states/*")).write_bytes(b"half")

    assert_same(search(folder=tmp_path, **settings).fit(*windows), whole)


def test_progress_counts_trials(search, trainer, windows):
    reports = []
    fitted = search(group_size=4, on_progress=lambda *state: reports.append(state)).fit(*windows)

    done, total, best, trials, finished = zip(*reports[1:], strict=True)
    assert reports[0][:2] == (0, 27)
    assert math.isnan(reports[0][2])
    assert set(total) == {27}
    assert done[-1] == 27 == sum(trials)
    assert list(np.diff((0, *done))) == list(trials)
    assert list(best) == sorted(best)
    assert best[-1] == fitted.best_score_
    assert [len(trials) for trials in finished] == list(trials)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_progress_ends_at_the_total(search, trainer, windows, strategy):
    reports = []
    search(
        strategy=strategy, on_progress=lambda *state: reports.append(state), **STRATEGIES[strategy]
    ).fit(*windows)

    assert reports[-1][0] == reports[-1][1]


def test_columns_of_a_frame_keep_their_names(search, trainer, windows):
    X = pd.DataFrame(windows[0], columns=list("abcdef"))

    model = search().fit(X, windows[1]).top_estimators_[0]

    assert list(model.feature_names_in_) == list("abcdef")


def test_any_scorer_ranks(search, trainer, windows):
    def prefers_dropout(model, X, y):
        assert X.shape == (10, 6)
        return model.dropout

    fitted = search(scoring=prefers_dropout).fit(*windows)

    assert fitted.best_params_["dropout"] == 0.2


def test_predefined_split_is_a_holdout(search, trainer, windows):
    split = PredefinedSplit([-1] * 30 + [0] * 10)

    assert_same(search(cv=split).fit(*windows), search(cv=Holdout(0.25)).fit(*windows))


def diverge(monkeypatch, trainer, diverges):
    """Let trials that a rule picks run away in their first epoch."""
    one = trainer._one

    def some_diverge(spec, trial, *rest):
        trained = one(spec, trial, *rest)
        if diverges(trial):
            trained.history = {name: [math.nan] for name in trained.history}
            trained.best_epoch, trained.status, trained.state = 0, "diverged", None
        return trained

    monkeypatch.setattr(trainer, "_one", some_diverge)


def test_a_trial_that_ran_away_is_the_last(search, trainer, windows, monkeypatch):
    diverge(monkeypatch, trainer, lambda trial: trial.dropout == 0.1)
    with pytest.warns(UserWarning, match="non-finite"):
        rows = search().fit(*windows).cv_results_

    diverged = rows["status"] == "diverged"
    assert diverged.sum() == 9
    assert min(rows["rank_test_score"][diverged]) == 19


@pytest.mark.parametrize("strategy", ["grid", "halving"])
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_trial_that_ran_away_is_not_among_the_best(
    search, trainer, windows, tmp_path, monkeypatch, strategy
):
    diverge(monkeypatch, trainer, lambda trial: trial.learning_rate > 1e-3)
    fitted = search(strategy=strategy, top_k="all", folder=tmp_path).fit(*windows)

    rates = [model.learning_rate for model in fitted.top_estimators_]
    assert rates == [1e-3] * 9
    assert len(kept(fitted, "weights")) == 9
    assert fitted.best_params_["learning_rate"] == 1e-3
    ran_away = ~np.isfinite(fitted.cv_results_["mean_test_score"])
    assert min(fitted.cv_results_["rank_test_score"][ran_away]) == 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_all_of_whose_trials_ran_away_says_so(
    search, trainer, windows, monkeypatch, strategy
):
    diverge(monkeypatch, trainer, lambda trial: True)
    with pytest.raises(ValueError, match=r"all \d+ trials diverged.* lower learning_rate may help"):
        search(strategy=strategy, **STRATEGIES[strategy]).fit(*windows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "guess"}, "strategy: unknown 'guess'; known are .*'halving'"),
        ({"strategy": "random"}, "n_trials: expected a whole number of at least 1, got None"),
        ({"strategy": "bayesian", "n_trials": 0}, "n_trials: .* got 0"),
        ({"group_size": 0}, "group_size: .* got 0"),
        ({"strategy_options": {"rungs": [3]}}, r"strategy_options.rungs: .*; grid takes \[\]"),
        ({"strategy": "halving", "strategy_options": {"eta": 3}}, "halving takes .*'rungs'"),
        ({"strategy": "halving", "strategy_options": {"rungs": [9, 3]}}, "rungs must be rising"),
        ({"strategy": "halving", "strategy_options": {"keep": 1.5}}, "keep lie between 0 and 1"),
        ({"top_k": "some"}, "top_k: .* got 'some'"),
        ({"engine": "spark"}, r"engine: unknown 'spark'; known are \['local', 'dask'\]"),
        ({"engine": "dask"}, f"environment variable {ADDRESS}"),
        ({"param_grid": {"unit": [3]}}, "param_grid.unit: no such parameter; allowed .*'units'"),
        ({"param_grid": {"units": []}}, "param_grid.units: expected at least one value"),
        ({"param_grid": {"units": 3}}, "param_grid.units: expected a list of values, got 3"),
        ({"param_grid": {"architecture": "gru"}}, "param_grid.architecture: expected a list"),
        ({"param_grid": {"units": [8, 0]}}, "param_grid.units: 0: .*at least 1"),
        ({"param_grid": {"dropout": [0.1, 1.5]}}, "param_grid.dropout: 1.5: .*0 <= x < 1"),
        ({"param_grid": {"lookback": [5]}}, "param_grid.lookback: 5: .*6 columns"),
        ({"param_grid": {"architecture": ["gru", "grU"]}}, "'grU'.* known.*: .*stacked_gru"),
        ({"param_grid": [{"units": [8]}, {"units": [-8]}]}, "param_grid.units: -8"),
    ],
)
def test_bad_parameters_are_named_before_anything_is_trained(
    search, trainer, windows, monkeypatch, settings, message
):
    monkeypatch.delenv(ADDRESS, raising=False)
    with pytest.raises(ValueError, match=message):
        search(**settings).fit(*windows)
    assert not trainer.groups


def test_the_search_can_be_cloned(search):
    original = search(strategy="random", n_trials=3, top_k="all")

    copy = clone(original)

    assert copy is not original
    assert copy.get_params(deep=False).keys() == original.get_params(deep=False).keys()
    assert (copy.strategy, copy.n_trials, copy.top_k) == ("random", 3, "all")
    assert copy.set_params(estimator__patience=4).estimator.patience == 4
