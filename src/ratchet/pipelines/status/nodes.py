"""The node of the status page."""

from __future__ import annotations

from typing import Any

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
    import datetime as dt

    from ratchet.config import UseCase
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
