"""Evaluation: every candidate on the same rows, the choice, and the business objectives."""

from ratchet.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
