"""What the DAGs of Airflow are drawn from: ``conf/*/airflow.yml`` and the pipelines, in a file."""

from ratchet.airflow.config import AirflowSettings, Job, read_settings
from ratchet.airflow.manifest import build_manifest, manifest_text

__all__ = ["AirflowSettings", "Job", "build_manifest", "manifest_text", "read_settings"]
