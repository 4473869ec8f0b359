"""Activations of the recurrent networks, by name."""

from __future__ import annotations

ACTIVATIONS = {
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "linear",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "exponential": "exponential",
    "softplus": "softplus",
    "softsign": "softsign",
    "swish": "silu",
    "mish": "mish",
    "gelu": "gelu",
    "hard_sigmoid": "hard_sigmoid",
    "hard_swish": "hard_silu",
}
"""Name -> name in Keras: a network saved with any of them opens without code of ours."""


def keras_activation(name: str) -> str:
    """Name of an activation in Keras.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]
