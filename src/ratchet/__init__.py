"""Ratchet: business problems through CRISP-DM; a new model serves only when it is better."""

__version__ = "0.1.0"
