"""What more series cost: every phase of a forecast of made daily sales, by rows.

Each series has a level, a trend, seasons of the week and of the year, a price with promotions, days
without a sale and, for every fourth one, a launch after the first day; units are counts. Measured
are CPU seconds and peak memory of the phases, each group of them in a process of its own, and the
disk that raw file and outputs take. Candidates are the seasonal naive forecast, a ridge and
histogram boosting, one point each, two folds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from harness.measure import peak, print_table
from harness.project import copy_project

PHASES = {
    "prepare": "understanding,preprocessing",
    "fit": "classical",
    "rest": "evaluation,reporting,release",
}
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
_SERIES_AT_A_TIME = 500
BARE = Path(__file__).parent / "bare/mlforecast_fit.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--series", type=int, nargs="+", default=[200, 2000], help="numbers (default: 200 2000)"
    )
    parser.add_argument("--days", type=int, default=400, help="of each series (default: 400)")
    parser.add_argument("--train-rows", type=int, help="data.train_rows (default: all)")
    parser.add_argument("--share", type=float, default=0.1, help="of validation, and of test")
    parser.add_argument(
        "--phases", nargs="+", choices=PHASES, default=list(PHASES), help="which are run"
    )
    parser.add_argument(
        "--mlforecast", help="python of an environment with mlforecast and lightgbm, to compare"
    )
    options = parser.parse_args()
    rows = [row(number, options) for number in options.series]
    head = ["series", "rows"]
    for phase in options.phases:
        head += [f"{phase}: CPU s", "peak MB"]
    head += ["raw MB", "outputs MB"]
    if options.mlforecast:
        head += ["mlforecast: CPU s", "peak MB", "MAE: boosting", "mlforecast"]
    print_table(head, rows)


def row(series: int, options: argparse.Namespace) -> list[str]:
    with TemporaryDirectory() as folder:
        project = make_project(Path(folder), options.train_rows, options.share)
        raw = project / "data/01_raw/shop.parquet"
        rows = write_sales(raw, series, options.days)
        used = [
            peak("-m", "kedro", "run", "--pipelines", PHASES[phase], cwd=project)
            for phase in options.phases
        ]
        outputs = sum(path.stat().st_size for path in project.glob("data/0[2-8]*/**/*"))
        sizes = [raw.stat().st_size, outputs]
        compared = compare(project, options) if options.mlforecast else []
    return [
        f"{series:,}",
        f"{rows:,}",
        *(f"{value:.0f}" for one in used for value in one),
        *(f"{size / 1e6:.0f}" for size in sizes),
        *compared,
    ]


def compare(project: Path, options: argparse.Namespace) -> list[str]:
    """CPU seconds and memory of mlforecast on the same rows, and the error of both."""
    raw, result = project / "data/01_raw/shop.parquet", project / "bare.json"
    used = peak(BARE, raw, result, str(options.share), cwd=project, program=options.mlforecast)
    scores = json.loads((project / "data/07_model_output/shop/metrics.json").read_text())
    ours = scores["units"]["hist_gradient_boosting"]["test"]["mae"]["value"]
    theirs = json.loads(result.read_text())["mae"]
    return [f"{used.cpu:.0f}", f"{used.memory:.0f}", f"{ours:.3f}", f"{theirs:.3f}"]


def make_project(folder: Path, train_rows: int | None, share: float) -> Path:
    """A project whose only use case is the shop."""
    project = copy_project(folder)
    for path in project.glob("conf/*/parameters/*.yml"):
        if path.stem != "run":
            path.unlink()
    run = project / "conf/base/parameters/run.yml"
    run.write_text(run.read_text().replace("first_report: prices", "first_report: shop"))
    parameters = yaml.safe_load(PARAMETERS)
    parameters["shop"]["data"] |= {
        "train_rows": train_rows,
        "split": {"validation": share, "test": share},
    }
    (project / "conf/local/catalog.yml").write_text(CATALOG)
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(parameters))
    (project / "conf/local/mlflow.yml").write_text("enabled: false\n")
    return project


def write_sales(path: Path, series: int, days: int) -> int:
    """Write the rows of all series, a few of them in memory at a time; how many rows there are."""
    count = 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for rows in sales(series, days):
            writer.write_table(pa.Table.from_pandas(rows, _SCHEMA, preserve_index=False))
            count += len(rows)
    return count


_SCHEMA = pa.schema(
    {"day": pa.date32(), "product": pa.string(), "units": pa.float64(), "price": pa.float64()}
)


def sales(series: int, days: int, seed: int = 0) -> Iterator[pd.DataFrame]:
    """Rows of a few series at a time, in the order of series and days."""
    rng = np.random.default_rng(seed)
    day, dates = np.arange(days), pd.date_range("2019-01-01", periods=days).to_numpy()
    for first in range(0, series, _SERIES_AT_A_TIME):
        shape = (min(_SERIES_AT_A_TIME, series - first), days)
        usual = rng.lognormal(1.0, 0.6, (shape[0], 1))
        promoted = rng.random((shape[0], days // 7 + 1)) < 0.1
        price = usual * np.where(promoted, 0.8, 1.0).repeat(7, axis=1)[:, :days]
        level = rng.lognormal(0.5, 1.2, (shape[0], 1))
        trend = rng.normal(0, 0.3, (shape[0], 1)) * day / max(days, 365)
        week = rng.normal(0, 0.3, (shape[0], 7))[:, day % 7]
        year = rng.normal(0, 0.2, (shape[0], 1)) * np.sin(2 * np.pi * day / 365.25)
        mean = level * np.exp(trend + week + year) * (price / usual) ** -2
        units = rng.poisson(mean * rng.gamma(2.0, 0.5, shape))
        launch = np.where(rng.random(shape[0]) < 0.25, rng.integers(0, days // 2, shape[0]), 0)
        sold = day >= launch[:, None]
        names = np.array([f"product_{first + number:06}" for number in range(shape[0])])
        yield pd.DataFrame(
            {
                "day": np.broadcast_to(dates, shape)[sold],
                "product": names[np.nonzero(sold)[0]],
                "units": units[sold].astype(float),
                "price": price.round(2)[sold],
            }
        )


if __name__ == "__main__":
    main()
