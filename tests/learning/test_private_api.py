"""Private attributes of other libraries are there, in the releases in which they were read."""

from __future__ import annotations

import random
from importlib.metadata import version

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from ratchet.learning.private_api import (
    READ_IN,
    has_histogram_trees,
    histogram_trees,
    is_tree,
    seeds_of_layers,
    validate_params,
)

X, Y = np.arange(60.0)[:, None], np.arange(60.0) % 7


def test_they_were_read_in_the_installed_releases():
    """After an upgrade: read what ``private_api`` uses in the new release, then change this."""
    installed = {name: ".".join(version(name).split(".")[:2]) for name in READ_IN}
    assert installed == READ_IN == {"scikit-learn": "1.9", "keras": "3.15"}


def test_parameters_are_checked_before_fit():
    validate_params(Ridge(alpha=1.0))
    validate_params(object())
    with pytest.raises(ValueError, match="'alpha' parameter of Ridge must be"):
        validate_params(Ridge(alpha=-1.0))


def test_trees_are_found():
    tree, boosting = DecisionTreeRegressor().fit(X, Y), HistGradientBoostingRegressor(max_iter=3)

    assert is_tree(tree.tree_)
    assert not is_tree(tree)
    assert not has_histogram_trees(boosting)
    trees = histogram_trees(boosting.fit(X, Y))
    assert has_histogram_trees(boosting)
    assert len(trees) == 3
    names = {"left", "right", "is_leaf", "feature_idx", "is_categorical", "bitset_idx"}
    assert names <= set(trees[0].nodes.dtype.names)
    assert trees[0].raw_left_cat_bitsets.ndim == 2


def test_seeds_of_layers_do_not_depend_on_who_else_draws_random_numbers():
    from keras.src.random.seed_generator import make_default_seed

    with seeds_of_layers(3):
        first = [make_default_seed(), make_default_seed()]
    with seeds_of_layers(3):
        again = [make_default_seed()]
        random.random()  # as another thread may do meanwhile
        again.append(make_default_seed())

    expected = random.Random(3)
    assert first == again == [expected.randint(1, 10**9) for _ in range(2)]
