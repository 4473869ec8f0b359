"""Projects with less to read: OmegaConf takes a second for the parameters of all use cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def _keep_only(project: Path, *use_cases: str) -> None:
    for path in project.glob("conf/*/parameters/*.yml"):
        if path.stem not in use_cases:
            path.unlink()


@pytest.fixture(scope="session")
def keep_only() -> Callable[..., None]:
    """Remove the parameters of all other use cases from a project."""
    return _keep_only
