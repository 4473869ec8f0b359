"""What two runs have to share for their results to be comparable."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader
from kedro.framework.project import settings

from ratchet.commands.sandbox import raw_file
from ratchet.provenance import code_commit

CODE = Path(__file__).parents[1]
"""Folder of our code."""

_PACKAGES = (
    *("keras", "numpy", "pandas", "scikit-learn", "scipy", "tensorflow", "tensorflow-cpu"),
    *("xgboost", "xgboost-cpu"),
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")


def fingerprint(
    loader: AbstractConfigLoader, project: Path, use_case: str
) -> dict[str, str | None]:
    """SHA-256 of code, configuration and raw data; ``None`` for data that are not one file."""
    data = raw_file(loader["catalog"], use_case, project)
    return {
        "code_sha256": _hash_of(CODE, "*.py"),
        "configuration_sha256": _hash_of(project / settings.CONF_SOURCE, "*.yml"),
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest() if data else None,
    }


def describe_environment(project: Path) -> dict[str, Any]:
    """Commit of the code, machine and packages."""
    return {
        "code_commit": code_commit(project),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": {name: os.environ.get(name) for name in _THREADS},
        },
        "packages": {"python": platform.python_version(), **dict(_versions())},
    }


def seed(loader: AbstractConfigLoader, params: str) -> Any:
    """The seed of a run: that of the parameters, or what ``--params`` says."""
    given = dict(part.strip().partition("=")[::2] for part in params.split(","))
    return int(given["seed"]) if "seed" in given else loader["parameters"].get("seed")


def _hash_of(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # several builds, of which one is installed
            continue
