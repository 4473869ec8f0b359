"""What the DAGs of Airflow are drawn from: ``conf/*/airflow.yml`` and the pipelines, in a file."""

from ratchet.orchestration.manifest import build_manifest, manifest_text
from ratchet.orchestration.settings import AirflowSettings, Job, read_settings

__all__ = ["AirflowSettings", "Job", "build_manifest", "manifest_text", "read_settings"]
