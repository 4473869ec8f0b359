"""Use cases in every condition, as the status page meets them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ratchet.reports.status.collect import Model, Predicted, UseCaseStatus

PROMOTED = {"value": 0.50, "low": 0.46, "high": 0.54}
SINCE = dt.datetime(2026, 10, 4, 4, 12, tzinfo=dt.UTC)


def entry(event: str, version: str | None, day: int, reason: str, **changed: Any) -> Any:
    known = {
        **{"event": event, "version": version, "champion": "3", "previous": "2"},
        **{"at": SINCE.replace(day=day), "reason": reason, "actor": "ada@office", "details": {}},
    }
    made = SimpleNamespace(**{**known, **changed})
    made.to_json = lambda: {"event": made.event, "version": made.version}
    return made


CONDITIONS = [
    {"name": "sound", "passed": True, "reason": "all files, golden answers", "numbers": {}},
    {"name": "better", "passed": False, "reason": "1.1% better, 2% are asked", "numbers": {}},
    {"name": "slices", "passed": None, "reason": "no columns are named", "numbers": {}},
]


def window(week: int, value: float | None, **changed: Any) -> dict[str, Any]:
    start = dt.datetime(2026, 10, 5) + dt.timedelta(weeks=week)
    around = {} if value is None else {"mase_low": value - 0.04, "mase_high": value + 0.05}
    return {
        **{"start": start.isoformat(), "end": (start + dt.timedelta(weeks=1)).isoformat()},
        **{"complete": True, "answers": 350, "rows": 336, "note": "", "mase": value},
        **around,
        **changed,
    }


def report(severity: str = "NONE", moved: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "severity": severity,
        "alarm": severity != "NONE",
        "rows": {"reference": 5000, "current": 336},
        "span": ["2026-11-09T00:00:00", "2026-11-15T23:30:00"],
        "moved": list(moved),
        "reasons": [f"{name} has moved by 1.2 spreads, 0.3 would be usual." for name in moved],
    }


def watch(*windows: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        **{"action": "none", "reason": "mase was 0.5 at the promotion and 0.51 in the window"},
        **{"windows": list(windows), "alerts": [], "drift": report(), "scored": 336, "joined": 336},
        **changed,
    }


@pytest.fixture
def status() -> Callable[..., UseCaseStatus]:
    """A status in which all is well; keywords change it."""

    def make(**changed: Any) -> UseCaseStatus:
        known = {
            **{"name": "power", "title": "Electric load", "target": "demand", "metric": "mase"},
            **{"greater_is_better": False, "since": SINCE, "promoted": PROMOTED},
            "champion": Model("3", {"demand": "ridge"}),
            "previous": Model("2", {"demand": "mixture"}),
            "rollback_above": 0.05,
            "predicted": Predicted(2016, 2000, dt.datetime(2026, 11, 15, 23, 30)),
            "watch": watch(*(window(w, 0.5 + 0.01 * (w % 3)) for w in range(6))),
            "decisions": [
                entry("hold", "4", 25, "not enough", details={"conditions": CONDITIONS}),
                entry("promote", "3", 4, "8.1% better on 1,343 fresh rows"),
            ],
        }
        return UseCaseStatus(**{**known, **changed})

    return make


@pytest.fixture
def make_watch() -> Callable[..., dict[str, Any]]:
    return watch


@pytest.fixture
def make_window() -> Callable[..., dict[str, Any]]:
    return window


@pytest.fixture
def make_report() -> Callable[..., dict[str, Any]]:
    return report


@pytest.fixture
def make_entry() -> Callable[..., Any]:
    return entry


@pytest.fixture
def every_condition(status: Callable[..., UseCaseStatus]) -> list[UseCaseStatus]:
    """One use case each in which all is well, inputs moved, all is wrong, nothing is there."""
    worse = [window(w, 0.5 + 0.03 * w) for w in range(5)]
    drifted = watch(
        *worse,
        action="retrain",
        reason="mase was 0.5 at the promotion and 0.62 in the latest window: 24.0% worse; the "
        "previous model has 0.63 on the same 672 rows, which is not surely better",
        drift=report("HIGH", ("temperature", "humidity")),
    )
    alert = {
        **{"name": "failing_model", "level": "critical", "value": 0.081, "threshold": 0.05},
        "text": "films: model version 7 failed in 8.1% of 210 requests (alert above 5%)",
        "advice": 'kedro ratchet rollback --use-case films --reason "version 7 fails"',
    }
    films = Model("7", {"success": "stack", "rating": "ridge"})
    return [
        status(),
        status(name="stock", title="Stock", watch=drifted),
        status(
            name="films",
            title="Films",
            target="success",
            champion=films,
            previous=Model("5"),
            challenger=Model("8", {"success": "xgboost", "rating": "kernel"}),
            watch=watch(window(0, None, note="12 rows, 20 are needed"), alerts=[alert]),
            problems=["the previous model cannot be used: encoder.skops is missing in bundle 5"],
        ),
        status(
            name="new",
            title="New",
            champion=None,
            previous=None,
            since=None,
            promoted=None,
            predicted=None,
            watch=None,
            decisions=[],
        ),
        status(
            name="prices",
            title="Prices",
            previous=None,
            watch=None,
            predicted=Predicted(0, 0, None),
        ),
    ]
