"""Recurrent modelling: networks searched, calibrated and averaged."""

from ratchet.pipelines.recurrent.pipeline import create_pipeline

__all__ = ["create_pipeline"]
