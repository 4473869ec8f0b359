"""The locked versions of Celery and of Airflow's provider for it fit together."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_worker_can_import_its_executor(tmp_path: Path) -> None:
    """With Celery 5.7 the provider 3.26 cannot, and ``airflow celery worker`` ends at once."""
    try:
        version("apache-airflow-providers-celery")
    except PackageNotFoundError:
        pytest.skip("Airflow's provider for Celery is not installed: make setup-cluster")
    line = "from airflow.providers.celery.executors.celery_executor import app; print(app.main)"

    done = subprocess.run(
        [sys.executable, "-c", line],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert "celery" in done.stdout
