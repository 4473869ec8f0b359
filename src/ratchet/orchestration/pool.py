"""The pool of training tasks, made where Airflow has none: one that somebody changed stays.

``airflow pools set`` would undo their change at every start.
"""

from __future__ import annotations

NAME, SLOTS, ABOUT = "cores", 2, "Trainings at once, of all DAGs"


def make_if_absent() -> None:
    """Make the pool if it is not there."""
    from airflow.models.pool import Pool

    if Pool.get_pool(NAME) is None:
        Pool.create_or_update_pool(NAME, SLOTS, ABOUT, include_deferred=False)
