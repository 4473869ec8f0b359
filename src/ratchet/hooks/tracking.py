"""MLflow tracking."""

from __future__ import annotations


class TrackingHooks:
    """One MLflow run per Kedro run."""
