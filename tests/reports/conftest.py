"""Small made-up targets: what evaluation would hand to reporting."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import UseCase
from ratchet.learning.metrics import Resampling
from ratchet.pipelines.evaluation import judge_best
from ratchet.reports.blocks import Chapter, Points, Text
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
        return score_regression(
            rows["truth"], rows["prediction"], resampling=Resampling(0, n_bootstrap=50)
        )
    chances = rows[[f"probability_{c}" for c in CLASSES]]
    return score_classification(
        rows["truth"], chances, CLASSES, resampling=Resampling(0, n_bootstrap=50)
    )


@pytest.fixture(scope="module")
def make_results(use_case: Callable[..., UseCase]) -> Callable[..., TargetResults]:
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


@pytest.fixture(scope="session")
def text_of() -> Callable[[Chapter], str]:
    """All sentences of a chapter, with its limits and next steps."""

    def make(chapter: Chapter) -> str:
        blocks = [block for section in chapter.sections.values() for block in section]
        texts = [block.text for block in blocks if isinstance(block, Text)]
        points = [item for block in blocks if isinstance(block, Points) for item in block.items]
        findings = [f"{finding.fact} {finding.step}" for finding in chapter.findings]
        return " ".join([*texts, *points, *findings])

    return make


@pytest.fixture
def without_intervals() -> Callable[[TargetResults], TargetResults]:
    """The same target with predictions that carry no intervals."""
    return lambda results: replace(
        results, predictions=results.predictions.drop(columns=["low", "high"])
    )


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


SHOPS = [f"shop {i}" for i in range(20)]
DAYS = {"train": 120, "validation": 20, "test": 40}
ERRORS = {"persistence": 1.0, "seasonal": 0.9, "ridge": 0.4, "net": 0.5, "net_ensemble": 0.45}
GRID = {"units": [8, 16], "learning_rate": [0.001, 0.01], "dropout": [0.1, 0.3]}


@pytest.fixture
def series_parameters() -> Callable[..., UseCase]:
    """Parameters of several series or of one, with searches among networks."""

    def make(
        *, many: bool = True, hourly: bool = False, stock: float | str | None = 30.0
    ) -> UseCase:
        columns: dict[str, dict[str, Any]] = {
            "shop": {"type": "string"},
            "time": {"type": "date"},
            "kind": {"type": "string"},
            "warmth": {"type": "number"},
            "shelf": {"type": "number", "nullable": True},
            "units": {"type": "number"},
        }
        frequency = "h" if hourly else "D"
        return UseCase.model_validate(
            {
                "about": {"title": "Shops", "question": "How many?", "source": "made up"},
                "data": {
                    "time": "time",
                    "columns": columns,
                    "series": {"id": "shop" if many else None, "frequency": frequency, "season": 7},
                    "calendar": ["hour", "dayofweek"] if hourly else ["dayofweek"],
                },
                "features": {
                    "numeric": ["dayofweek", "warmth"],
                    "categorical": ["dayofweek", "kind", "shop"],
                    "windows": {"lookback": 7, "past": {"units": "value"}},
                },
                "targets": {
                    "units": {
                        "column": "units",
                        "task": "forecasting",
                        "unit": "boxes",
                        "bounds": [0, float("inf")],
                        "baseline": "seasonal",
                        "objectives": {"mase": {"aim": 0.7}},
                        "candidates": {
                            "persistence": {"estimator": "persistence"},
                            "seasonal": {"estimator": "seasonal"},
                            "ridge": {
                                "estimator": "ridge",
                                "param_grid": {"model__alpha": [1, 10]},
                            },
                        },
                        "networks": {
                            "net": {"architectures": ["gru", "lstm"], "param_grid": GRID},
                            "shapes": {"architectures": "all", "mode": "fast", "ensemble": 0},
                        },
                    }
                },
                "inventory": None if stock is None else {"stock": stock, "lead_time": 2},
            }
        )

    return make


def make_rows(shops: list[str], frequency: str) -> pd.DataFrame:
    """All rows, one shop far larger than the others."""
    rng = np.random.default_rng(1)
    times = pd.date_range("2024-01-01", periods=sum(DAYS.values()), freq=frequency)
    frames = []
    for i, shop in enumerate(shops):
        week = 1 + 0.3 * np.sin(2 * np.pi * np.arange(len(times)) / 7)
        units = (100 if i == 0 and len(shops) > 1 else 10) * week + rng.normal(0, 1, len(times))
        frame = pd.DataFrame({"shop": shop, "time": times, "units": units.clip(0)})
        frames.append(
            frame.assign(
                row=[f"{shop}@{time.isoformat()}" for time in times],
                series_id=shop,
                kind="small" if i % 2 else "large",
                warmth=rng.normal(20, 5, len(times)),
                shelf=np.nan if i == 3 else 5.0 * i,
                dayofweek=times.dayofweek,
                hour=times.hour,
                split=np.repeat(list(DAYS), list(DAYS.values())),
            )
        )
    return pd.concat(frames).sort_values("time", kind="stable").set_index("row")


def make_predictions(primary: pd.DataFrame, errors: dict[str, float]) -> pd.DataFrame:
    """Every candidate off by its share of the naive error of the shop."""
    rng = np.random.default_rng(2)
    rows = primary[primary["split"] != "train"]
    scale = rows["shop"].map(primary.groupby("shop")["units"].std())
    frames = []
    for name, size in errors.items():
        said = rows["units"] + size * scale * rng.normal(0, 1, len(rows))
        frame = pd.DataFrame({"truth": rows["units"], "prediction": said.clip(0)})
        frames.append(
            frame.assign(
                low=(said - 1.7 * size * scale).clip(0),
                high=(said + 1.7 * size * scale).clip(0),
                series=rows["shop"],
                time=rows["time"],
                scale=scale,
                rms=1.2 * scale,
                split=rows["split"],
                candidate=name,
            )
        )
    return pd.concat(frames)


def make_search(grid: dict[str, list[Any]], epochs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials of a grid and their losses; the fourth diverges, the last has no loss at all."""
    rng = np.random.default_rng(3)
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    rows, curves = [], []
    for trial, point in enumerate(points):
        lost = trial == len(points) - 1 and len(points) > 1
        lowest = 0.01 * (3 if point.get("learning_rate") == 0.001 else 1) * rng.uniform(1, 1.2)
        falling = lowest * (1 + 2 * np.exp(-np.arange(1, epochs + 1) / 2))
        losses = np.full(1, np.nan) if lost else falling
        numbers = np.arange(1, len(losses) + 1)
        curves.append(
            pd.DataFrame(
                {
                    "trial": trial,
                    "epoch": numbers,
                    "loss": 0.9 * losses,
                    "val_loss": losses,
                    "val_mae": losses**0.5,
                    "learning_rate": point.get("learning_rate", 0.001),
                }
            )
        )
        rows.append(
            {
                "params": json.dumps(point),
                "mean_test_score": -losses.min(),
                "val_mae": losses.min() ** 0.5,
                "n_epochs": len(losses),
                "best_epoch": 0 if lost else len(losses),
                "status": "diverged" if lost or trial == 3 else "completed",
                "n_parameters": 100 + trial,
                "mean_fit_time": 1.0,
                "scoring": "neg_mean_squared_error",
                "trial": trial,
            }
        )
    table = pd.DataFrame(rows)
    ranks = table["mean_test_score"].rank(ascending=False, na_option="bottom").astype(int)
    table = table.assign(rank_test_score=ranks)
    return table.sort_values("rank_test_score", ignore_index=True), pd.concat(curves)


