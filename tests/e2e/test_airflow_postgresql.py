"""The database of Airflow may be PostgreSQL: one variable, and the rest as before."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

pytestmark = pytest.mark.slow

DAG = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag

@dag(schedule=None)
def greet():
    BashOperator(task_id="say", bash_command="echo hello", pool="cores")

greet()
"""


def test_a_run_is_kept_in_postgresql(
    tmp_path: Path, postgresql: Any, airflow_in: Any, make_project: Any
) -> None:
    make_project(tmp_path)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "greet.py").write_text(DAG)
    url = postgresql()

    airflow = airflow_in(tmp_path, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url)
    airflow.start()
    airflow.unpause("greet")
    run = airflow.trigger("greet")
    airflow.finished("greet", run)

    assert airflow.xcom("greet", run, "say") == "hello"
    assert not (tmp_path / ".airflow" / "airflow.db").exists()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        kept = connection.execute(sa.text("SELECT run_id, state FROM dag_run")).all()
    engine.dispose()
    assert kept == [(run, "success")]
    assert airflow.stop(signal.SIGINT) == 0  # before the server of its database; a Ctrl-C
