"""The status page: what serves, since when, how well, and what was decided."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import UseCase

_WATCH, _PARAMETERS = "_watch", "_parameters"


def write_status(registry: Any, prediction_log: Any, **by_use_case: Any) -> str:
    """Write the status page.

    Args:
        registry: the models and the ledger.
        prediction_log: what the models answered.
        by_use_case: for each use case ``<use_case>_watch``, what the monitoring found;
            ``<use_case>_decision``, which the ledger has; ``<use_case>_parameters``.

    Returns:
        HTML that needs nothing else.
    """
    from ratchet.reports.status.collect import collect
    from ratchet.reports.status.html import render

    use_cases = {
        name.removesuffix(_PARAMETERS): UseCase.model_validate(parameters)
        for name, parameters in by_use_case.items()
        if name.endswith(_PARAMETERS)
    }
    watches = {name: by_use_case[f"{name}{_WATCH}"] for name in use_cases}
    statuses = collect(registry, prediction_log, use_cases, watches)
    return render(statuses, dt.datetime.now(dt.UTC))


def create_pipeline(use_cases: dict[str, UseCase]) -> Pipeline:
    """Build the phase for all use cases: they share one page, written after all decisions."""
    by_use_case = {
        f"{name}_{noun}": f"{name}.{noun}" for name in use_cases for noun in ("watch", "decision")
    }
    inputs = {part: part for part in ("registry", "prediction_log", *by_use_case)}
    parameters = {f"{name}_parameters": f"params:{name}" for name in use_cases}
    with warnings.catch_warnings():
        # Of datasets from another namespace, which a page about all of them cannot do without.
        warnings.filterwarnings("ignore", message="One or more dataset names contain")
        return Pipeline(
            [
                node(
                    write_status,
                    inputs={**inputs, **parameters},
                    outputs="status",
                    name="write_status",
                )
            ],
            inputs={"registry": "registry", "prediction_log": "prediction_log", **by_use_case},
            parameters={name: name for name in parameters.values()},
            tags="status",
        )
