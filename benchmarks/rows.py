"""What more rows cost: contract, profile and features of made series of days.

Each series has 400 days, a price and units sold. Measured are CPU seconds and peak memory of the
phases understanding and preprocessing, then of classical (two candidates, one point each, two
folds), and the disk that raw file and outputs take.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from harness.measure import peak, print_table
from harness.project import copy_project

DAYS = 400
PHASES = ("understanding,preprocessing", "classical")
CATALOG = """
shop.raw:
  type: pandas.ParquetDataset
  filepath: data/01_raw/shop.parquet
"""
PARAMETERS = """
shop:
  about: {title: Shop, question: "How much is sold tomorrow?", source: made by a benchmark}
  data:
    time: day
    columns:
      day: {type: date}
      product: {type: string}
      units: {type: number}
      price: {type: number}
    series: {id: product, frequency: D, season: 7}
    calendar: [dayofweek]
  features:
    numeric: [price]
    categorical: [dayofweek]
    windows: {lookback: 7, past: {units: value}, lags: [14], rolling: [7, 28]}
  targets:
    units:
      column: units
      task: forecasting
      baseline: seasonal
      cv: 2
      candidates:
        seasonal: {estimator: seasonal}
        ridge: {estimator: ridge, param_grid: {model__alpha: [1]}}
        hist_gradient_boosting:
          estimator: hist_gradient_boosting
          param_grid: {model__max_iter: [100]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--series", type=int, nargs="+", default=[200, 2000], help="numbers (default: 200 2000)"
    )
    rows = [row(number) for number in parser.parse_args().series]
    head = (
        "series",
        "rows",
        "prepare: CPU s",
        "peak MB",
        "fit: CPU s",
        "peak MB",
        "raw MB",
        "outputs MB",
    )
    print_table(head, rows)


def row(series: int) -> list[str]:
    with TemporaryDirectory() as folder:
        project = copy_project(Path(folder))
        for path in project.glob("conf/*/parameters/*.yml"):
            if path.stem != "run":
                path.unlink()
        (project / "conf/local/catalog.yml").write_text(CATALOG)
        (project / "conf/local/parameters.yml").write_text(PARAMETERS)
        (project / "conf/local/mlflow.yml").write_text("enabled: false\n")
        raw = project / "data/01_raw/shop.parquet"
        sales(series).to_parquet(raw)
        used = [peak("-m", "kedro", "run", "--pipelines", phases, cwd=project) for phases in PHASES]
        outputs = sum(path.stat().st_size for path in project.glob("data/0[2-8]*/**/*"))
        sizes = [raw.stat().st_size, outputs]
    return [
        f"{series:,}",
        f"{series * DAYS:,}",
        *(f"{value:.0f}" for one in used for value in one),
        *(f"{size / 1e6:.0f}" for size in sizes),
    ]


def sales(series: int) -> pd.DataFrame:
    """Rows of all series: units that follow the day of the week and the price."""
    rng = np.random.default_rng(0)
    shape = (series, DAYS)
    price = rng.uniform(1, 3, shape)
    week = 5 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    units = 100 + week - 12 * (price - 2) + rng.normal(size=shape)
    return pd.DataFrame(
        {
            "day": np.tile(pd.date_range("2024-01-01", periods=DAYS), series),
            "product": np.repeat([f"p{number:05}" for number in range(series)], DAYS),
            "units": units.round(2).ravel(),
            "price": price.round(2).ravel(),
        }
    )


if __name__ == "__main__":
    main()
