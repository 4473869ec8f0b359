"""What the metrics say of the monitoring, which other processes run."""

import json
import os

import pytest

from ratchet.serving.metrics import Metrics
from ratchet.serving.overview import Overview
from ratchet.serving.protocols import Fixed

WARNING = {"level": "warning", "text": "R2 is 0.06 lower.", "advice": "Retrain."}


@pytest.fixture
def metrics(tmp_path):
    overview = Overview(f"sqlite:///{tmp_path / 'own.db'}", tmp_path)
    models = Fixed([], ["films", "power"])

    def text():
        return Metrics(models, report_of=overview.report).text("text/plain")[0].decode()

    return text


def write(folder, at=1_790_000_000, severity="MEDIUM", alerts=(WARNING, WARNING)):
    drift = severity and {
        "columns": {"runtime": {"text": "runtime is longer", "moved": True}},
        "joint": {"text": "all columns", "moved": False},
        "severity": severity,
    }
    content = {"action": "none", "reason": "all is well", "alerts": list(alerts), "drift": drift}
    (folder / "films").mkdir(exist_ok=True)
    path = folder / "films" / "watch.json"
    path.write_text(json.dumps(content))
    os.utime(path, (at, at))
    return path


def test_drift_and_alerts_of_the_last_monitoring_are_metrics(metrics, tmp_path):
    write(tmp_path)

    lines = metrics().splitlines()

    assert 'ratchet_drift_severity{use_case="films"} 2.0' in lines
    assert 'ratchet_monitoring_alerts{level="warning",use_case="films"} 2.0' in lines
    assert 'ratchet_monitoring_alerts{level="critical",use_case="films"} 0.0' in lines
    assert 'ratchet_monitoring_timestamp_seconds{use_case="films"} 1.79e+09' in lines
    assert not [line for line in lines if 'use_case="power"' in line and "monitoring" in line]


def test_a_new_result_of_the_monitoring_is_read(metrics, tmp_path):
    write(tmp_path)
    metrics()
    write(tmp_path, at=1_790_086_400, severity="HIGH")

    assert 'ratchet_drift_severity{use_case="films"} 3.0' in metrics()


def test_without_a_comparison_there_is_no_drift(metrics, tmp_path):
    write(tmp_path, severity=None, alerts=())

    text = metrics()

    assert "ratchet_drift_severity{" not in text
    assert 'ratchet_monitoring_alerts{level="warning",use_case="films"} 0.0' in text


def test_a_damaged_result_is_left_out(metrics, tmp_path):
    write(tmp_path).write_text("{")

    assert "ratchet_monitoring_alerts{" not in metrics()
