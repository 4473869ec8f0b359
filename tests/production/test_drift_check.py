"""What is found in the latest window of production, of its inputs and of its errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.bundle.scoring_frame import scoring_frame
from ratchet.config import UseCase
from ratchet.monitoring.drift import DriftReport
from ratchet.production.drift_check import DriftCheck, latest_drift

DAYS = 400
SINCE = 300
"""Day after which rows are production; the 100 before are those of the test."""
TEN = 10  # rows a day

USE_CASE: dict[str, Any] = {
    "about": {"title": "t", "question": "q", "source": "s"},
    "data": {
        "key": "id",
        "time": "day",
        "required": ["x", "z"],
        "columns": {
            "id": {"type": "integer"},
            "day": {"type": "date"},
            "x": {"type": "number"},
            "z": {"type": "number"},
            "y": {"type": "number", "nullable": True},
        },
    },
    "features": {"numeric": ["x", "z"]},
    "targets": {
        "y": {
            "column": "y",
            "task": "regression",
            "candidates": {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}},
        }
    },
    "monitoring": {"watch": {"window": "7D", "min_rows": 20}},
}


def day(number: int) -> pd.Timestamp:
    return pd.Timestamp("2020-01-01") + pd.Timedelta(days=number)


def rows(seed: int = 0) -> pd.DataFrame:
    """Ten rows a day, y = 2 x + noise of 0.1; what comes of z is nothing."""
    rng = np.random.default_rng(seed)
    n = DAYS * TEN
    x, z = rng.normal(size=(2, n))
    days = [day(i // TEN) for i in range(n)]
    y = 2 * x + rng.normal(scale=0.1, size=n)
    return pd.DataFrame({"id": np.arange(n), "day": days, "x": x, "z": z, "y": y})


def late(frame: pd.DataFrame) -> pd.Series:
    """Rows of the last complete week."""
    return frame["day"] > day(DAYS - 10)


def bundle(frame: pd.DataFrame, **more: Any) -> Any:
    """A model that knows y = 2 x, to within 0.2, and lives on x alone."""
    reference = frame[frame["day"] <= day(200)].set_index("id")
    known = frame[frame["day"] <= day(SINCE)].set_index("id")
    parts = np.where(known["day"] <= day(200), "train", "test")

    def predict(features: pd.DataFrame) -> dict[str, pd.DataFrame]:
        told = 2 * features["x"]
        width = 0.2 + 0.2 * (features["z"].abs() > 4)
        answers = {"prediction": told, "low": told - width, "high": told + width}
        return {"y": pd.DataFrame(answers, index=features.index)}

    scores = {
        "rmse": {"value": 0.1, "low": 0.095, "high": 0.105},
        "mae": {"value": 0.08, "low": 0.076, "high": 0.084},
        "r2": {"value": 0.9975, "low": 0.9972, "high": 0.9978},
    }
    return SimpleNamespace(
        **{
            "use_case": UseCase.model_validate(USE_CASE),
            "statistics": None,
            "reference": reference[["x", "z", "y"]].assign(time=reference["day"]),
            "rows": pd.DataFrame({"part": parts, "time": known["day"]}),
            "importance": {"y": {"x": 1.0, "z": 0.0}},
            "predict": predict,
            "score": lambda target, metric: scores[metric],
            "test_rows": {},
            **more,
        }
    )


def look(frame: pd.DataFrame, **more: Any) -> DriftReport | None:
    now = scoring_frame(bundle(rows(), **more), frame)
    since = day(SINCE).isoformat()
    return latest_drift(now, UseCase.model_validate(USE_CASE), since, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_a_quiet_window_is_none_or_low(seed):
    known = rows()
    new = known["day"] > day(SINCE)
    frame = known.where(~new, rows(seed + 1))

    report = look(frame.astype(known.dtypes))

    assert report.severity in ("NONE", "LOW")
    assert report.error.kind == "measured"
    assert not report.error.worse
    assert report.error.numbers["rows"] == 7 * TEN


def test_another_truth_of_the_same_inputs_is_high():
    frame = rows()
    frame["y"] = frame["y"].mask(late(frame), -frame["y"])

    report = look(frame)

    assert report.severity == "HIGH"
    assert report.moved == []
    assert report.error.kind == "measured"
    assert "have not been found to move" in report.reasons[0]
    assert "measured" in report.reasons[-1]


def test_a_truth_that_changed_before_the_latest_window_is_over():
    frame = rows()
    before = (frame["day"] > day(SINCE)) & (frame["day"] < day(DAYS - 20))
    frame["y"] = frame["y"].mask(before, -frame["y"])

    assert look(frame).severity in ("NONE", "LOW")


def test_without_truth_the_model_estimates_its_error():
    frame = rows()
    frame["y"] = frame["y"].mask(frame["day"] > day(SINCE))

    quiet = look(frame)
    frame["z"] = frame["z"].mask(late(frame), 9.0)  # where its intervals are twice as wide
    unsure = look(frame)

    assert (quiet.error.kind, quiet.error.worse) == ("estimated", False)
    assert unsure.severity == "HIGH"
    assert unsure.error.kind == "estimated"
    assert "z" in unsure.moved


def test_too_little_truth_measures_nothing():
    frame = rows()
    late = frame["day"] > day(SINCE)
    frame["y"] = frame["y"].mask(late, (-frame["y"]).where(frame["id"] % TEN == 0))

    assert look(frame).error.kind == "estimated"


def test_a_score_that_was_never_taken_measures_nothing():
    assert look(rows(), score=lambda target, metric: None).error.kind == "estimated"


def test_rows_without_time_are_one_window():
    data = {name: value for name, value in USE_CASE["data"].items() if name != "time"}
    use_case = UseCase.model_validate(USE_CASE | {"data": data})
    frame = rows()
    frame["y"] = frame["y"].mask(frame["day"] > day(SINCE), -frame["y"])
    reference = frame.set_index("id").loc[: 200 * TEN, ["x", "z", "y"]]
    model = bundle(rows(), use_case=use_case, reference=reference)

    report = latest_drift(scoring_frame(model, frame), use_case, None, seed=0)

    assert report.severity == "HIGH"
    assert report.error.numbers["rows"] == report.rows["current"] == (DAYS - SINCE - 1) * TEN


def test_no_window_is_complete():
    frame = rows()

    assert look(frame[frame["day"] <= day(SINCE + 3)]) is None


def test_errors_of_a_path_are_held_against_test_rows_of_the_same_steps():
    """The error of a step is its number: no window of short steps is better, or of long ones."""
    steps = np.tile([1.0, 2.0, 3.0], 40)
    tested = pd.DataFrame({"truth": 0.0, "prediction": steps, "step": steps})
    now = SimpleNamespace(bundle=bundle(rows(), test_rows={"y": tested}))
    check = DriftCheck(now, UseCase.model_validate(USE_CASE), 0)
    overall = {"value": 0.08, "low": 0.076, "high": 0.084}

    early = check._score_in_test("y", "mae", pd.DataFrame({"step": [1.0, 1.0, 2.0]}))
    without = check._score_in_test("y", "mae", pd.DataFrame({"truth": [0.0]}))

    assert early == pytest.approx({end: each + 4 / 3 - 0.08 for end, each in overall.items()})
    assert without == overall
