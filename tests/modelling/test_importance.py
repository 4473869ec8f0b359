"""Importance of sources: what is lost when their columns are shuffled together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.modelling.importance import grouped_permutation_importance


@pytest.fixture(name="X")
def rows() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(400, 4))
    return pd.DataFrame(values, columns=["a_1", "a_2", "b", "idle"], index=range(1000, 1400))


GROUPS = {"idle": ["idle"], "b": ["b"], "a": ["a_1", "a_2"]}


def test_added_loss_is_what_theory_says(X):
    """For y = sum of w x with x independent and standard, shuffling x adds 2 w^2 to the MSE."""
    y = 3 * X["a_1"] + 2 * X["b"]

    def loss(rows: pd.DataFrame) -> float:
        return float(np.mean((y - 3 * rows["a_1"] - 2 * rows["b"]) ** 2))

    table = grouped_permutation_importance(loss, X, GROUPS, n_repeats=30)

    assert list(table["source"]) == ["a", "b", "idle"]
    np.testing.assert_allclose(table["importance"], [18, 8, 0], rtol=0.15, atol=1e-12)
    assert (table["spread"][:2] > 0).all()
    assert table["spread"][2] == 0


def test_columns_of_a_source_stay_together(X):
    """A model that compares two columns of one source loses nothing when both move alike."""
    X = X.assign(a_2=X["a_1"])

    def loss(rows: pd.DataFrame) -> float:
        return float(np.mean((rows["a_1"] - rows["a_2"]) ** 2))

    together = grouped_permutation_importance(loss, X, {"a": ["a_1", "a_2"]})
    apart = grouped_permutation_importance(loss, X, {"a_1": ["a_1"], "a_2": ["a_2"]})

    assert together["importance"][0] == 0
    assert (apart["importance"] > 1).all()


def test_seed_decides_and_rows_stay(X):
    before = X.copy()

    def loss(rows: pd.DataFrame) -> float:
        assert rows.index.equals(before.index)
        return float((rows["a_1"] * rows["b"]).mean())

    first, again, other = (
        grouped_permutation_importance(loss, X, GROUPS, seed=s) for s in (1, 1, 2)
    )

    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    pd.testing.assert_frame_equal(X, before)
