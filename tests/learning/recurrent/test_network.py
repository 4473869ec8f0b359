from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from ratchet.learning.recurrent.architectures import ARCHITECTURES
from ratchet.learning.recurrent.network import build_network, count_parameters

SIZES: dict[str, Any] = {"units": 8, "lookback": 4, "features": 3, "horizon": 2}


def weights(**options: Any) -> list[np.ndarray[Any, Any]]:
    settings = {"architecture": "bidirectional_deep", **SIZES, **options}
    return build_network(**settings).get_weights()


def equal(some: list[Any], others: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def test_initial_weights_depend_on_the_seed_and_on_nothing_before_it() -> None:
    first = weights(seed=3)
    random.random()
    assert equal(weights(seed=3), first)
    assert not equal(weights(seed=4), first)


def test_a_seed_gives_the_initial_weights_that_it_gave_in_earlier_releases() -> None:
    model = build_network(
        architecture="multi_head_gru", units=4, lookback=3, features=2, horizon=1, seed=7
    )
    first, *_, last, _ = (weight.ravel()[0] for weight in model.get_weights())
    assert (first, last) == pytest.approx((0.561008, -0.400015), abs=1e-6)


@pytest.mark.parametrize("name", ["lstm_dense", "pyramid_gru", "conv_gru"])
def test_initial_weights_are_the_same_for_any_dropout(name: str) -> None:
    assert equal(weights(architecture=name, dropout=0.0), weights(architecture=name, dropout=0.4))


def test_building_leaves_the_random_numbers_of_others_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    weights()
    assert random.random() == expected


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_the_plain_ones_are_a_layer_dropout_and_a_dense_layer(kind: str) -> None:
    model = build_network(architecture=kind.lower(), dropout=0.3, **SIZES)
    _, recurrent, dropout, dense = model.layers
    assert [type(layer).__name__ for layer in model.layers[1:]] == [kind, "Dropout", "Dense"]
    assert recurrent.activation.__name__ == "tanh"
    assert recurrent.recurrent_activation.__name__ == "sigmoid"
    assert (recurrent.units, dropout.rate, dense.units) == (8, 0.3, 2)


def test_activation_and_dropout_reach_every_layer() -> None:
    model = build_network(
        architecture="bidirectional_deep", activation="hard_swish", dropout=0.4, **SIZES
    )
    kinds = {type(layer).__name__: layer for layer in model._flatten_layers()}
    assert kinds["GRU"].activation.__name__ == "hard_silu"
    assert kinds["Bidirectional"].backward_layer.activation.__name__ == "hard_silu"
    rates = [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]
    assert rates == [0.4, 0.4]


def test_a_sequence_shares_its_dropout_over_time() -> None:
    model = build_network(architecture="stacked_gru", dropout=0.5, **SIZES)
    inner = next(layer for layer in model.layers if type(layer).__name__ == "Dropout")
    dropped = np.asarray(inner(np.ones((6, 4, 8), dtype=np.float32), training=True)) == 0
    assert (dropped == dropped[:, :1]).all()
    assert 0 < dropped.mean() < 1


@pytest.mark.parametrize(("name", "count"), [("gru", 330), ("lstm", 402)])
def test_parameters_are_counted(name: str, count: int) -> None:
    # Of a GRU 3 x (features + units + 2 biases) x units, of an LSTM 4 x (features + units + 1).
    assert count_parameters(name, **SIZES) == count


@pytest.mark.parametrize("part", ["units", "lookback", "features", "horizon"])
def test_sizes_below_one_are_refused(part: str) -> None:
    with pytest.raises(ValueError, match=rf"{part}: expected at least 1, got 0"):
        build_network(architecture="gru", **{**SIZES, part: 0})


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_of_all_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"dropout: expected a share from 0 to below 1"):
        build_network(architecture="gru", dropout=rate, **SIZES)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown architecture .*known: .*gru"):
        build_network(architecture="grue", **SIZES)
    with pytest.raises(ValueError, match=r"unknown activation .*known: .*tanh"):
        build_network(architecture="gru", activation="tan", **SIZES)


def test_a_wider_network_has_more_parameters_in_every_architecture() -> None:
    smaller, larger = ({**SIZES, "units": units} for units in (4, 8))
    for name in ARCHITECTURES:
        assert count_parameters(name, **smaller) < count_parameters(name, **larger)
