"""What it takes to log the trials of a search in MLflow, as a share of what training them took.

Reads a finished search of the project, which ``kedro run --pipelines recurrent`` leaves, and logs
it as the tracking does, with the models of the best, into an empty store of its own. The bar: at
most 5 % of the training.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from harness.measure import print_table

from ratchet.hooks.mlflow_runs import log_model, log_trials, tracking_to
from ratchet.learning import trusted

MODELS = Path("data", "06_models")
BAR = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS, help=f"(default: {MODELS})")
    parser.add_argument("--search", default="stock/units/recurrent", help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    options = parser.parse_args()
    place, _, name = options.search.rpartition("/")
    folder = options.models / place
    search, curves = (
        pd.read_parquet(folder / kind / f"{name}.parquet") for kind in ("search", "curves")
    )
    top = trusted.load(folder / "top" / f"{name}.skops")
    with tempfile.TemporaryDirectory() as store:
        taken = [log(Path(store), search, curves, top) for _ in range(options.repeats + 1)][1:]
    wall, cpu = (statistics.median(times) for times in zip(*taken, strict=True))
    trained = float(search["mean_fit_time"].sum())  # of one process each
    met = "met" if cpu <= BAR * trained else "MISSED"
    numbers = [f"{trained:.0f}", f"{wall:.1f}", f"{cpu:.1f}", f"{cpu / trained:.1%}"]
    print_table(
        ("trials", "training, s", "logging, wall s", "CPU s", "share", f"bar {BAR:.0%}"),
        [[str(len(search)), *numbers, met]],
    )


def log(folder: Path, search: Any, curves: Any, top: Any) -> tuple[float, float]:
    """Wall and CPU seconds of logging all trials; the first time it makes the store."""
    import mlflow

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name("trials")
    experiment = (
        found.experiment_id
        if found
        else client.create_experiment("trials", (folder / "artifacts").as_uri())
    )
    parent = client.create_run(experiment).info.run_id
    wall, cpu = time.perf_counter(), time.process_time()
    with tracking_to(uri):
        log_trials(
            client,
            parent,
            "search",
            search,
            curves,
            log_best=lambda run, nth: log_model(run, top[nth]),
            n_best=len(top),
        )
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
