"""Alerts: what is beyond its threshold, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from ratchet.config.production import Alerts
from ratchet.json_values import json_or_null
from ratchet.monitoring.comparison import exceeds
from ratchet.monitoring.performance import promoted_scores


@dataclass(frozen=True)
class Alert:
    """One thing that is beyond its threshold.

    Attributes:
        name: ``accuracy_drop``, ``r2_drop``, ``error_rate``, ``response_ms``, ``failing_model``.
        level: ``warning``; ``critical`` where a model has to be replaced.
        text: what happened, with the numbers.
        advice: one line that says what to do.
        value: what was measured.
        threshold: beyond what it is too much.
    """

    name: str
    level: Literal["warning", "critical"]
    text: str
    advice: str
    value: float
    threshold: float

    def to_json(self) -> dict[str, Any]:
        """The fields; None for what is not finite."""
        return json_or_null(asdict(self))


def find_alerts(
    use_case: str,
    alerts: Alerts,
    *,
    windows: Mapping[str, pd.DataFrame] | None = None,
    promoted: Mapping[str, Mapping[str, float]] | None = None,
    operations: pd.DataFrame | None = None,
    models: Mapping[str, pd.DataFrame] | None = None,
    champion: str | None = None,
) -> list[Alert]:
    """Find what is beyond its threshold in the latest window; exactly at it is not beyond.

    Args:
        use_case: name of the use case.
        alerts: the thresholds.
        windows: target -> windows of the champion, as ``score_windows`` gives them.
        promoted: target -> metric -> score at the promotion.
        operations: all requests of the use case, as ``performance.operations`` gives them.
        models: version -> its requests, likewise; a version that no longer answered in the latest
            window of all requests is past.
        champion: the version that serves; of another one that fails, a rollback is no way out.

    Returns:
        The critical ones first.
    """
    scores = promoted or {}
    found_alerts = [
        alert
        for target, table in (windows or {}).items()
        for alert in _falls(use_case, target, table, scores.get(target, {}), alerts)
    ]
    if operations is not None and len(operations):
        found_alerts += _requests(use_case, operations.iloc[-1], alerts)
    for version, table in (models or {}).items():
        if len(table) and not _is_past(table, operations):
            found_alerts += _failing(use_case, version, champion or version, table.iloc[-1], alerts)
    return sorted(found_alerts, key=lambda alert: alert.level != "critical")


def _falls(
    use_case: str,
    target: str,
    windows: pd.DataFrame,
    promoted: Mapping[str, float],
    alerts: Alerts,
) -> list[Alert]:
    drops = []
    for metric, threshold in (("accuracy", alerts.accuracy_drop), ("r2", alerts.r2_drop)):
        scored = windows.dropna(subset=[metric]) if metric in windows else windows.iloc[:0]
        if metric not in promoted or scored.empty:
            continue
        now, rows = float(scored[metric].iloc[-1]), int(scored["rows"].iloc[-1])
        before = float(promoted_scores(scored.tail(1), metric, promoted[metric])[0])
        fall = before - now
        if exceeds(fall, threshold):
            text = (
                f"{use_case}: {metric} of {target} fell by {fall:.3f}, from "
                f"{before:.3f} at the promotion to {now:.3f} on {rows} rows "
                f"(alert above {threshold:g})"
            )
            advice = (
                f"see kedro ratchet status; to go back: kedro ratchet rollback --use-case "
                f'{use_case} --reason "{metric} of {target} fell"'
            )
            drops.append(Alert(f"{metric}_drop", "warning", text, advice, fall, threshold))
    return drops


def _requests(use_case: str, window: pd.Series, alerts: Alerts) -> list[Alert]:
    request_alerts = []
    rate, response = float(window["error_rate"]), float(window["response_ms"])
    if exceeds(rate, alerts.error_rate):
        text = (
            f"{use_case}: {rate:.1%} of {int(window['requests'])} requests failed (alert above "
            f"{alerts.error_rate:.0%})"
        )
        advice = f"mend the commonest error first: {window['error']}"
        request_alerts.append(Alert("error_rate", "warning", text, advice, rate, alerts.error_rate))
    if exceeds(response, alerts.response_ms):
        text = (
            f"{use_case}: 5 % of {int(window['requests'])} answers took {response:.0f} ms or more "
            f"(alert above {alerts.response_ms:g} ms)"
        )
        advice = (
            "see whether the machine is busy; a lower release.max_latency_ms keeps slow models "
            "from being promoted"
        )
        request_alerts.append(
            Alert("response_ms", "warning", text, advice, response, alerts.response_ms)
        )
    return request_alerts


def _is_past(requests: pd.DataFrame, operations: pd.DataFrame | None) -> bool:
    if operations is None or operations.empty:
        return False
    return bool(requests["end"].iloc[-1] <= operations["start"].iloc[-1])


def _failing(
    use_case: str, version: str, champion: str, window: pd.Series, alerts: Alerts
) -> list[Alert]:
    rate = float(window["error_rate"])
    if not exceeds(rate, alerts.failing_model):
        return []
    text = (
        f"{use_case}: model version {version} failed in {rate:.1%} of {int(window['requests'])} "
        f"requests (alert above {alerts.failing_model:.0%}), mostly by: {window['error']}"
    )
    advice = (
        f'kedro ratchet rollback --use-case {use_case} --reason "version {version} fails"'
        if version == champion
        else f"version {champion} serves by now; where this one answers in a split beside it, take "
        f"{use_case} out of split in conf/*/serving.yml"
    )
    return [Alert("failing_model", "critical", text, advice, rate, alerts.failing_model)]
