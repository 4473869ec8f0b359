"""A database to log in, and made predictions with known truth."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.database import connect
from ratchet.monitoring.prediction_log import PredictionLog

# Without the driver a line for every test would say the same.
DATABASES = ["sqlite", *(["postgresql"] if find_spec("psycopg") else [])]


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A fresh database."""
    if request.param == "sqlite":
        engine = connect(f"sqlite:///{tmp_path / 'log.db'}")
    else:
        engine = connect(request.getfixturevalue("postgresql")())
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine: sa.Engine) -> PredictionLog:
    """An empty prediction log."""
    return PredictionLog(engine)
