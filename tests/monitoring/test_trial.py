"""A challenger beside the champion, by rows of a prediction log."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ratchet.commands.release import _describe_trial
from ratchet.config import Target
from ratchet.errors import DataError
from ratchet.monitoring import trial as trials

TWO = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}
RATING = Target(column="rating", task="regression", candidates=TWO)
SUCCESS = Target(column="success", task="classification", classes=["yes", "no"], candidates=TWO)


def compare_arms(champion, challenger, target, **options):
    return trials.compare_arms(
        champion, challenger, target, name="y", versions=("1", "2"), **options
    )


START = pd.Timestamp(2026, 1, 1)
DAYS, PER_DAY = 40, 20


def logged(error: float, *, seed: int, every: int = 1, latency: float = 3.0) -> pd.DataFrame:
    """Rows of a log: numbers whose answers are wrong by about so much, 20 on each of 40 days."""
    truth = np.random.default_rng(0).normal(5, 2, DAYS * PER_DAY)
    noise = np.random.default_rng(seed).normal(0, error, len(truth))
    at = START + pd.to_timedelta(np.arange(len(truth)) // PER_DAY, unit="D") + timedelta(hours=9)
    frame = pd.DataFrame(
        {
            **{"truth": truth, "prediction": truth + noise, "failed": False, "latency_ms": latency},
            **{"predicted_at": at, "row_time": pd.NaT, "subject": None},
            "request": [f"request {i}" for i in range(len(truth))],
        },
        index=[f"row {i}" for i in range(len(truth))],
    )
    return frame.iloc[every - 1 :: every]


def test_a_better_shadow_is_told_from_the_champion_and_an_equal_one_is_not():
    champion, options = logged(1.0, seed=1), {"metric": "rmse", "kind": "shadow"}

    better = compare_arms(champion, logged(0.7, seed=2), RATING, **options)
    equal = compare_arms(champion, logged(1.0, seed=3), RATING, **options)
    worse = compare_arms(champion, logged(1.4, seed=4), RATING, **options)

    assert [each.verdict for each in (better, equal, worse)] == ["better", "undecided", "worse"]
    assert better.rows == (800, 800)
    assert better.loss.gain == pytest.approx(1 - 0.49, abs=0.1)
    assert 10 <= (better.loss.decided_after or 0) <= better.loss.days == DAYS


def test_a_path_and_a_forecast_of_one_step_are_compared_by_the_rows_that_both_answer():
    champion, path = logged(1.0, seed=1), logged(0.7, seed=2).assign(step=3.0)
    options = {"metric": "rmse", "kind": "shadow"}

    mixed = compare_arms(champion, path, RATING, **options)
    paths = compare_arms(champion.assign(step=2.0), path, RATING, **options)

    assert mixed.rows == (800, 800)
    assert paths.rows == (0, 0)  # no row was answered at the same step


def test_only_rows_that_both_have_answered_since_the_trial_began_count():
    champion, shadow = logged(1.0, seed=1), logged(0.7, seed=2, every=2)
    shadow = shadow[shadow["predicted_at"] >= START + timedelta(days=20)]

    trial = compare_arms(champion, shadow, RATING, metric="mae", kind="shadow")

    assert trial.rows == (200, 200)
    assert trial.loss.days == 20


def test_few_days_decide_nothing():
    shadow = logged(0.1, seed=2)
    shadow = shadow[shadow["predicted_at"] < START + timedelta(days=9)]

    trial = compare_arms(logged(1.0, seed=1), shadow, RATING, metric="rmse", kind="shadow")

    assert (trial.loss.days, trial.loss.low, trial.verdict) == (9, None, "undecided")


def test_without_answers_nothing_is_said():
    trial = compare_arms(
        logged(1.0, seed=1), logged(1.0, seed=2)[:0], RATING, metric="rmse", kind="shadow"
    )

    assert (trial.rows, trial.verdict, trial.loss.days) == ((0, 0), "undecided", 0)
    said = trial.to_json()
    assert (said["loss"]["champion"], said["loss"]["days"]) == (None, 0)
    json.dumps(said, allow_nan=False)
    assert "nan" not in " ".join(_describe_trial(trial))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["shadow", "split"])
def test_answers_that_are_no_numbers_leave_the_others_to_decide(value, kind):
    champion, challenger = logged(1.0, seed=1), logged(0.7, seed=2)
    champion.loc["row 3", "prediction"] = challenger.loc["row 30", "prediction"] = value

    trial = compare_arms(champion, challenger, RATING, metric="rmse", kind=kind)

    assert trial.rows == ((798, 798) if kind == "shadow" else (799, 799))
    assert trial.loss.verdict == "better"


def test_a_split_compares_other_rows_and_finds_a_broken_assignment():
    champion, half = logged(1.0, seed=1), logged(0.5, seed=2, every=2)
    rest = champion.drop(half.index)

    fair = compare_arms(rest, half, RATING, metric="rmse", kind="split")
    broken = compare_arms(rest, half, RATING, metric="rmse", kind="split", share=0.1)

    assert fair.verdict == "better"
    assert fair.rows == (400, 400)
    assert fair.sample_ratio is not None
    assert (fair.sample_ratio.p_value, fair.sample_ratio.subjects) == (1, (400, 400))
    assert broken.sample_ratio is not None
    assert broken.sample_ratio.p_value < 1e-6
    assert broken.loss.verdict == "better"
    assert (broken.verdict, broken.is_over) == ("undecided", True)
    assert "the assignment is broken" in "\n".join(_describe_trial(broken))


def with_subjects(rows: pd.DataFrame, n_subjects: int, arm: str) -> pd.DataFrame:
    """The same rows, asked for by so few subjects again and again."""
    return rows.assign(subject=[f"{arm} {i % n_subjects}" for i in range(len(rows))])


def test_a_fair_split_in_which_few_subjects_ask_often_is_not_called_broken():
    rows = logged(1.0, seed=1)
    champion, challenger = rows.iloc[::10], rows.drop(rows.index[::10])
    options = {"metric": "rmse", "kind": "split"}

    by_answers = compare_arms(champion, challenger, RATING, **options)
    by_subjects = compare_arms(
        with_subjects(champion, 10, "a"), with_subjects(challenger, 11, "b"), RATING, **options
    )

    assert by_answers.sample_ratio is not None
    assert by_answers.sample_ratio.is_broken
    assert by_subjects.sample_ratio is not None
    assert by_subjects.sample_ratio.subjects == (10, 11)
    assert not by_subjects.sample_ratio.is_broken


def test_a_broken_assignment_is_found_however_seldom_the_missing_subjects_ask():
    rows = logged(1.0, seed=1)
    champion, challenger = (
        with_subjects(rows.iloc[::2], 400, "a"),
        with_subjects(rows.iloc[1::2], 40, "b"),
    )

    trial = compare_arms(champion, challenger, RATING, metric="rmse", kind="split")

    assert trial.sample_ratio is not None
    assert trial.sample_ratio.subjects == (400, 40)
    assert trial.sample_ratio.is_broken


def in_arms(champion: pd.DataFrame, challenger: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Rows of a log in which version 2 stands beside version 1."""
    arms = [(champion, "1", "champion"), (challenger, "2", arm)]
    return pd.concat(
        [rows.assign(version=version, arm=name) for rows, version, name in arms]
    ).sort_values("predicted_at")


