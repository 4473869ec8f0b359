from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.learning.recurrent.architectures import ARCHITECTURES, FAMILIES, architecture
from ratchet.learning.recurrent.architectures.page import page, table_text
from ratchet.learning.recurrent.network import build_network

SHAPES = [
    (1, 1, 1),
    (7, 10, 4),
]  # look-back, features, horizon: the least, and more features than units
ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "architectures.md"
TABLE = ROOT / "src/ratchet/learning/recurrent/architectures/architectures.json"


def windows(n: int, lookback: int, features: int) -> Any:
    return np.random.default_rng(0).random((n, lookback, features), dtype=np.float32)


def test_six_families_of_five() -> None:
    assert Counter(entry.family for entry in ARCHITECTURES.values()) == dict.fromkeys(FAMILIES, 5)
    assert len(FAMILIES) == 6


def test_each_is_described_in_one_line() -> None:
    descriptions = [entry.description for entry in ARCHITECTURES.values()]
    assert len(set(descriptions)) == len(descriptions)
    assert all(line.endswith(".") and "\n" not in line for line in descriptions)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown architecture 'grue'; known: .*gru, .*skip_gru"):
        architecture("grue")


@pytest.mark.parametrize(("path", "make"), [(PAGE, page), (TABLE, table_text)])
def test_the_lists_are_up_to_date(path: Path, make: Any) -> None:
    assert path.read_text(encoding="utf-8") == make(), (
        "make it anew: python -m ratchet.learning.recurrent.architectures.page FILE"
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_builds_trains_a_step_and_depends_on_every_time_step(name: str) -> None:
    import keras
    import tensorflow as tf

    for lookback, features, horizon in SHAPES:
        sizes = {"lookback": lookback, "features": features, "horizon": horizon}
        model = build_network(architecture=name, units=8, dropout=0.2, **sizes)
        x = tf.constant(windows(6, lookback, features))
        with tf.GradientTape() as tape:
            tape.watch(x)
            forecast = model(x, training=True)
            loss = tf.reduce_mean(tf.square(forecast - 1.0))
        assert forecast.shape == (6, horizon)
        by_input, *gradients = tape.gradient(loss, [x, *model.trainable_variables])
        by_step = np.abs(by_input).max(axis=(0, 2))
        assert (by_step > 0).all(), f"at {sizes} the steps count {by_step}"
        before = model.get_weights()
        keras.optimizers.Adam(0.01).apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        after = model.get_weights()
        assert any((old != new).any() for old, new in zip(before, after, strict=True))
        assert all(np.isfinite(new).all() for new in after)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_opens_with_keras_alone(name: str, tmp_path: Path) -> None:
    import keras

    model = build_network(
        architecture=name, units=8, dropout=0.3, lookback=4, features=3, horizon=2, seed=1
    )
    assert {type(layer).__module__.split(".")[0] for layer in model._flatten_layers()} == {"keras"}
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    x = windows(5, 4, 3)
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6, atol=1e-7)
