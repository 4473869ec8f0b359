from __future__ import annotations

import numpy as np
import pytest

from ratchet.learning.recurrent.architectures.blocks import ACTIVATIONS, keras_activation


def test_there_are_fifteen() -> None:
    assert len(ACTIVATIONS) == 15


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown activation 'swoosh'; known: .*gelu.*tanh"):
        keras_activation("swoosh")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_is_one_of_keras_and_differs_from_the_others(name: str) -> None:
    import keras

    x = np.linspace(-4, 4, 33, dtype=np.float32)
    values = {
        other: np.asarray(keras.activations.get(keras_activation(other))(x))
        for other in ACTIVATIONS
    }
    same = [other for other in ACTIVATIONS if np.allclose(values[other], values[name], atol=1e-4)]
    assert same == [name]
