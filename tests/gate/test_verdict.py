"""The gate: every condition by itself, what closes it, and what a verdict tells."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.config import Release, Target
from ratchet.gate.comparisons import power_numbers
from ratchet.gate.conditions import GateCase
from ratchet.gate.evidence import corrected_confidence, earlier_challengers
from ratchet.gate.verdict import Evidence, PairedRows, Verdict, hash_keys, judge, smallest_gain
from ratchet.learning.metrics import (
    Resampling,
    bootstrap_means,
    bounds,
    paired_gain,
    resampling_units,
)
from ratchet.production.gate_evidence import EvidenceCollector

N = 120
CLASSES = ["Alto", "Bajo", "Medio"]
CONDITIONS = ["soundness", "rows", "gain", "proof", "floors", "naive", "slices", "targets"]
CONDITIONS += ["latency", "size"]
CANDIDATES = {name: {"estimator": name} for name in ("dummy", "ridge")}
TARGETS = {
    "classification": Target(
        column="success", task="classification", classes=CLASSES, candidates=CANDIDATES
    ),
    "regression": Target(column="rating", task="regression", candidates=CANDIDATES),
    "forecasting": Target(column="load", task="forecasting", candidates=CANDIDATES),
}


def frame(task, error, n=N):
    """Tidy rows whose errors grow with ``error``, alike for every model."""
    rng = np.random.default_rng([n, len(task)])
    keys = pd.Index([f"row {place}" for place in range(n)])
    if task == "classification":
        codes = rng.integers(3, size=n)
        own = rng.uniform(0.8, 1, n) ** (4 * error)
        values = np.where(np.arange(3) == codes[:, None], own[:, None], (1 - own[:, None]) / 2)
        rows = pd.DataFrame(values, columns=[f"probability_{c}" for c in CLASSES], index=keys)
        rows.insert(0, "truth", np.asarray(CLASSES)[codes])
        rows.insert(1, "prediction", np.asarray(CLASSES)[values.argmax(axis=1)])
        return rows
    truth, noise = rng.normal(10, 3, n), rng.normal(size=n)
    rows = pd.DataFrame({"truth": truth, "prediction": truth + error * noise}, index=keys)
    rows["low"], rows["high"] = rows["prediction"] - 1, rows["prediction"] + 1
    if task == "forecasting":
        times = pd.date_range("2026-01-01", periods=n // 2, freq="h").repeat(2)
        rows = rows.assign(series="one", time=times, scale=1.0, rms=1.2)
    return rows


def rows_of(task, challenger=0.8, champion=1.0, naive=2.0, slices=None, n=N):
    made = (None if error is None else frame(task, error, n) for error in (champion, naive))
    classes = CLASSES if task == "classification" else None
    return PairedRows(task, classes, frame(task, challenger, n), *made, slices or {})


def evidence(rows, **options):
    named = rows if isinstance(rows, dict) else {"y": rows}
    made = {
        "soundness": {"bundle": None, "rollback target": None},
        "latency_ms": 12.0,
        "size_mb": 3.0,
        "last_seen": pd.Timestamp("2025-12-31 23:00"),
    }
    if "keys_hash" not in options:
        made["keys_hash"] = hash_keys(named)
    return Evidence(named, **(made | options))


def decide(rows, release=None, targets=None, **options):
    found = rows if isinstance(rows, Evidence) else evidence(rows, **options)
    if targets is None:
        targets = {name: TARGETS[part.task] for name, part in found.rows.items()}
    return judge(found, release or Release(), targets, seed=1, n_bootstrap=200)


def condition(verdict, name):
    return next(one for one in verdict.conditions if one.name == name)


def missed(verdict):
    return [one.name for one in verdict.conditions if one.passed is False]


# What is promoted, and what a verdict tells.


@pytest.mark.parametrize("task", TARGETS)
def test_a_better_challenger_takes_over(task):
    verdict = decide(rows_of(task))
    assert verdict.decision == "PROMOTE"
    assert [one.name for one in verdict.conditions] == CONDITIONS
    assert all(one.passed is True for one in verdict.conditions)
    assert verdict.numbers["champion"]["value"] > verdict.numbers["challenger"]["value"]
    assert verdict.numbers["gain"]["low"] > 0
    assert verdict.numbers["rows"] == {"y": N}
    assert verdict.reason.startswith("Takes over: 120 new rows; ")
    assert "of the champion" in verdict.reason
    assert "% better with 95 % confidence" in verdict.reason
    assert verdict.numbers["drawn"]["by"] == ("time" if task == "forecasting" else "row")


def test_the_reason_holds_the_numbers():
    verdict = decide(rows_of("regression"))
    score = verdict.numbers["champion"]["value"]
    gain = condition(verdict, "gain").reason
    assert gain == (
        f"rmse of y {0.8 * score:.4g} against {score:.4g} of the champion, 20 % better, "
        "more than 2 % better is asked"
    )
    assert verdict.numbers["gain"] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})


def test_a_worse_challenger_is_refused():
    verdict = decide(rows_of("regression", challenger=1.2))
    assert verdict.decision == "REJECT"
    assert missed(verdict) == ["gain", "proof"]
    assert verdict.reason.startswith("Refused: rmse of y")
    assert "20 % worse" in verdict.reason


@pytest.mark.parametrize("task", TARGETS)
def test_an_equal_challenger_waits(task):
    verdict = decide(rows_of(task, challenger=1.0))
    assert verdict.decision == "HOLD"
    assert missed(verdict) == ["gain", "proof"]
    assert verdict.reason.startswith("Held back: ")
    assert verdict.reason.endswith("these rows could have shown a gain above 2 %.")


def test_a_gain_that_may_be_chance_waits():
    rng = np.random.default_rng(0)
    own, other = rng.standard_t(5, (2, N))
    rows = rows_of("regression")
    truth = rows.challenger["truth"]
    champion = rows.champion.assign(prediction=truth + own)
    challenger = rows.champion.assign(prediction=truth + 0.9 * (0.5 * own + 0.9 * other))
    verdict = decide(replace(rows, champion=champion, challenger=challenger, naive=None))
    gain = verdict.numbers["gain"]
    assert gain["value"] > 0.02
    assert gain["low"] < 0
    assert verdict.decision == "HOLD"
    assert missed(verdict) == ["proof"]
    assert verdict.numbers["smallest_gain"] > gain["value"]
    assert "these rows could have shown a gain above" in verdict.reason


def test_a_verdict_says_how_likely_a_gain_of_ten_percent_was_to_be_shown():
    rng = np.random.default_rng(2)
    rows = rows_of("forecasting")
    others = {
        name: rows.champion.assign(prediction=rows.champion["truth"] + rng.normal(size=N))
        for name in ("challenger", "champion", "naive")
    }
    waits = decide(replace(rows, **others))
    first = decide(replace(rows, **{**others, "champion": None}))

    for verdict, other, name in (
        (waits, "champion", "proof"),
        (first, "naive forecast", "naive"),
    ):
        assert verdict.decision == "HOLD"
        power = verdict.numbers["power"]
        assert 0.05 < power["probability"] < 0.9
        told = f"truly 10 % better than the {other} passes with probability"
        assert f"{told} {power['probability']:.2f}" in verdict.reason
        numbers = condition(verdict, name).numbers
        drawn = numbers.get("y", numbers)["drawn"]
        assert power["blocks"] == pytest.approx(drawn["number"] / drawn["block"], abs=0.05)
    assert "passes with" not in decide(rows).reason


def simulated_verdicts(gain, release, n=150, repetitions=60, champion=1.0, naive=None, earlier=0.0):
    """Verdicts on challengers of a true gain over a champion of independent rows, and their power.

    Returns:
        The decisions, and the claimed probabilities.
    """
    rng, keys = np.random.default_rng([n, int(1000 * gain)]), pd.RangeIndex(n)
    decisions, powers = [], []
    for _ in range(repetitions):
        own, other = rng.standard_t(8, (2, n))
        errors = [(1 - gain) * champion * (0.8 * own + 0.6 * other), champion * own]
        errors += [naive * (0.8 * own + 0.6 * rng.standard_t(8, n))] if naive else []
        frames = [pd.DataFrame({"truth": 0.0, "prediction": e}, index=keys) for e in errors]
        rows = PairedRows("regression", None, *frames, *([] if naive else [None]), {})
        case = GateCase(
            evidence(rows, earlier=earlier),
            release,
            {"y": TARGETS["regression"]},
            Resampling(1, 200, release.confidence),
        )
        powers.append(power_numbers(case, gain)["probability"])
        decisions.append(decide(case.evidence, release).decision == "PROMOTE")
    return np.array(decisions), np.array(powers)


@pytest.mark.parametrize(
    ("gain", "release", "rows"),
    [
        (0.1, {}, {}),
        (0.2, {"confidence": 0.99}, {}),
        (0.2, {}, {"earlier": 3.0}),
        (0.1, {"min_gain": 0.12}, {"n": 400}),
        (0.3, {"min_gain": 0.2}, {}),
        (0.1, {"min_gain": 0.0}, {"naive": 1.0, "n": 400}),
        (0.25, {}, {"naive": 0.85}),  # the naive forecast is better than the champion
    ],
)
def test_the_power_is_the_share_of_challengers_that_the_gate_promotes(gain, release, rows):
    promoted, powers = simulated_verdicts(gain, Release(**release), **rows)

    assert powers.mean() == pytest.approx(promoted.mean(), abs=0.15)  # 2.3 errors of a share


def test_the_power_of_a_gain_that_is_not_enough_says_so():
    rows = rows_of("regression", challenger=0.999)
    noise, truth = np.random.default_rng(0).normal(size=N), rows.champion["truth"]
    rows = replace(
        rows,
        champion=rows.champion.assign(prediction=truth + noise),
        challenger=rows.champion.assign(prediction=truth + noise[::-1]),
    )
    verdict = decide(rows, Release(min_gain=0.15))

    assert verdict.numbers["power"]["probability"] < 0.5
    assert verdict.numbers["power"]["min_gain"] == 0.15
    assert "passes with probability 0." in verdict.reason
    assert "as more than 15 % better is asked" in verdict.reason


def accuracy_rows(champion, challenger, n=1000):
    """Rows of which so many are right, the same ones for both as far as they go."""
    frames = []
    for right in (challenger, champion):
        hit = np.where(np.arange(n) < right, 0.9, 0.04)
        values = {"Alto": hit, "Bajo": (1 - hit) / 2, "Medio": (1 - hit) / 2}
        made = pd.DataFrame({f"probability_{c}": p for c, p in values.items()})
        label = np.where(hit > 0.5, "Alto", "Bajo")
        frames.append(made.assign(truth="Alto", prediction=label).set_axis(range(n)))
    return PairedRows("classification", CLASSES, *frames, None, {})


@pytest.mark.parametrize(
    ("challenger", "passed"), [(800, False), (816, False), (817, True), (900, True)]
)
def test_exactly_the_gain_that_is_asked_is_not_more(challenger, passed):
    verdict = decide(accuracy_rows(800, challenger), Release(metric="accuracy"))
    assert condition(verdict, "gain").passed is passed
    assert verdict.decision == ("PROMOTE" if passed else "HOLD")


def test_errors_smaller_by_exactly_the_gain_are_not_enough():
    assert (1 - 0.98) / 1 > 0.02  # by rounding alone
    assert decide(rows_of("regression", challenger=0.98)).decision == "HOLD"
    assert decide(rows_of("regression", challenger=0.979)).decision == "PROMOTE"
    nothing_asked = Release(min_gain=0)
    assert decide(rows_of("regression", challenger=0.98), nothing_asked).decision == "PROMOTE"
    assert decide(rows_of("regression", challenger=1.0), nothing_asked).decision == "HOLD"


def test_metrics_of_a_class_and_those_that_grow_can_decide():
    rows = accuracy_rows(800, 900)
    for metric in ("accuracy", "recall_Alto", "f1_Alto", "log_loss", "brier"):
        verdict = decide(rows, Release(metric=metric))
        assert verdict.decision == "PROMOTE", metric
        assert verdict.numbers["metric"] == metric
        assert decide(accuracy_rows(900, 800), Release(metric=metric)).decision == "REJECT"


def test_series_report_the_test_of_diebold_and_mariano():
    rows = rows_of("forecasting")
    champion = rows.champion.assign(
        prediction=lambda f: f["prediction"] + np.random.default_rng(0).normal(0, 0.3, N)
    )
    verdict = decide(replace(rows, champion=champion, horizon=3))
    test = verdict.numbers["diebold_mariano"]
    assert test["statistic"] > 2
    assert test["p_value"] < 0.05
    assert (test["times"], test["horizon"]) == (N // 2, 3)
    assert verdict.numbers["block"] > 1
    assert "diebold_mariano" not in decide(rows_of("regression")).numbers


def test_a_test_that_cannot_be_computed_decides_nothing():
    rows = rows_of("forecasting")
    errors = rows.champion["truth"] + 0.5
    constant = replace(
        rows,
        champion=rows.champion.assign(prediction=errors + 0.5),
        challenger=rows.challenger.assign(prediction=errors),
    )
    verdict = decide(constant)
    assert verdict.decision == "PROMOTE"
    assert "differ by the same" in verdict.numbers["diebold_mariano"]["not_computed"]


def test_the_same_seed_gives_the_same_verdict():
    rows = rows_of("forecasting")
    assert decide(rows) == decide(rows)


def every_verdict():
    yield decide(rows_of("classification"))
    yield decide(rows_of("forecasting", challenger=1.5))
    yield decide(rows_of("regression", champion=None))
    yield decide(rows_of("regression", n=10))
    yield decide(evidence({}, soundness={"bundle": "broken"}, latency_ms=math.nan))
    yield decide(rows_of("regression", challenger=0.0, champion=0.0))
    yield decide(rows_of("regression"), Release(max_size_mb=math.inf))


def test_verdicts_survive_json():
    for verdict in every_verdict():
        text = json.dumps(verdict.to_json(), allow_nan=False)
        assert Verdict.from_json(json.loads(text)) == verdict
        assert [one.name for one in verdict.conditions] == CONDITIONS
        assert all(one.reason for one in verdict.conditions)
        assert "smallest_gain" in verdict.numbers
        assert "\n" not in verdict.reason


# Conditions one by one.


@pytest.mark.parametrize(
    ("soundness", "decision", "told"),
    [
        ({"golden": "row 3 answers 4, expected 5"}, "REJECT", "golden: row 3 answers 4"),
        (
            {"bundle": None, "rollback target": "no such folder"},
            "HOLD",
            "rollback target: no such folder",
        ),
        ({"bundle": None, "coverage": "9 of 10 rows"}, "HOLD", "coverage: 9 of 10 rows"),
        ({"bundle": "cut off", "rollback target": "no such folder"}, "REJECT", "bundle: cut off"),
        ({"bundle": ""}, "REJECT", "bundle: without a reason"),
        ({"bundle": math.nan}, "REJECT", "bundle: nan"),
        ({}, "HOLD", "no check of data and bundle was made"),
        (None, "HOLD", "no check of data and bundle was made"),
    ],
)
def test_soundness(soundness, decision, told):
    verdict = decide(rows_of("regression"), soundness=soundness)
    assert verdict.decision == decision
    assert missed(verdict) == ["soundness"]
    assert told in verdict.reason
    assert condition(verdict, "gain").passed is None
    assert condition(verdict, "gain").reason.startswith("not looked at: ")
    assert condition(verdict, "size").passed is True


@pytest.mark.parametrize(
    ("n", "told"), [(0, "no new rows"), (49, "49 new rows, at least 50 are needed")]
)
def test_too_few_rows_wait_whatever_they_say(n, told):
    targets = {"y": with_floor("rmse", 0.001)}
    for challenger in (0.1, 9.0):
        verdict = decide(rows_of("regression", challenger=challenger, n=n), targets=targets)
        assert verdict.decision == "HOLD"
        assert missed(verdict) == ["rows"]
        assert condition(verdict, "floors").reason == f"not looked at: {told}"
        assert told in verdict.reason
    assert (verdict.numbers["smallest_gain"] is None) == (n == 0)


def with_floor(metric, floor, task="regression"):
    objectives = {metric: {"aim": floor, "production": floor}, "mae": {"aim": 0.0}}
    return TARGETS[task].model_copy(
        update={
            "objectives": Target.model_validate(
                {"column": "y", "task": task, "candidates": CANDIDATES, "objectives": objectives}
            ).objectives
        }
    )


def test_floors():
    score = decide(rows_of("regression")).numbers["challenger"]["value"]
    for metric, floor, decision in [
        ("rmse", score * 1.01, "PROMOTE"),
        ("rmse", score, "PROMOTE"),
        ("rmse", score * 0.99, "REJECT"),
        ("r2", 0.5, "PROMOTE"),
        ("r2", 0.999, "REJECT"),
        ("r2", math.nan, "HOLD"),
        ("accuracy", 0.5, "HOLD"),
    ]:
        verdict = decide(rows_of("regression"), targets={"y": with_floor(metric, floor)})
        assert verdict.decision == decision, (metric, floor)
        assert missed(verdict) == ([] if decision == "PROMOTE" else ["floors"])
    assert "no floor is set" in condition(decide(rows_of("regression")), "floors").reason


def test_floors_hold_for_every_target_and_for_the_first_model():
    targets = {"y": TARGETS["classification"], "z": with_floor("r2", 0.999)}
    for champion in (1.0, None):
        rows = {"y": rows_of("classification", champion=champion)}
        rows["z"] = rows_of("regression", champion=champion)
        verdict = decide(rows, targets=targets)
        assert verdict.decision == "REJECT"
        assert "r2 of z is" in verdict.reason


@pytest.mark.parametrize("champion", [None, 5.0])
@pytest.mark.parametrize("task", TARGETS)
def test_the_naive_forecast_has_to_be_beaten(task, champion):
    for naive, decision in [(2.0, "PROMOTE"), (0.8, "HOLD"), (0.6, "REJECT"), (None, "PROMOTE")]:
        verdict = decide(rows_of(task, champion=champion, naive=naive))
        assert verdict.decision == decision, naive
        assert missed(verdict) == ([] if decision == "PROMOTE" else ["naive"])


def test_the_first_model_needs_no_champion():
    verdict = decide(rows_of("regression", champion=None))
    assert verdict.decision == "PROMOTE"
    assert verdict.reason.startswith("Takes over as the first model: 120 new rows; ")
    skipped = [one.name for one in verdict.conditions if one.passed is None]
    assert skipped == ["gain", "proof", "slices", "targets"]
    assert condition(verdict, "gain").reason == "not looked at: there is no champion yet"
    assert decide(rows_of("regression", champion=None), size_mb=501.0).decision == "HOLD"
    assert decide(rows_of("regression", champion=None, n=20)).decision == "HOLD"


def test_a_champion_of_one_target_only_is_none():
    rows = {"y": rows_of("regression"), "z": rows_of("regression", champion=None)}
    verdict = decide(rows)
    assert verdict.decision == "HOLD"
    assert "z: there are no predictions of the champion" in verdict.reason


def sliced(**masks):
    """A challenger twice as good, but worse by the given factor in some rows."""
    rows = rows_of("regression", challenger=0.5, n=400)
    truth, error = rows.champion["truth"], rows.champion["prediction"] - rows.champion["truth"]
    factor, slices = np.full(400, 0.5), {}
    for place, (name, (size, worse)) in enumerate(masks.items()):
        mask = np.zeros(400, dtype=bool)
        mask[place * 50 : place * 50 + size] = True
        factor[mask], slices[name] = worse, mask
    noise = np.random.default_rng(5).normal(0, 0.1, 400)
    prediction = truth + factor * error + noise
    return replace(rows, challenger=rows.challenger.assign(prediction=prediction), slices=slices)


def test_slices():
    release = Release.model_validate({"slices": {"columns": ["genre"]}})
    for masks, decision in [
        ({"drama": (50, 0.5)}, "PROMOTE"),
        ({"drama": (50, 1.05)}, "PROMOTE"),  # worse, but by less than the allowance of 10 %
        ({"drama": (50, 1.5)}, "HOLD"),
        ({"drama": (29, 1.5)}, "PROMOTE"),  # fewer rows than a slice needs
        ({"comedy": (50, 0.5), "drama": (50, 1.5)}, "HOLD"),
    ]:
        verdict = decide(sliced(**masks), release)
        assert verdict.decision == decision, masks
        if decision == "HOLD":
            assert missed(verdict) == ["slices"]
            assert "drama: rmse of y" in verdict.reason
            assert "comedy" not in verdict.reason
    told = condition(decide(sliced(small=(5, 1.5), drama=(50, 0.5)), release), "slices")
    assert told.numbers["too_small"] == ["y: small"]
    assert told.numbers["y: drama"]["rows"] == 50


def test_slices_are_corrected_for_their_number():
    rng = np.random.default_rng(6)
    rows = rows_of("regression", n=400)
    truth = rows.champion["truth"]
    own, other = rng.normal(size=(2, 400))
    size = np.where(np.arange(400) < 50, 1.5, 0.6)
    rows = replace(
        rows,
        champion=rows.champion.assign(prediction=truth + own),
        challenger=rows.challenger.assign(prediction=truth + size * (0.6 * own + 0.8 * other)),
        naive=None,
    )
    part, rest = np.arange(400) < 50, np.arange(400) >= 50
    few = decide(replace(rows, slices={"drama": part}))
    many = {f"rest {number}": rest for number in range(80)}
    all_of_them = decide(replace(rows, slices={"drama": part, **many}))
    found = condition(few, "slices").numbers["y: drama"]["gain"]
    assert found["value"] < -0.10
    assert condition(few, "slices").passed is False
    assert condition(all_of_them, "slices").passed is True


def test_slices_that_are_asked_for_and_missing():
    release = Release.model_validate({"slices": {"columns": ["genre"]}})
    verdict = decide(rows_of("regression"), release)
    assert verdict.decision == "HOLD"
    assert "there are no slices of genre" in verdict.reason


def test_a_slice_of_a_single_moment_says_nothing():
    rows = rows_of("forecasting")
    moment = (rows.challenger["time"] == rows.challenger["time"].iloc[0]).to_numpy()
    release = Release.model_validate({"slices": {"min_rows": 1}})
    verdict = decide(replace(rows, slices={"first": moment}), release)
    assert verdict.decision == "PROMOTE"
    assert condition(verdict, "slices").numbers["too_small"] == ["y: first"]


def test_a_champion_without_error_in_a_slice_is_no_excuse():
    rows = rows_of("regression", challenger=0.5, n=400)
    part = np.arange(400) < 50
    perfect = rows.champion["prediction"].where(~part, rows.champion["truth"])
    rows = replace(rows, champion=rows.champion.assign(prediction=perfect), slices={"easy": part})
    verdict = decide(rows)
    assert verdict.decision == "HOLD"
    assert missed(verdict) == ["slices"]


def test_other_targets_have_an_allowance():
    for error, decision in [(0.9, "PROMOTE"), (1.04, "PROMOTE"), (1.05, "PROMOTE"), (1.06, "HOLD")]:
        rows = {"y": rows_of("classification"), "z": rows_of("regression", challenger=error)}
        verdict = decide(rows)
        assert verdict.decision == decision, error
        assert missed(verdict) == ([] if decision == "PROMOTE" else ["targets"])


def test_a_target_whose_truth_is_still_to_come_holds_back_and_is_named():
    late = rows_of("regression", n=0)

    verdict = decide({"y": rows_of("classification"), "z": late})

    assert (verdict.decision, missed(verdict)) == ("HOLD", ["rows"])
    assert "none of the new rows has the truth of z yet" in verdict.reason


def test_a_named_target_decides():
    rows = {"y": rows_of("classification", challenger=1.0), "z": rows_of("regression")}
    assert decide(rows).decision == "HOLD"
    verdict = decide(rows, Release(target="z", metric="mae"))
    assert verdict.decision == "PROMOTE"
    assert "mae of z" in verdict.reason


@pytest.mark.parametrize("name", ["latency", "size"])
def test_time_and_size_are_bounded(name):
    field, most = {"latency": ("latency_ms", 100.0), "size": ("size_mb", 500.0)}[name]
    assert decide(rows_of("regression"), **{field: most}).decision == "PROMOTE"
    verdict = decide(rows_of("regression"), **{field: most * 1.1})
    assert verdict.decision == "HOLD"
    assert missed(verdict) == [name]
    assert f"at most {most:g}" in verdict.reason


def test_rows_that_a_model_has_seen_are_not_fresh():
    for last_seen in ("2026-01-01", pd.Timestamp("2026-01-01 00:00"), "2026-01-02"):
        verdict = decide(rows_of("forecasting"), last_seen=last_seen)
        assert verdict.decision == "HOLD"
        assert "the models have seen rows to 2026-01-0" in verdict.reason
    assert decide(rows_of("regression"), last_seen=None).decision == "PROMOTE"


# Fails closed.

NOTHINGS = [None, math.nan, math.inf, -math.inf, 0, -1.0, "", "fast", [], pd.NaT]


@given(
    st.sampled_from([*TARGETS]),
    st.sampled_from(["soundness", "latency_ms", "size_mb", "keys_hash", "rows"]),
    st.sampled_from(NOTHINGS),
)
@settings(max_examples=40, deadline=None)
def test_evidence_that_is_missing_is_no_promotion(task, field, nothing):
    if field == "keys_hash" and nothing == "fast":
        return
    good = evidence(rows_of(task))
    assert_closed(replace(good, **{field: nothing}), task)


@given(
    st.sampled_from([*TARGETS]),
    st.sampled_from(["task", "challenger", "slices", "horizon", "season", "classes"]),
    st.sampled_from(NOTHINGS),
)
@settings(max_examples=40, deadline=None)
def test_rows_that_are_missing_are_no_promotion(task, field, nothing):
    if field == "classes" and task != "classification" and (not nothing or nothing is None):
        return  # numbers have none
    assert_closed(evidence({"y": replace(rows_of(task), **{field: nothing})}, keys_hash="x"), task)


@given(st.sampled_from([None, pd.NaT, math.nan, "", "never", []]))
@settings(deadline=None)
def test_series_of_unknown_freshness_are_no_promotion(last_seen):
    assert_closed(evidence(rows_of("forecasting"), last_seen=last_seen), "forecasting")


@st.composite
def spoiled_frames(draw):
    """Rows of all models, with one cell, column or row of one of them spoiled."""
    task = draw(st.sampled_from([*TARGETS]))
    rows = rows_of(task)
    who = draw(st.sampled_from(["challenger", "champion", "naive"]))
    good = getattr(rows, who).astype(object)
    unused = ["low", "high", "series"] + (["prediction"] if task == "classification" else [])
    columns = [name for name in good if not (who == "naive" and name in unused)]
    column, place = draw(st.sampled_from(columns)), draw(st.integers(0, N - 1))
    how = draw(st.sampled_from(["cell", "column", "row", "key", "order", "twice", "all", "truth"]))
    bad = good.copy()
    if how == "cell":
        poison = [None, math.nan, math.inf, -math.inf, pd.NaT]
        bad.iloc[place, bad.columns.get_loc(column)] = draw(st.sampled_from(poison))
        if column == "series":
            bad.iloc[place, bad.columns.get_loc(column)] = None
    elif how == "column":
        if (column in unused and task != "classification") or column == "series":
            column = "truth"
        bad = bad.drop(columns=column)
    elif how == "row":
        bad = bad.drop(index=bad.index[place])
    elif how == "key":
        bad = bad.rename({bad.index[place]: "another row"})
    elif how == "order":
        bad = bad.iloc[::-1]
    elif how == "twice":
        bad = bad.iloc[[*range(N), place]]
    elif how == "all":
        bad = bad.iloc[:0]
    else:
        told = bad["truth"].iloc[place]
        other = CLASSES[CLASSES.index(told) - 1] if task == "classification" else told + 1
        bad.iloc[place, bad.columns.get_loc("truth")] = other
    return task, replace(rows, **{who: bad}), (who, how, column, place)


@given(spoiled_frames())
@settings(max_examples=60, deadline=None)
def test_frames_that_are_spoiled_are_no_promotion(spoiled):
    task, rows, _ = spoiled
    verdict = assert_closed(evidence({"y": rows}), task)
    assert "rows" in missed(verdict)


@pytest.mark.parametrize("task", TARGETS)
def test_frames_of_objects_are_no_trouble_by_themselves(task):
    rows = rows_of(task)
    named = {name: getattr(rows, name).astype(object) for name in ("challenger", "champion")}
    assert decide(replace(rows, **named)).decision == "PROMOTE"


@pytest.mark.parametrize(
    "mask",
    [
        np.ones(N),
        np.ones(N - 1, dtype=bool),
        np.ones((N, 1), dtype=bool),
        np.array([True] * (N - 1) + [None]),
        True,
        None,
        [],
        "all",
    ],
)
def test_slices_that_are_none_are_no_promotion(mask):
    rows = replace(rows_of("regression"), slices={"genre": mask})
    verdict = assert_closed(evidence(rows), "regression")
    assert missed(verdict) == ["slices"]
    assert "slice genre of y" in verdict.reason


@pytest.mark.parametrize(
    ("challenger", "champion"), [(0.0, 0.0), (1.0, 0.0), (0.0, math.nan), (1e200, 1e300)]
)
def test_a_champion_without_a_score_is_no_promotion(challenger, champion):
    rows = rows_of("regression", challenger=challenger, champion=champion)
    assert decide(rows).decision != "PROMOTE"


def test_a_champion_that_scores_zero_is_no_promotion():
    rows = accuracy_rows(0, 900)
    verdict = decide(rows, Release(metric="accuracy"))
    assert verdict.decision == "HOLD"
    assert "accuracy of the champion is 0" in verdict.reason


@pytest.mark.parametrize("metric", ["spread", "accuracy", "profit", "recall_Alto"])
def test_a_metric_that_cannot_be_computed_is_no_promotion(metric):
    verdict = decide(rows_of("regression"), Release(metric=metric))
    assert verdict.decision == "HOLD"
    assert missed(verdict) == ["gain", "proof", "naive"]
    assert metric in verdict.reason


def test_targets_other_than_those_of_the_use_case_are_no_promotion():
    good = evidence(rows_of("regression"))
    other = TARGETS["regression"]
    for targets in ({}, {"y": other, "z": other}, {"y": TARGETS["classification"]}):
        assert decide(good, targets=targets).decision == "HOLD"
    both = evidence({"y": rows_of("regression"), "z": rows_of("regression")})
    assert decide(both, targets={"y": other}).decision == "HOLD"
    assert decide(good, Release(target="z"), targets={"y": other}).decision == "HOLD"


def assert_closed(found, task):
    verdict = decide(found, targets={"y": TARGETS[task]})
    assert verdict.decision != "PROMOTE"
    assert [one.name for one in verdict.conditions] == CONDITIONS
    assert json.dumps(verdict.to_json(), allow_nan=False)
    assert missed(verdict)
    return verdict


@pytest.mark.parametrize("task", TARGETS)
def test_nothing_is_held_back_that_the_properties_start_from(task):
    assert decide(evidence(rows_of(task))).decision == "PROMOTE"


# Rows that belong together, and challengers that come one after the other.


def alike(kind, n=200, seed=0):
    """A challenger that is as good, looks better by chance, and errs in the same way for long."""
    rng = np.random.default_rng(seed)
    own, other = rng.standard_t(5, (2, n // 10)).repeat(10, axis=1)
    keys = pd.Index([f"C{place // 10}-{place}" for place in range(n)])
    champion = pd.DataFrame({"truth": 0.0, "prediction": own}, index=keys)
    challenger = champion.assign(prediction=0.8 * own + 0.6 * other)
    units = {"times": pd.date_range("2026-01-01", periods=n).to_numpy(), "groups": keys.str[:3]}
    rows = PairedRows("regression", None, challenger, champion, None, {})
    return replace(rows, **({} if kind is None else {kind: np.asarray(units[kind])}))


@pytest.mark.parametrize(("kind", "by"), [("times", "time"), ("groups", "group")])
def test_rows_that_belong_together_prove_less(kind, by):
    seed = next(s for s in range(100) if decide(alike(None, seed=s)).decision == "PROMOTE")
    verdict = decide(alike(kind, seed=seed))
    assert verdict.decision == "HOLD"
    assert missed(verdict) == ["proof"]
    assert verdict.numbers["drawn"]["by"] == by
    told = {"time": "(in blocks of 19 of 200 times, worth ", "group": "(by 20 groups)"}[by]
    assert told in condition(verdict, "proof").reason


def test_times_and_groups_that_are_not_one_a_row_are_no_promotion():
    good = rows_of("regression")
    for field in ("times", "groups"):
        for wrong in (np.arange(N - 1), np.ones((N, 2)), "all"):
            verdict = decide(replace(good, **{field: wrong}))
            assert verdict.decision == "HOLD"
            assert f"{field}: expected one for each of the 120 rows" in verdict.reason


def test_rows_of_a_single_moment_prove_nothing():
    times = np.full(N, np.datetime64("2026-01-01"))
    verdict = decide(replace(rows_of("regression"), times=times, naive=None))
    assert verdict.decision == "HOLD"
    assert "1 times, drawn by 1, have no spread to judge by" in verdict.reason


def test_what_was_looked_at_stands_in_the_verdict():
    numbers = decide(rows_of("forecasting")).numbers
    assert (numbers["first_row"], numbers["last_row"]) == (
        "2026-01-01 00:00:00",
        "2026-01-03 11:00:00",
    )
    assert (numbers["confidence"], numbers["earlier"]) == (0.95, 0.0)
    drawn = {"by", "number", "block", "freedom", "captured", "memory", "seasonal_memory"}
    assert {*numbers["drawn"]} == drawn


def test_the_chance_of_error_is_spent_over_challengers():
    rng = np.random.default_rng(1)
    own, other = rng.normal(size=(2, N))
    rows = rows_of("regression", naive=None)
    truth = rows.champion["truth"]
    better = 0.84 * (0.8 * own + 0.6 * other)
    rows = replace(
        rows,
        champion=rows.champion.assign(prediction=truth + own),
        challenger=rows.challenger.assign(prediction=truth + better),
    )
    verdicts = [decide(rows, earlier=earlier) for earlier in (0, 1, 9)]
    assert [one.decision for one in verdicts] == ["PROMOTE", "PROMOTE", "HOLD"]
    assert [one.numbers["confidence"] for one in verdicts] == pytest.approx(
        [0.95, 1 - 0.05 / 2**2.5, 1 - 0.05 / 10**2.5]
    )
    assert "as 9 challengers were judged on these rows before" in verdicts[2].reason
    lows = [one.numbers["gain"]["low"] for one in verdicts]
    assert lows == sorted(lows, reverse=True)
    assert verdicts[2].numbers["smallest_gain"] > verdicts[0].numbers["smallest_gain"]


@pytest.mark.parametrize("earlier", [None, math.nan, -1, -0.5, "two"])
def test_a_number_of_earlier_challengers_that_is_none_is_no_promotion(earlier):
    verdict = decide(rows_of("regression"), earlier=earlier)
    assert verdict.decision == "HOLD"
    assert missed(verdict)[:2] == ["gain", "proof"]


@given(st.integers(1, 300), st.floats(0.5, 0.999))
def test_over_any_number_of_challengers_the_chances_add_up_to_little(count, confidence):
    spent = [1 - corrected_confidence(k, confidence) for k in range(count)]
    assert spent[0] == pytest.approx(1 - confidence)
    assert sum(spent) < 1.35 * (1 - confidence)
    assert spent == sorted(spent, reverse=True)


def test_of_ten_equally_good_challengers_before_the_same_rows_one_rarely_wins():
    rng, n, wins = np.random.default_rng(0), 100, np.zeros((2, 200), dtype=bool)
    own, units = rng.standard_t(5, (n, 200)), resampling_units(np.arange(100.0))
    for earlier in range(10):
        challenger = 0.8 * own + 0.6 * rng.standard_t(5, (n, 200))
        table = np.hstack([own**2, challenger**2])
        means = np.vstack(
            [table.mean(axis=0), bootstrap_means(table, Resampling(0, n_bootstrap=1000))]
        )
        first, second = np.split(np.sqrt(means), 2, axis=1)
        shares = 1 - second / first
        for which, spent in enumerate((0, earlier)):
            low, _ = bounds(shares, units.width(corrected_confidence(spent, 0.95)))
            wins[which] |= (shares[0] > 0.02) & (low > 0)
    assert wins[0].mean() > 0.25  # each at the level of the first one
    assert wins[1].mean() < 0.13


def test_the_ledger_says_who_was_judged_before_with_the_same_champion():
    numbers = {"gain": {"value": 0.1}, "keys_hash": "x"}
    entries = [
        SimpleNamespace(event=event, champion=champion, version=version, details=details)
        for event, champion, version, details in [
            ("promote", "1", "1", {"numbers": numbers}),
            ("hold", "1", "2", {"numbers": numbers | {"rows": {"y": 2}}}),
            ("reject", "1", "3", {"numbers": numbers | {"rows": {"y": 3}}}),
            ("hold", "0", "0", {"numbers": numbers}),  # before another champion
            ("hold", "1", "4", {}),  # by a person
            ("retrain", "1", "1", {"numbers": numbers}),
            ("hold", "1", "5", {"numbers": numbers}),  # itself, in a run that was killed
        ]
    ]
    ledger = SimpleNamespace(entries=lambda name: entries)
    registry = SimpleNamespace(ledger=ledger, champion=lambda name: "1")
    judging = EvidenceCollector(registry, "u", None, None, None, None, {}, {})
    found = judging._verdicts({"version": "5"})
    assert [one["rows"]["y"] for one in found] == [2, 3]


DAYS = pd.date_range("2026-01-01", periods=100).to_numpy()


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ({"keys_hash": "these"}, 1),
        ({"first_row": "2026-01-01", "last_row": "2026-01-25"}, 0.5),  # a quarter of the rows
        ({"first_row": "2025-01-01", "last_row": "2025-12-31"}, 0),
        ({"rows": {"y": 36, "z": 1}}, 0.6),  # written before times were
        ({"rows": {"y": 400}}, 1),
        ({"rows": 36}, 1),
        ({}, 1),
        ({"keys_hash": "these", "gain": None}, 0),  # nothing was compared
    ],
)
def test_earlier_challengers_count_by_the_rows_that_they_share(earlier, expected):
    verdict = {"gain": {"value": 0.1}, "keys_hash": "others"} | earlier
    assert earlier_challengers([verdict], "y", "these", 100, DAYS) == pytest.approx(expected)
    assert earlier_challengers([verdict] * 3, "y", "these", 100, DAYS) == pytest.approx(
        3 * expected
    )
    assert earlier_challengers([], "y", "these", 100, DAYS) == 0
    assert earlier_challengers([verdict], "y", "these", 0, DAYS[:0]) == 0


# The smallest gain.


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 1.3), st.sampled_from(["rmse", "mae", "r2"]))
@settings(max_examples=30, deadline=None)
def test_a_gain_above_the_smallest_is_shown_and_no_other(seed, size, metric):
    rng = np.random.default_rng(seed)
    own, other = rng.standard_t(5, (2, 60))
    rows = rows_of("regression", n=60)
    truth = 3 * rows.champion["truth"]
    rows = PairedRows(
        "regression",
        None,
        rows.champion.assign(truth=truth, prediction=truth + size * (0.8 * own + 0.6 * other)),
        rows.champion.assign(truth=truth, prediction=truth + own),
        None,
        {},
    )
    numbers = decide(rows, Release(metric=metric, min_gain=0)).numbers
    shown = numbers["gain"]["low"] > 0
    assert shown == (numbers["gain"]["value"] > numbers["smallest_gain"])


def test_the_smallest_gain_is_at_least_the_one_that_is_asked():
    verdict = decide(rows_of("regression"))  # the same in every row: any gain would show
    assert verdict.numbers["smallest_gain"] == 0.02


@pytest.mark.parametrize("n", [60, 300])
def test_a_true_gain_of_the_smallest_size_is_shown_about_half_of_the_time(n):
    rng, keys = np.random.default_rng(n), pd.RangeIndex(n)

    def compared(gain):
        own, other = rng.standard_t(8, (2, n))
        errors = own, (1 - gain) * (0.8 * own + 0.6 * other)
        pair = (pd.DataFrame({"truth": 0.0, "prediction": e}, index=keys) for e in errors)
        return paired_gain("rmse", "regression", *pair, resampling=Resampling(1, n_bootstrap=400))

    smallest = np.median([smallest_gain(compared(0.1), 0.0) for _ in range(50)])
    assert 0.02 < smallest < 0.4
    shown = [compared(smallest).share["low"] > 0 for _ in range(200)]
    assert 0.38 < np.mean(shown) < 0.62


def test_without_a_share_there_is_no_smallest_gain():
    assert decide(rows_of("regression", champion=0.0)).numbers["smallest_gain"] is None


def test_the_hash_says_which_rows():
    rows = {"y": rows_of("regression")}
    assert hash_keys(rows) == hash_keys({"y": rows_of("regression", challenger=0.5)})
    assert hash_keys(rows) != hash_keys({"z": rows_of("regression")})
    assert hash_keys(rows) != hash_keys({"y": rows_of("regression", n=60)})
