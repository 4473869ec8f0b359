"""``kedro`` with a stop-watch: ``python probe.py times.json run --pipelines classical``.

Writes what the run took until its first node, and what MLflow took of the whole. Both are work of
the main process: the workers of the searches start later, and wait while MLflow logs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

START = time.perf_counter()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.measure import own_cpu  # noqa: E402

times: dict[str, list[float]] = {"start_up": [0.0, 0.0], "mlflow": [0.0, 0.0]}


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what a call costs to the time of MLflow."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        cpu, wall = own_cpu(), time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times["mlflow"][0] += own_cpu() - cpu
            times["mlflow"][1] += time.perf_counter() - wall

    return call


def started(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note the time at the first call."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        times["start_up"] = [
            own_cpu() - times["mlflow"][0],
            time.perf_counter() - START - times["mlflow"][1],
        ]
        return function(*args, **kwargs)

    return call


def main() -> None:
    from kedro.framework.cli import main as kedro
    from kedro.runner import SequentialRunner

    from ratchet.hooks.tracking import TrackingHooks

    for name in ("before_pipeline_run", "after_pipeline_run"):
        setattr(TrackingHooks, name, timed(getattr(TrackingHooks, name)))
    SequentialRunner.run = started(SequentialRunner.run)  # type: ignore[method-assign]
    target = Path(sys.argv.pop(1))
    try:
        kedro()
    finally:
        target.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main()
