"""Features from raw columns: encoders, and history without a look ahead."""

from ratchet.learning.features.encoders import (
    CyclicEncoder,
    MultiHotEncoder,
    NumericEncoder,
    TextEncoder,
    feature_encoder,
)
from ratchet.learning.features.history import history_features

__all__ = [
    "CyclicEncoder",
    "MultiHotEncoder",
    "NumericEncoder",
    "TextEncoder",
    "feature_encoder",
    "history_features",
]
