"""Where something comes from: who ran what, on which code."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from pathlib import Path

MLFLOW_RUN = "RATCHET_MLFLOW_RUN"
"""Environment variable in which the tracking of a run leaves the id of its MLflow run."""

ORCHESTRATOR_RUN = "AIRFLOW_CTX_DAG_RUN_ID"
"""Environment variable in which Airflow gives a task the id of its DAG run ..."""

ORCHESTRATOR_DAG = "AIRFLOW_CTX_DAG_ID"
"""... and of its DAG: runs of two DAGs at the same time have the same id."""

ORCHESTRATOR_TASK = "AIRFLOW_CTX_TASK_ID"
"""And of the task itself."""


def orchestrator_run() -> str | None:
    """The DAG run that this process works for, ``<dag>/<run>``; None outside of one."""
    run, dag = os.environ.get(ORCHESTRATOR_RUN), os.environ.get(ORCHESTRATOR_DAG)
    return "/".join(filter(None, [dag, run])) if run else None


def actor() -> str:
    """Who has started this process: the DAG run it works for, or ``user@host``."""
    if run := orchestrator_run():
        return run
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def code_commit(project: Path) -> str | None:
    """Commit of the code, ``-dirty`` where files differ from it; None outside of a git checkout."""
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
