"""What all DAGs of a use case are made with."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import (
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    SyncCallback,
    get_parsing_context,
)

from ratchet_dags import messages
from ratchet_dags.commands import Commands
from ratchet_dags.manifest import manifest
from ratchet_dags.tasks import job_options

_JUST_MISSED = dt.timedelta(minutes=10)
"""A slot that has just passed when a DAG is first seen is still run; an older one is not."""


def use_cases_to_draw(kind: str) -> dict[str, Any]:
    """The use cases whose DAG of a kind, ``retrain`` or ``monitor``, has to be drawn.

    All for the DAG processor. A task that starts needs its own DAG only, and Airflow says which
    one: to draw those of a thousand use cases would take longer than many a task.
    """
    asked = get_parsing_context().dag_id
    return {
        name: about
        for name, about in manifest()["use_cases"].items()
        if asked in (None, f"{kind}_{name}")
    }


def hours(number: float) -> dt.timedelta:
    """A number of hours."""
    return dt.timedelta(hours=number)


def as_of_param() -> Param:
    """The day of the data, which a person may choose when they start a run."""
    return Param(
        None,
        type=["null", "string"],
        format="date",
        description="Last day whose rows are seen; the day before the run's own by default.",
    )


def dag_options(commands: Commands, cron: str | None, kind: str) -> dict[str, Any]:
    """Options of a DAG.

    Args:
        commands: those of its use case.
        cron: when it runs; None for on demand only.
        kind: ``retrain`` or ``monitor``.
    """
    job = commands.job
    return {
        "dag_display_name": f"{commands.about['title']}: {kind}",
        "description": commands.about["question"],
        "schedule": cron and timetable(cron),
        "start_date": _midnight(job["start_date"]),
        "catchup": False,
        "max_active_runs": 1,
        "default_args": job_options(job),
        "tags": ["ratchet", kind, commands.name, *job["tags"]],
        "user_defined_macros": commands.macros(),
        "on_failure_callback": messages.failed,
        "deadline": deadline(f"{kind}_{commands.name}", job["deadline_hours"]),
        "render_template_as_native_obj": False,
    }


def timetable(cron: str) -> CronTriggerTimetable:
    """A schedule that does not begin with the slot that lies behind.

    Without a start date Airflow runs the newest past slot if less than a tenth of the time to the
    next one has gone by since: of a week nearly a day, in which a deployment would retrain at once.
    """
    return CronTriggerTimetable(cron, timezone=manifest()["timezone"], run_immediately=_JUST_MISSED)


def deadline(dag_id: str, after: float | None) -> DeadlineAlert | None:
    """Tell somebody when a run takes too long; None for never."""
    if after is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=hours(after),
        callback=SyncCallback(messages.late, kwargs={"dag_id": dag_id, "hours": after}),
    )


def _midnight(day: str | None) -> dt.datetime | None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(manifest()["timezone"])
    return None if day is None else dt.datetime.fromisoformat(day).replace(tzinfo=zone)
