"""What may stand in ``conf/*/airflow.yml``: when and how Airflow runs the use cases."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, field_validator, model_validator

from ratchet.config.base import Params, explain_errors
from ratchet.config.production import Positive
from ratchet.errors import ConfigError

_CRON_FIELDS = 5


class DataClock(Params):
    """Ties the calendar of the runs to that of the data.

    A run of the day ``run`` sees the data up to the day before ``data``; other runs are as many
    days before or after.

    Attributes:
        run: a day of the clock on the wall.
        data: the day of the data that it represents.
    """

    run: dt.date
    data: dt.date


class Job(Params):
    """When and how one use case is retrained and watched.

    Attributes:
        retrain: cron expression of the retraining; null for none, only on demand.
        monitor: cron expression of the monitoring; null likewise.
        start_date: the earliest slot; by default the next one after the DAG is first seen. One in
            the past lets the newest slot before now run at once.
        owner: whom Airflow names as the owner.
        tags: further tags of the DAGs.
        retries: how often a failed task is tried again.
        retry_minutes: wait before the first retry; it doubles with every further one.
        max_retry_minutes: the longest wait.
        deadline_hours: a run that takes longer is reported to the webhook; null for never.
        require_approval: whether a person has to approve a promotion.
        approval_hours: time for that; without an answer it is rejected.
        data_clock: which day of the data a day represents; by default itself.
        env: Kedro environment of the runs, by default Kedro's own. With one, write the manifest by
            ``kedro ratchet manifest --env`` of it.
        backfill_env: that of back-fill runs, with ``paths`` and a ``tracking_uri`` of its own.
        pool: pool of Airflow that bounds the training tasks of all DAGs. Airflow has to have it:
            ``make airflow`` makes it.
        pool_slots: slots of it that a training task takes.
    """

    retrain: str | None = "0 2 * * 0"
    monitor: str | None = "0 6 * * *"
    start_date: dt.date | None = None
    owner: str = "ratchet"
    tags: list[str] = []
    retries: Annotated[int, Field(ge=0)] = 2
    retry_minutes: Positive = 5
    max_retry_minutes: Positive = 60
    deadline_hours: Positive | None = 6
    require_approval: bool = False
    approval_hours: Positive = 24
    data_clock: DataClock | None = None
    env: str | None = None
    backfill_env: str = "backfill"
    pool: str = "cores"
    pool_slots: Annotated[int, Field(ge=1)] = 1

    @field_validator("retrain", "monitor")
    @classmethod
    def _is_cron(cls, cron: str | None) -> str | None:
        if cron is not None and len(cron.split()) != _CRON_FIELDS:
            raise ValueError(
                f"expected a cron expression with {_CRON_FIELDS} fields, such as '0 2 * * 0' for "
                f"Sunday 02:00, found '{cron}'"
            )
        return cron

    @model_validator(mode="after")
    def _separate_backfill(self) -> Self:
        if self.backfill_env == self.env:
            raise ValueError(
                f"backfill_env: '{self.backfill_env}' is also the environment of live runs (env): "
                f"a back-fill would move what serves to the past"
            )
        return self


class Runner(Params):
    """Where the commands of the tasks run.

    Attributes:
        kind: ``local``, a process of its own on the worker; ``docker``, a container; or
            ``kubernetes``, a pod. The last two need Airflow's provider of that name.
        python: the project's interpreter; a relative path belongs to the project folder.
        image: the project's image.
        project: folder of the project in the image.
        volumes: docker: what is mounted, ``/on/the/host:/in/the/container``.
        network: docker: network of the container.
        namespace: kubernetes: namespace of the pods.
        pod_template_file: kubernetes: file that says what else the pods have (volumes, secrets,
            resources); a relative path belongs to the project.
        environment: further variables of the commands; values may be templates of Airflow.
    """

    kind: Literal["local", "docker", "kubernetes"] = "local"
    python: str = ".venv/bin/python"
    image: str | None = None
    project: str = "/app"
    volumes: list[str] = []
    network: str | None = None
    namespace: str = "default"
    pod_template_file: str | None = None
    environment: dict[str, str] = {}

    @model_validator(mode="after")
    def _name_an_image(self) -> Self:
        if self.kind != "local" and not self.image:
            raise ValueError(f"image: {self.kind} needs the name of the project's image")
        if bad := [volume for volume in self.volumes if ":" not in volume]:
            raise ValueError(f"volumes: expected /on/the/host:/in/the/container, found {bad}")
        return self


class AirflowSettings(Params):
    """The file ``airflow.yml``.

    Attributes:
        timezone: time zone of schedules, and of the day that a run belongs to.
        defaults: when and how the use cases are run.
        use_cases: name -> keys of ``defaults`` that are different for this use case.
        runner: where the commands run.
        mlflow_url: address of MLflow's pages, for links. The store of back-fills is another one,
            and has none (``conf/backfill/airflow.yml``).
    """

    timezone: str = "UTC"
    defaults: Job = Job()
    use_cases: dict[str, dict[str, Any]] = {}
    runner: Runner = Runner()
    mlflow_url: str | None = None

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"expected a time zone such as Europe/Madrid, found '{name}'"
            ) from None
        return name

    def job(self, use_case: str) -> Job:
        """When and how a use case is run.

        Raises:
            ValidationError: an override is unknown or has the wrong type.
        """
        own = self.use_cases.get(use_case) or {}
        return Job.model_validate({**self.defaults.model_dump(), **own})


def read_settings(config: Mapping[str, Any], use_cases: Iterable[str]) -> AirflowSettings:
    """Check the content of ``airflow.yml``.

    Args:
        config: what the files say.
        use_cases: which use cases there are.

    Raises:
        ConfigError: a key is unknown or a value has the wrong type; names the key's path.
    """
    names = list(use_cases)
    try:
        settings = AirflowSettings.model_validate(dict(config))
    except ValidationError as error:
        lines = explain_errors(error, AirflowSettings, "airflow")
        raise ConfigError("\n".join(lines)) from None
    if unknown := [name for name in settings.use_cases if name not in names]:
        raise ConfigError(f"airflow.use_cases: no use case {unknown}; there are {names}")
    for name in names:
        try:
            settings.job(name)
        except ValidationError as error:
            lines = explain_errors(error, Job, f"airflow.use_cases.{name}")
            raise ConfigError("\n".join(lines)) from None
    return settings
