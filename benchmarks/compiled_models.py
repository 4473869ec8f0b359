"""What one row costs a fitted model, asked as a bundle asks it and as a compiled program.

Models of the sizes that the use cases choose from, on made rows: stacks as films have them, a line
with boosting and a mixture as series have them, networks alone and as an ensemble on a ridge. Both
sides answer the same row in turn. The native side is given a frame and asked for all that there is
to know, interval included; the program is given an array. Printed are medians of CPU time, what the
program measures and took to compile, the time per row of many rows, and the largest difference.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as a service runs
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import yaml
from harness.measure import alternate, median, own_cpu, print_table
from harness.project import ROOT
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator

from ratchet.compiled.estimators import compile_estimator
from ratchet.compiled.serialization import dumps, loads
from ratchet.learning.calibration import ConformalRegressor, TemperatureScaling
from ratchet.learning.classical import build_estimator
from ratchet.learning.meta_estimators import ResidualRegressor
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.stacking import final_estimator, prediction_columns, stack

CANDIDATES = Path("conf", "base", "globals_candidates.yml")
COLUMNS, FLAGS = 50, 150
LOOKBACK, FEATURES = 48, 4
Made = tuple[str, Any, pd.DataFrame]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000, help="that are fitted (default: 6000)")
    parser.add_argument("--pairs", type=int, default=50, help="calls of each (default: 50)")
    parser.add_argument("--only", default="", help="models whose name has this")
    options = parser.parse_args()
    header = ("model", "native", "compiled", "ratio", "batch/row", "difference", "MB", "compile")
    lines = [
        line(*made, options.pairs)
        for name, make in MODELS.items()
        if options.only in name
        for made in make(name, options.rows)
    ]
    print_table(header, lines)
    print("\nCPU: ms of one row; microseconds per row of 2,000; seconds to compile")


def line(name: str, model: Any, X: pd.DataFrame, pairs: int) -> tuple[str, ...]:
    start = own_cpu()
    content = dumps(compile_estimator(model, list(X.columns)))
    seconds = own_cpu() - start
    run = loads(content)
    values, one = X.to_numpy(np.float64), X.iloc[:1]
    difference = np.abs(run(values[:500]) - native(model, X[:500])).max()
    row = values[:1]
    costs = alternate(pairs, lambda: cpu(native, model, one), lambda: cpu(run, row))
    before, after = (median(side) for side in zip(*costs, strict=True))
    many = cpu(run, values[:2000]) / min(2000, len(values))
    return (
        name,
        f"{before * 1e3:.1f}",
        f"{after * 1e3:.3f}",
        f"{before / after:.0f}",
        f"{many * 1e6:.0f}",
        f"{difference:.0e}",
        f"{len(content) / 1e6:.1f}",
        f"{seconds:.1f}",
    )


def cpu(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def native(model: Any, X: pd.DataFrame) -> Any:
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return np.column_stack([model.predict(X), model.predict_interval(X)])


def candidate(task: str, name: str) -> Any:
    """An unfitted candidate with the first values of its grid."""
    content = yaml.safe_load((ROOT / CANDIDATES).read_text(encoding="utf-8"))
    chosen = content["candidates"][task][name]
    grid = {key: values[0] for key, values in chosen.get("param_grid", {}).items()}
    return build_estimator(task, chosen["estimator"], 0).set_params(**grid)


def rows(n: int, *, series: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(n, COLUMNS)), rng.random((n, FLAGS)) < 0.1], axis=1)
    X = pd.DataFrame(values, columns=[f"column_{i}" for i in range(values.shape[1])])
    X = X.mask(rng.random(X.shape) < 0.03).astype("float64" if series else "float32")
    # A frame of one block gives a read-only array, which forests of scikit-learn 1.9 do not take.
    return X.assign(year=X["column_0"].fillna(0).round() + 2000)


def truth(X: pd.DataFrame) -> np.ndarray:
    Z = X.fillna(0).to_numpy()
    noise = np.random.default_rng(1).normal(size=len(Z))
    return Z[:, 0] + Z[:, 1] ** 2 + Z[:, 2] * Z[:, 3] + Z[:, COLUMNS] + noise


def films(name: str, n: int) -> Iterator[Made]:
    """A calibrated stack of four models."""
    task = "classification" if "success" in name else "regression"
    classes = task == "classification"
    X = rows(n)
    y = truth(X)
    if classes:
        y = np.array(["Alto", "Bajo", "Medio"])[np.digitize(y, [0.3, 1.5])]
    names = ("extra_trees", "hist_gradient_boosting", "xgboost", "kernel")
    models = [candidate(task, name).fit(X, y) for name in names]
    columns = [prediction_columns(answer(model, X), classes=classes) for model in models]
    stacked = stack(models, final_estimator(classes=classes).fit(np.hstack(columns), y))
    if classes:
        logs = prediction_columns(answer(stacked, X), classes=True)
        yield name, stack([stacked], TemperatureScaling(["Alto", "Bajo", "Medio"]).fit(logs, y)), X
    else:
        yield name, interval(stacked, X, y), X


def answer(model: Any, X: pd.DataFrame) -> Any:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def interval(model: Any, X: pd.DataFrame, y: Any) -> Any:
    return ConformalRegressor(estimator=FrozenEstimator(model)).calibrate(model.predict(X), y)


def series(name: str, n: int) -> Iterator[Made]:
    X = rows(n, series=True)
    y = truth(X)
    model = candidate("forecasting", name.removeprefix("series ")).fit(X, y)
    yield name, interval(model, X, y), X


def networks(name: str, n: int) -> Iterator[Made]:
    """One, and a mean of three on a ridge; a single epoch, as costs do not hang on weights."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(500, LOOKBACK * FEATURES))).add_prefix("window_")
    y = X.iloc[:, -1].to_numpy() + rng.normal(size=500)
    fitted = [
        RecurrentRegressor(units=64, lookback=LOOKBACK, epochs=1, compiled=False, random_state=seed)
        for seed in range(3 if "ridge" in name else 1)
    ]
    model = fitted[0].fit(X, y)
    if "ridge" in name:
        mean = VotingRegressor([(f"network_{i}", one) for i, one in enumerate(fitted)])
        model = ResidualRegressor(base=candidate("forecasting", "ridge"), estimator=mean).fit(X, y)
    yield name, interval(model, X, y), X


MODELS: dict[str, Callable[[str, int], Iterator[Made]]] = {
    "films success": films,
    "films rating": films,
    "series boosted_ridge": series,
    "series mixture": series,
    "network gru 48 x 64": networks,
    "three networks on a ridge": networks,
}


if __name__ == "__main__":
    main()
