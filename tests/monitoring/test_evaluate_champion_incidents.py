"""What goes wrong in production, made on purpose: each incident ends in the right action.

Truth is ``2 a + b`` and some noise. Models are functions of the features. Each week the champion
answers, and its truth is joined. The windows are scored and assessed, week after week, and only
where that asks for it the previous model answers the same rows.
"""

from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from ratchet.config import Target
from ratchet.config.production import Drift, Watch
from ratchet.learning.metrics import Resampling, score_regression
from ratchet.monitoring.comparison import compare
from ratchet.monitoring.drift import detect
from ratchet.monitoring.evaluate_champion import Action, assess, decide, rows_under_review
from ratchet.monitoring.performance import latest_answers, score_windows
from ratchet.monitoring.prediction_log import PredictionLog

START = datetime(2024, 1, 1)
ROWS = 140  # a week: 20 a day
WEEKS = 8
BREAKS = 3  # the week in which something happens
SOON = (BREAKS, BREAKS + 1)  # the second bad week; the first where one before was bad by chance
TARGET = Target(
    column="y",
    task="regression",
    candidates={"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
)
WATCH = Watch()


def good(rows):
    return 2 * rows["a"] + rows["b"]


def without_b(rows):
    return 2 * rows["a"]


def weak(rows):
    return 1.4 * rows["a"] + rows["b"]


def world(seed, weeks=WEEKS):
    """Features and truth, a week after the other."""
    rng = np.random.default_rng(seed)
    size = ROWS * weeks
    rows = pd.DataFrame({"a": rng.normal(size=size), "b": rng.normal(size=size)})
    rows["truth"] = 2 * rows["a"] + rows["b"] + rng.normal(scale=0.5, size=size)
    rows["time"] = pd.Timestamp(START) + pd.to_timedelta(np.arange(size) // 20, unit="D")
    return rows.set_index(pd.Index([f"row {i}" for i in range(size)]))


def promotion(model, seed):
    """Score and its interval on the test rows, before anything happens."""
    rows = world(seed + 10_000, weeks=5)
    score = score_regression(rows["truth"], model(rows), resampling=Resampling(0))["rmse"]
    return score["value"], (score["low"], score["high"])


def watched(rows, champion, previous, promoted, inputs=()) -> list[tuple[int, Action]]:
    """What is done in production, and after which week."""
    log = PredictionLog(sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool))
    for week in range(WEEKS):
        now, part = START + timedelta(weeks=week + 1), rows.iloc[ROWS * week : ROWS * (week + 1)]
        answers = pd.DataFrame({"prediction": champion(part), "time": part["time"]})
        log.write("u", "2", {"y": answers}, arm="champion", source="batch", at=now)
        log.join_truth("u", "y", part["truth"], now)
    return acted(rows, log.rows("u", "y", "2"), previous, promoted, inputs)


def acted(rows, logged, previous, promoted, inputs=()) -> list[tuple[int, Action]]:
    """What is done with these answers, and after which week; a rollback is the end."""
    windows = score_windows(logged, TARGET, WATCH, start=START)
    assert len(windows) == WEEKS
    done, asked_at = [], None
    for week in range(WEEKS):
        found = assess(
            windows.iloc[: week + 1],  # windows stay, so these are what was known then
            promoted[0],
            "rmse",
            WATCH,
            since=START,
            last_change=START,
            last_request=asked_at,
            promoted_interval=promoted[1],
        )
        action = decide(
            found, compared(rows, logged, previous, found), min_rows=WATCH.min_rows, inputs=inputs
        )
        if action.action != "none":
            done.append((week, action))
        if action.action == "rollback":
            break
        if action.action == "retrain":
            asked_at = START + timedelta(weeks=week + 1)
    return done


def compared(rows, logged, previous, found):
    """Both models on the rows that the assessment asks for, if it does."""
    if found.action != "compare" or previous is None:
        return None
    asked = rows_under_review(latest_answers(logged), found)
    other = pd.DataFrame({"prediction": previous(rows.loc[asked.index])})
    return compare(asked, other, TARGET, "rmse")


def names(done):
    return [action.action for _, action in done]


def stuck(rows, value):
    """The sensor of ``b`` is stuck from the third week on; the truth is not."""
    broken = rows.copy()
    broken.loc[broken.index[ROWS * BREAKS :], "b"] = value
    return broken


@pytest.mark.parametrize("seed", range(3))
def test_a_new_champion_that_is_worse_is_rolled_back(seed):
    # It looked good on the test rows, as a model does that has seen them.
    done = watched(world(seed), weak, good, promotion(good, seed))

    assert names(done) == ["rollback"]
    week, action = done[0]
    assert week == 1  # the second window: one is not enough
    assert "the previous model has" in action.reason
    assert "% worse" in action.reason


@pytest.mark.parametrize("seed", range(3))
def test_when_the_world_changes_a_retraining_is_asked_for_and_nothing_is_rolled_back(seed):
    rows = world(seed)
    later = rows.index[ROWS * BREAKS :]
    rows.loc[later, "truth"] -= 1.5 * rows.loc[later, "a"]

    done = watched(rows, good, without_b, promotion(good, seed))

    assert set(names(done)) == {"retrain"}
    assert done[0][0] in SOON
    assert len(done) < WEEKS - BREAKS  # and not again every week
    assert "not surely better" in done[-1][1].reason


@pytest.mark.parametrize("seed", range(3))
def test_a_broken_feature_is_left_behind_with_the_model_that_uses_it(seed):
    done = watched(stuck(world(seed), 3.0), good, without_b, promotion(good, seed))

    assert names(done)[-1] == "rollback"
    assert done[-1][0] in SOON
    assert all(week >= BREAKS for week, _ in done)


@pytest.mark.parametrize("seed", range(3))
def test_a_broken_feature_that_both_use_is_named_in_a_request_to_retrain(seed):
    rows = stuck(world(seed), np.nan)
    filled = [lambda part, model=model: model(part.fillna(0.0)) for model in (good, weak)]
    current = rows.loc[rows.index[ROWS * BREAKS :], ["a", "b"]]
    drift = detect(world(seed + 20_000)[["a", "b"]], current, Drift(columns=["a", "b"], chunks=50))
    assert drift.moved == ["b"]

    done = watched(rows, *filled, promotion(good, seed), inputs=drift.reasons)

    assert set(names(done)) == {"retrain"}
    assert done[0][0] in SOON
    assert "inputs moved: b" in done[0][1].reason


@pytest.mark.parametrize("seed", range(3))
def test_without_a_model_to_go_back_to_a_retraining_is_asked_for(seed):
    done = watched(world(seed), weak, None, promotion(good, seed))

    assert set(names(done)) == {"retrain"}
    assert "no previous model" in done[0][1].reason


def with_own_error(column):
    """A model as good as any other of its kind, and wrong in other rows."""
    return lambda rows: good(rows) + rows[column]


def noisy(seed, weeks=WEEKS):
    """Rows on which two equally good models err by themselves."""
    rng = np.random.default_rng(seed)
    return world(seed, weeks).assign(
        **{name: rng.normal(scale=0.3, size=ROWS * weeks) for name in ("one", "other")}
    )


@pytest.mark.slow
def test_plain_noise_is_seldom_taken_for_anything_else():
    # In 200 worlds in which nothing happens, within eight weeks. The previous model is as good as
    # the champion: that is where a rollback by chance is easiest.
    champion, previous, false = with_own_error("one"), with_own_error("other"), Counter()
    for seed in range(200):
        before, rows = noisy(seed + 10_000, weeks=5), noisy(seed)
        score = score_regression(
            before["truth"], champion(before), resampling=Resampling(0, n_bootstrap=200)
        )["rmse"]
        logged = rows[["truth"]].assign(prediction=champion(rows), row_time=rows["time"])
        logged = logged.assign(failed=False, predicted_at=START)
        done = acted(rows, logged, previous, (score["value"], (score["low"], score["high"])))
        false.update(set(names(done)))

    assert false["rollback"] <= 10  # 7 when this was written: 3.5 %
    assert false["retrain"] <= 10  # likewise
