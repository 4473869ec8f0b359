"""Whether naive forecasts can say how many test steps the gate needs, and what more steps cost.

Reads the model input that `kedro run --pipelines understanding,preprocessing` has written. For
test parts of several shares of the steps: the probability that the gate lets a model pass that is
truly 10 % better, from the paired differences of persistence and the seasonal naive forecast, which
are known before any fit, of a ridge and the better one of both, and of a boosting and the ridge;
and the error in the last tenth of the steps of the ridge and the boosting that were fitted on the
rows before the test part.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from harness.measure import print_table
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ratchet.learning.metrics import Resampling, paired_gain, power_of_comparison

SHARES = (0.1, 0.15, 0.2, 0.25)
PARTS = ("train", "validation", "test")
NAIVE = ["naive_persistence", "naive_seasonal"]
OWN = ("series_", "target_")
ALPHA = {"stock": 100.0, "prices": 1e5, "power": 1.0}


def power(rows: pd.DataFrame, baseline: pd.Series, model: pd.Series, season: int) -> str:
    """Probability that a gain of 10 % of one prediction over another one is shown, as text."""
    columns = {"target": "truth", "series_time": "time", "series_scale": "scale"}
    known = rows.rename(columns=columns).assign(rms=rows["series_rms"], series=rows["series_id"])
    tidy = known[["truth", "time", "scale", "rms", "series"]]
    level, scale = rows["series_level"], rows["series_scale"]
    pair = [tidy.assign(prediction=level + z * scale) for z in (baseline, model)]
    gain = paired_gain(
        "mase", "forecasting", *pair, season=season, resampling=Resampling(1, n_bootstrap=300)
    )
    probability = power_of_comparison(gain, 0.95)
    return "none" if probability is None else f"{probability:.2f}"


def shares_of(name: str, folder: Path, season: int) -> list[list[str]]:
    """A row of the table per share of the steps."""
    whole = pd.concat([pd.read_parquet(folder / name / f"{part}.parquet") for part in PARTS])
    target = next(column for column in whole if column.startswith("target_"))
    rows = whole.rename(columns={target: "target"}).dropna(subset=["target"])
    seen = [column for column in rows if not column.startswith((*OWN, "target"))]
    X = rows[seen].select_dtypes("number").fillna(0)
    y = (rows["target"] - rows["series_level"]) / rows["series_scale"]
    times = np.sort(rows["series_time"].unique())
    table = []
    for share in SHARES:
        steps = int(share * len(times))
        tested = rows["series_time"] >= times[-steps]
        last = rows["series_time"][tested] >= times[-int(SHARES[0] * len(times))]
        models = {
            "ridge": make_pipeline(StandardScaler(), Ridge(ALPHA.get(name, 1.0))),
            "boosting": HistGradientBoostingRegressor(max_iter=50, random_state=0),
        }
        z = {one: X.loc[tested, one] for one in NAIVE}
        for one, model in models.items():
            fitted = model.fit(X[~tested], y[~tested])
            z[one] = pd.Series(fitted.predict(X[tested]), X.index[tested])
        errors = {one: (y[tested] - values).abs() for one, values in z.items()}
        naive = min(NAIVE, key=lambda one: float(errors[one].mean()))
        pairs = [NAIVE, (naive, "ridge"), ("ridge", "boosting")]
        found = [power(rows[tested], z[one], z[other], season) for one, other in pairs]
        of_last = [f"{errors[one][last].mean():.4f}" for one in models]
        table.append([name, f"{share:.0%}", str(steps), *found, *of_last])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("data/05_model_input"))
    parser.add_argument("--use-cases", nargs="+", default=["stock", "prices", "power"])
    parser.add_argument("--seasons", nargs="+", type=int, default=[7, 1, 48])
    options = parser.parse_args()
    head = ["use case", "share", "steps", "naive pair", "ridge, naive", "boosting, ridge"]
    head += ["MASE ridge", "MASE boosting"]
    table = []
    for name, season in zip(options.use_cases, options.seasons, strict=True):
        table += shares_of(name, options.folder, season)
    print_table(head, table)


if __name__ == "__main__":
    main()
