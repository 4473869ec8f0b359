"""A database to log in, and made predictions with known truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.database import connect
from ratchet.monitoring.prediction_log import PredictionLog


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """A fresh SQLite database."""
    engine = connect(f"sqlite:///{tmp_path / 'log.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine: sa.Engine) -> PredictionLog:
    """An empty prediction log."""
    return PredictionLog(engine)
