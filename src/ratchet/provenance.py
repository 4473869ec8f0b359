"""Where something comes from: who ran what, on which code."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
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
    """Commit of the code, ``-dirty`` where files differ from it; None outside of a git checkout.

    Files that runs write themselves make nothing dirty: scores and pointers in ``data``, and DVC's
    record of what was run.
    """
    git = ["git", "-C", str(project)]
    of_code = ["--", ".", ":(exclude)data", ":(exclude)dvc.lock"]
    try:
        commit = _answer([*git, "rev-parse", "HEAD"])
        changed = _answer([*git, "status", "--porcelain", "--untracked-files=no", *of_code])
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _answer(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def code_version(parts: Sequence[str | Path], libraries: Sequence[str]) -> str:
    """Short hash of code that decides on a result beside its arguments; takes milliseconds.

    Args:
        parts: folders and files of our package.
        libraries: distributions whose versions count; one that is not installed does, too.

    Raises:
        FileNotFoundError: a part does not exist, such as one that was renamed.
    """
    package = Path(__file__).parent
    versions = package_versions(libraries)
    hashed = [f"{name} {versions.get(name)}".encode() for name in libraries]
    for part in parts:
        path = package / part
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a file or folder of {package.name}")
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        hashed += [file.read_bytes() for file in files]
    return sha256(b"\0".join(hashed)).hexdigest()[:12]


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Distribution -> its version, of those that are installed: xgboost goes by two names."""
    versions = {}
    for name in names:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
