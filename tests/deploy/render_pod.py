"""Print the pod that a task of the DAGs would run in, and a pod template as Airflow reads it.

render_pod.py MANIFEST TASK  ->  JSON: ``pod``, ``template``
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def main(manifest: str, dag_id: str, task_id: str) -> None:
    os.environ["RATCHET_MANIFEST"] = manifest
    sys.path.insert(0, str(ROOT / "dags"))
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient

    import retrain

    task = retrain.DAGS[dag_id].get_task(task_id)
    # There is no connection to Kubernetes here, which could name another side-car.
    nothing = lambda self: None  # noqa: E731
    KubernetesHook.get_xcom_sidecar_container_image = nothing
    KubernetesHook.get_xcom_sidecar_container_resources = nothing
    KubernetesHook.get_xcom_sidecar_container_security_context = nothing
    pod = task.build_pod_request_obj(dry_run=True)
    template = PodGenerator.deserialize_model_file(task.pod_template_file)
    as_json: Any = ApiClient().sanitize_for_serialization
    print(json.dumps({"pod": as_json(pod), "template": as_json(template)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
