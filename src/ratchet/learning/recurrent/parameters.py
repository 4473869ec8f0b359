"""Whether the parameters of a recurrent regressor make sense."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from ratchet.learning.recurrent.activations import keras_activation
from ratchet.learning.recurrent.architectures import architecture

_AT_LEAST_1 = ("units", "batch_size", "epochs", "patience", "lookback", "horizon")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse what no network can be built or trained with.

    Args:
        parameters: as ``get_params`` of the regressor gives them.

    Raises:
        ValueError: a parameter is out of its range, or names what is not known.
    """
    for name in _AT_LEAST_1:
        value = parameters[name]
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    _check_number("dropout", parameters["dropout"], lambda value: 0 <= value < 1, "0 <= x < 1")
    _check_number(
        "learning_rate", parameters["learning_rate"], lambda value: 0 < value < math.inf, "x > 0"
    )
    architecture(parameters["architecture"])
    keras_activation(parameters["activation"])


def _check_number(name: str, value: Any, allowed: Callable[[Any], bool], described: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not allowed(value):
        raise ValueError(f"{name} must be a number with {described}, not {value!r}")
