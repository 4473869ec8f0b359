"""Tasks that run a command of the project, wherever the manifest says."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator

from ratchet_dags.commands import Commands
from ratchet_dags.manifest import PROJECT, manifest

_CONTEXT = {
    "AIRFLOW_CTX_DAG_ID": "{{ dag.dag_id }}",
    "AIRFLOW_CTX_TASK_ID": "{{ task.task_id }}",
    "AIRFLOW_CTX_DAG_RUN_ID": "{{ run_id }}",
    "AIRFLOW_CTX_TRY_NUMBER": "{{ ti.try_number }}",
}
"""What a process is told of the task it runs for; BashOperator gives it by itself."""

_XCOM_OF_PODS = "/airflow/xcom/return.json"
_OUTPUT_OF_PODS = "/tmp/output"

_SIDE_CAR = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Of the container that holds the answer of a pod: a restricted namespace refuses it otherwise."""

SKIPPED = 99
"""Exit code of a command that had nothing to do: its task counts as skipped."""


def command_task(task_id: str, command: str, *, answers: bool = False, **options: Any) -> Any:
    """A task that runs a command in a process, container or pod of its own.

    Args:
        task_id: name of the task.
        command: for bash; may be a template.
        answers: whether the last line of its output is JSON that other tasks need.
        options: of every operator.
    """
    runner = manifest()["runner"]
    make = {"local": _process, "docker": _container, "kubernetes": _pod}[runner["kind"]]
    return make(runner, task_id, command, answers, {**options, "do_xcom_push": answers})


def phase_task(commands: Commands, task_id: str, *phases: str, **options: Any) -> Any:
    """A task that runs phases of a use case; its page names their nodes."""
    nodes = [node for phase in phases for node in commands.about["phases"][phase]]
    page = "Nodes of Kedro, in order:\n\n" + "\n".join(f"- `{node}`" for node in nodes)
    return command_task(task_id, commands.run(*phases), doc_md=page, **options)


def _process(
    runner: Mapping[str, Any], task_id: str, command: str, answers: bool, options: Mapping[str, Any]
) -> Any:
    if answers:
        options = {**options, "output_processor": json.loads}
    return BashOperator(
        task_id=task_id,
        bash_command=command,
        cwd=str(PROJECT),
        env=_environment(runner),
        append_env=True,
        skip_on_exit_code=SKIPPED,
        **options,
    )


def _container(
    runner: Mapping[str, Any], task_id: str, command: str, answers: bool, options: Mapping[str, Any]
) -> Any:
    from airflow.providers.docker.operators.docker import DockerOperator
    from docker.types import Mount

    return DockerOperator(
        task_id=task_id,
        image=runner["image"],
        command=["bash", "-c", command],
        working_dir=runner["project"],
        environment={**_environment(runner), **_CONTEXT},
        mounts=[
            Mount(target=inside, source=outside, type="bind")
            for outside, inside in (volume.split(":", 1) for volume in runner["volumes"])
        ],
        mount_tmp_dir=False,
        network_mode=runner["network"],
        auto_remove="success",
        skip_on_exit_code=SKIPPED,
        **options,
    )


def _pod(
    runner: Mapping[str, Any], task_id: str, command: str, answers: bool, options: Mapping[str, Any]
) -> Any:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    if answers:
        # The side-car reads the answer from this file, which has to be there before bash ends.
        shown = f"set -o pipefail; {{ {command}; }} | tee {_OUTPUT_OF_PODS}"
        command = f"{shown} && tail -n 1 {_OUTPUT_OF_PODS} > {_XCOM_OF_PODS}"
    return KubernetesPodOperator(
        task_id=task_id,
        name=task_id.replace("_", "-"),
        namespace=runner["namespace"],
        image=runner["image"],
        cmds=["bash", "-c"],
        arguments=[f"cd {runner['project']} && {command}"],
        env_vars={**_environment(runner), **_CONTEXT},
        pod_template_file=_pod_template(runner),
        xcom_sidecar_container_security_context=_SIDE_CAR,
        skip_on_exit_code=SKIPPED,
        **options,
    )


def _pod_template(runner: Mapping[str, Any]) -> str | None:
    """Path of the template of pods; a relative one belongs to the project.

    Airflow would run pods without volumes and secrets where there is no such file.
    """
    if runner["pod_template_file"] is None:
        return None
    path = PROJECT / runner["pod_template_file"]
    if not path.is_file():
        raise ValueError(
            f"runner.pod_template_file in airflow.yml: expected a file at {path}; mount it there "
            f"in all of Airflow's pods, or name another one"
        )
    return str(path)


def _environment(runner: Mapping[str, Any]) -> dict[str, str]:
    return {"KEDRO_DISABLE_TELEMETRY": "1", **runner["environment"]}


def job_options(job: Mapping[str, Any]) -> dict[str, Any]:
    """Options that all tasks of a use case share."""
    return {
        "owner": job["owner"],
        "retries": job["retries"],
        "retry_delay": dt.timedelta(minutes=job["retry_minutes"]),
        "retry_exponential_backoff": True,
        "max_retry_delay": dt.timedelta(minutes=job["max_retry_minutes"]),
    }
