"""Small made-up targets: what evaluation would hand to reporting."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import UseCase
from ratchet.pipelines.evaluation.nodes import judge_best
from ratchet.reports.target_results import TargetResults

CLASSES = ["good", "fair", "bad"]
SIZES = {"train": 400, "validation": 100, "test": 150}
CANDIDATES = {"dummy": 0.0, "plain": 0.5, "stack": 1.0}  # how much of the truth each one knows


def _columns(time: bool, text: bool) -> dict[str, dict[str, Any]]:
    return {
        "id": {"type": "integer"},
        **({"name": {"type": "string"}} if text else {}),
        **({"day": {"type": "date"}} if time else {}),
        "size": {"type": "number", "nullable": True},
        "low": {"type": "number"},  # the name of a column of the predictions, too
        "color": {"type": "string", "nullable": True},
        "tags": {"type": "list", "nullable": True},
        "grade": {"type": "string"},
        "points": {"type": "number"},
    }


@pytest.fixture(scope="module")
def use_case() -> Callable[..., UseCase]:
    """Parameters of a use case with a target of each task, or of fewer columns."""

    def make(*, time: bool = True, text: bool = True, groups: bool = True) -> UseCase:
        search = {
            "candidates": {
                "dummy": {"estimator": "dummy", "param_grid": {"strategy": ["prior"]}},
                "plain": {"estimator": "ridge", "param_grid": {"model__alpha": [1, 10]}},
            }
        }
        return UseCase.model_validate(
            {
                "about": {
                    "title": "Things <made up>",
                    "question": "How good?",
                    "source": "none",
                    "limits": ["It is all made up."],
                },
                "data": {
                    "key": "id",
                    "time": "day" if time else None,
                    "columns": _columns(time, text),
                    "required": ["size"],
                },
                "features": {
                    "numeric": ["size", "low"],
                    "categorical": ["color"] if groups else [],
                    "lists": ["tags"] if groups else [],
                },
                "targets": {
                    "grade": {
                        "column": "grade",
                        "task": "classification",
                        "classes": CLASSES,
                        "objectives": {"accuracy": {"aim": 0.7, "production": 0.5}},
                        **search,
                    },
                    "points": {
                        "column": "points",
                        "task": "regression",
                        "bounds": [0, 10],
                        "unit": "points",
                        "objectives": {"r2": {"aim": 0.9}, "rmse": {"aim": 1.0}},
                        **search,
                    },
                },
            }
        )

    return make


def make_primary() -> pd.DataFrame:
    """All rows: tags and color tell something of the target, one color is hard."""
    rng = np.random.default_rng(1)
    n = sum(SIZES.values())
    points = rng.uniform(1, 9, n)
    return pd.DataFrame(
        {
            "id": np.arange(n) + 1000,
            "name": [f"=Thing & <b>{i}</b>" for i in range(n)],
            "day": pd.date_range("2020-01-01", periods=n, freq="D"),
            "size": rng.normal(50, 10, n),
            "low": rng.integers(0, 5, n).astype(float),
            "color": rng.choice(["red", "blue", None], n),
            "tags": [["a"] if i % 3 else ["a", "b"] if i % 2 else [] for i in range(n)],
            "grade": np.array(CLASSES)[np.digitize(-points, [-7, -4])],
            "points": points,
            "split": np.repeat(list(SIZES), list(SIZES.values())),
        }
    ).set_index("id")


def _of_classes(truth: pd.Series, knows: float, rng: np.random.Generator) -> pd.DataFrame:
    scores = rng.gumbel(size=(len(truth), len(CLASSES))) * 0.7 * (knows > 0)
    scores += 1.2 * knows * (truth.to_numpy()[:, None] == np.array(CLASSES))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    rows = pd.DataFrame(chances, index=truth.index, columns=[f"probability_{c}" for c in CLASSES])
    named = np.array(CLASSES)[chances.argmax(axis=1)]
    return rows.assign(truth=truth, prediction=named)


def _of_numbers(truth: pd.Series, knows: float, rng: np.random.Generator) -> pd.DataFrame:
    guess = 5 + knows * (truth - 5) + rng.normal(0, 1, len(truth)) * (knows > 0)
    rows = pd.DataFrame({"truth": truth, "prediction": guess.clip(0, 10)})
    return rows.assign(
        low=(rows["prediction"] - 2).clip(0, 10), high=(rows["prediction"] + 2).clip(0, 10)
    )


def _score(rows: pd.DataFrame, is_classes: bool) -> dict[str, Any]:
    from ratchet.learning.metrics import score_classification, score_regression

    if not is_classes:
        return score_regression(rows["truth"], rows["prediction"], n_bootstrap=50, seed=0)
    chances = rows[[f"probability_{c}" for c in CLASSES]]
    return score_classification(rows["truth"], chances, CLASSES, n_bootstrap=50, seed=0)


@pytest.fixture(scope="module")
def make_case(use_case: Callable[..., UseCase]) -> Callable[..., TargetResults]:
    """One target with its results; ``change`` edits the predictions before they are scored."""

    def make(
        name: str,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
        **parameters: bool,
    ) -> TargetResults:
        parts = use_case(**parameters)
        target, primary = parts.targets[name], make_primary()
        predict = _of_classes if target.task == "classification" else _of_numbers
        rng = np.random.default_rng(2)
        frames = [
            change(predict(rows[target.column], knows, rng)).assign(candidate=c, split=part)
            for c, knows in CANDIDATES.items()
            for part, rows in primary.groupby("split")
            if part != "train"
        ]
        predictions = pd.concat(frames)
        metric = "log_loss" if target.task == "classification" else "rmse"
        scores: dict[str, Any] = {
            c: {
                part: _score(rows, target.task == "classification")
                for part, rows in of_candidate.groupby("split")
            }
            for c, of_candidate in predictions.groupby("candidate", sort=False)
        }
        for parts_of in scores.values():
            parts_of["cv"] = {metric: parts_of["validation"][metric]}
        value = {c: scores[c]["cv"][metric]["value"] for c in CANDIDATES}
        ranking = {c: {"cv": value[c], "validation": value[c], "mean": value[c]} for c in value}
        order = sorted(ranking, key=lambda c: ranking[c]["mean"])
        choice = {
            "best": "stack",
            "why": "",
            "metric": metric,
            "ranking": {c: ranking[c] for c in order},
        }
        search = pd.DataFrame({"params": [json.dumps({"model__alpha": 10})]})
        return TargetResults(
            name=name,
            target=target,
            data=parts.data,
            features=parts.features,
            seed=0,
            primary=primary,
            predictions=predictions,
            scores=scores,
            choice={**choice, **judge_best(choice, scores, predictions, target)},
            importance=pd.DataFrame(
                {"source": ["size", "tags"], "importance": [0.2, 0.0], "spread": [0.01, 0.01]}
            ),
            searches=dict.fromkeys(CANDIDATES, search),
        )

    return make


@pytest.fixture
def without_intervals() -> Callable[[TargetResults], TargetResults]:
    """The same target with predictions that carry no intervals."""
    return lambda case: replace(case, predictions=case.predictions.drop(columns=["low", "high"]))


@pytest.fixture(scope="module")
def data_inputs() -> dict[str, Any]:
    """Profile, selection and primary rows as the phases before leave them."""
    primary = make_primary().reset_index()
    spans = primary.groupby("split")["day"].agg(["min", "max"])
    return {
        "profile": {
            "rows": 700,
            "span": ["2020-01-01", "2021-12-31"],
            "columns": {
                "id": {"type": "integer", "missing": 0, "min": 1.0, "max": 9.0, "median": 5.0},
                "size": {"type": "number", "missing": 50, "min": 1.5, "max": 9.0, "median": 5.0},
                "color": {
                    "type": "string",
                    "missing": 210,
                    "distinct": 2,
                    "most_frequent": {"red": 300, "blue": 190},
                },
                "day": {
                    "type": "date",
                    "missing": 0,
                    "min": "2020-01-01",
                    "max": "2021-12-31",
                },
                "low": {
                    "type": "number",
                    "missing": 700,
                    "min": float("nan"),
                    "max": float("nan"),
                    "median": float("nan"),
                },
            },
        },
        "selection": {
            "rows": 700,
            "kept": 650,
            "missing": {"size": 50},
            "parts": {
                part: {"rows": n, "span": [str(day.date()) for day in spans.loc[part]]}
                for part, n in SIZES.items()
            },
            "truth": {"price": {**SIZES, "unknown": 0}, "grade": {**SIZES, "unknown": 24}},
        },
        "primary": primary,
    }
