"""The status page: what serves, since when, how well, and what was decided."""

from ratchet.pipelines.status.pipeline import create_pipeline

__all__ = ["create_pipeline"]
