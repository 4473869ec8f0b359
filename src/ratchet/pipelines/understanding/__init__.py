"""Data understanding: the contract of the raw file, and what is in it."""

from ratchet.pipelines.understanding.pipeline import create_pipeline

__all__ = ["create_pipeline"]
