"""Data preparation: rows, features, and the one split that every family of models sees."""

from ratchet.pipelines.preprocessing.pipeline import create_pipeline

__all__ = ["create_pipeline"]
