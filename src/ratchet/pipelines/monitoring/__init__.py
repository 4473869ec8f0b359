"""Monitoring: the champion's answers, what came true, and what follows from it."""

from ratchet.pipelines.monitoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]