@pytest.fixture
def make_series(series_parameters: Callable[..., UseCase]) -> Callable[..., TargetResults]:
    """The target with its results; ``errors`` sets how good the candidates are."""
    from ratchet.learning.metrics import score_forecast
    from ratchet.learning.recurrent.architectures import ARCHITECTURES

    def make(
        *, errors: dict[str, float] | None = None, best: str = "ridge", **kind: Any
    ) -> TargetResults:
        parts = series_parameters(**kind)
        target = parts.targets["units"]
        primary = make_rows(
            SHOPS if kind.get("many", True) else SHOPS[:1], "h" if kind.get("hourly") else "D"
        )
        every = ERRORS | {"shapes": 0.8} | (errors or {})
        predictions = make_predictions(primary, every)
        scores = {
            name: {
                part: score_forecast(
                    rows["truth"],
                    rows["prediction"],
                    scale=rows["scale"],
                    rms=rows["rms"],
                    times=rows["time"],
                    resampling=Resampling(0, n_bootstrap=50),
                )
                for part, rows in of_candidate.groupby("split")
            }
            for name, of_candidate in predictions.groupby("candidate", sort=False)
        }
        value = {name: found["validation"]["mase"]["value"] for name, found in scores.items()}
        order = sorted(value, key=lambda name: (name != best, value[name]))
        ranking = {name: {"validation": value[name], "mean": value[name]} for name in order}
        choice = {"best": best, "why": "", "metric": "mase", "ranking": ranking}
        tables = {
            "net": make_search({"architecture": ["gru", "lstm"], **GRID}, 12),
            "shapes": make_search({"architecture": list(ARCHITECTURES)}, 1),
        }
        plain = pd.DataFrame({"params": [json.dumps({"model__alpha": 10})]})
        return TargetResults(
            name="units",
            target=target,
            data=parts.data,
            features=parts.features,
            seed=0,
            primary=primary,
            predictions=predictions,
            scores=scores,
            choice={**choice, **judge_best(choice, scores, predictions, target)},
            importance=pd.DataFrame(
                {"source": ["units", "warmth"], "importance": [0.2, 0.0], "spread": [0.01, 0.01]}
            ),
            searches={
                **{name: tables[name][0] if name in tables else plain for name in every},
                "weighted_ensemble": pd.DataFrame({"params": ['{"net": 0.25, "ridge": 0.75}']}),
            },
            curves={name: curves for name, (_, curves) in tables.items()},
            inventory=parts.inventory,
        )

    return make
