"""Pricing: demand trained by iterations, prices recommended, and held against later weeks."""

from ratchet.pipelines.pricing.pipeline import create_pipeline

__all__ = ["create_pipeline"]
