"""The forecast of ``many_series.py`` by mlforecast and LightGBM alone, in an environment apart.

``python mlforecast_fit.py shop.parquet result.json 0.1`` makes the same lags, rolling means and
spreads, day of the week and price, fits as many trees on all days before the last tenth, and
forecasts each of those one day ahead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
from mlforecast import MLForecast
from mlforecast.lag_transforms import RollingMean, RollingStd


def main() -> None:
    path, result, share = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    rows = pd.read_parquet(path)
    rows["day"] = pd.to_datetime(rows["day"])
    rows["product"] = rows["product"].astype("category")
    rows[["units", "price"]] = rows[["units", "price"]].astype(np.float32)
    forecast = MLForecast(
        models=[],
        freq="D",
        lags=[*range(1, 8), 14],
        lag_transforms={1: [part(days) for days in (7, 28) for part in (RollingMean, RollingStd)]},
        date_features=["dayofweek"],
    )
    made = forecast.preprocess(
        rows, id_col="product", time_col="day", target_col="units", static_features=[]
    )
    del rows
    days = np.sort(made["day"].unique())
    all_days = int((days[-1] - days[0]) / np.timedelta64(1, "D")) + 29
    first = days[-1] - np.timedelta64(round(all_days * share) - 1, "D")
    test = (made["day"] >= first).to_numpy()
    features = made.columns.drop(["product", "day", "units"])
    model = lgb.LGBMRegressor(n_estimators=100, n_jobs=2, verbosity=-1)
    model.fit(made.loc[~test, features], made.loc[~test, "units"])
    truth = made.loc[test, "units"].to_numpy()
    error = truth - model.predict(made.loc[test, features])
    about = {"rows": int(test.sum()), "mae": abs(error).mean(), "rmse": (error**2).mean() ** 0.5}
    result.write_text(json.dumps({name: float(value) for name, value in about.items()}))


if __name__ == "__main__":
    main()