def test_of_a_split_whose_share_was_changed_the_answers_since_then_count():
    rows = logged(1.0, seed=1).assign(split_share=0.2)
    rows.loc[rows["predicted_at"] >= START + timedelta(days=15), "split_share"] = 0.5
    batch = logged(1.0, seed=1).assign(split_share=np.nan, request="")
    log = in_arms(pd.concat([rows.iloc[::2], batch]), rows.iloc[1::2], "challenger")

    trial = trials.find_trial(log, "1", RATING, "rmse", name="y")

    assert trial is not None
    assert trial.sample_ratio is not None
    assert (trial.sample_ratio.share, trial.sample_ratio.subjects) == (0.5, (250, 250))
    assert trial.days == 25


def test_without_a_challenger_there_is_no_trial():
    log = in_arms(logged(1.0, seed=1), logged(1.0, seed=2)[:0], "shadow")

    assert trials.find_trial(log, "1", RATING, "rmse", name="y") is None


def test_answers_beside_an_earlier_champion_do_not_count():
    rows = logged(1.0, seed=1).assign(split_share=0.5)
    late = rows["predicted_at"] >= START + timedelta(days=20)
    log = in_arms(rows[late].iloc[::2], rows[~late | (np.arange(len(rows)) % 2 == 1)], "challenger")

    trial = trials.find_trial(log, "1", RATING, "rmse", name="y")

    assert trial is not None
    assert trial.sample_ratio is not None
    assert trial.sample_ratio.subjects == (200, 200)


def test_what_is_decided_at_the_planned_end_is_not_forgotten_after_it():
    champion, shadow = logged(1.0, seed=1), logged(0.5, seed=2)

    trial = compare_arms(champion, shadow, RATING, metric="rmse", kind="shadow", planned=30)

    assert (trial.loss.days, trial.verdict, trial.is_over) == (30, "better", True)


def test_a_trial_without_truth_ends_too():
    champion, shadow = (logged(1.0, seed=seed).assign(truth=np.nan) for seed in (1, 2))

    trial = compare_arms(champion, shadow, RATING, metric="rmse", kind="shadow", planned=20)

    assert (trial.loss.days, trial.days, trial.is_over) == (0, 40, True)


@pytest.mark.parametrize(("latency", "verdict"), [(3.5, "better"), (8.0, "undecided")])
def test_a_better_challenger_that_is_much_slower_is_not_called_better(latency, verdict):
    champion, shadow = logged(1.0, seed=1), logged(0.5, seed=2, latency=latency)

    trial = compare_arms(champion, shadow, RATING, metric="rmse", kind="shadow")

    assert trial.loss.verdict == "better"
    assert trial.verdict == verdict


def classes(sure: float, seed: int) -> pd.DataFrame:
    """Answers that give the true class about so much."""
    rows = logged(1.0, seed=seed)
    truth = np.where(rows["truth"] > 5, "yes", "no")
    odds = np.clip(np.random.default_rng(seed).normal(sure, 0.1, len(rows)), 0.05, 0.95)
    yes = np.where(truth == "yes", odds, 1 - odds)
    return rows.assign(
        truth=truth,
        prediction=np.where(yes > 0.5, "yes", "no"),
        probability_yes=yes,
        probability_no=1 - yes,
    )


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "f1_macro"])
def test_classes_are_compared_by_their_probabilities_or_by_hits(metric):
    trial = compare_arms(classes(0.55, 1), classes(0.75, 2), SUCCESS, metric=metric, kind="shadow")

    assert trial.verdict == "better"


def test_a_truth_that_is_no_class_is_named():
    rows = classes(0.6, 1)
    rows.loc["row 3", "truth"] = "maybe"

    with pytest.raises(DataError, match="logged truth of 'success': 'maybe' is none of"):
        compare_arms(rows, rows, SUCCESS, metric="log_loss", kind="shadow")
