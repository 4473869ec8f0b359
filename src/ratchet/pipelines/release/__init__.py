"""Release: bundles, the gate's verdict on them, and the model that serves."""

from ratchet.pipelines.release.pipeline import create_pipeline

__all__ = ["create_pipeline"]
