"""Classical modelling: every candidate searched, calibrated and stacked."""

from ratchet.pipelines.classical.pipeline import create_pipeline

__all__ = ["create_pipeline"]
