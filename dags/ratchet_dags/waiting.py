"""Back-fills take one run after the other."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator

from ratchet_dags.commands import BACKFILL

_UNDER_WAY = ("queued", "running")


class EarlierRun(BaseSensorOperator):
    """Lets a back-fill take one run after the other: each is judged against the one before.

    Airflow starts ten runs of a back-fill at once unless it is told otherwise, and the limit of the
    DAG does not count for them.
    """

    def poke(self, context: Any) -> bool:
        """Whether no earlier run is under way; other runs do not ask."""
        if context["dag_run"].run_type != BACKFILL:
            return True
        return not any(context["ti"].get_previous_dagrun(state=state) for state in _UNDER_WAY)


def earlier_run() -> EarlierRun:
    """The first task of a DAG that may be back-filled."""
    return EarlierRun(task_id="earlier_run", mode="reschedule", poke_interval=60)
