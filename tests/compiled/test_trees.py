"""Both ways to follow trees lead where following one question after another leads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ratchet.compiled import trees
from ratchet.compiled.trees import Boosting, Forest, Masks, Tree, TreeTraversal, compile_trees

WIDTH = 4
VALUES = np.array([-1.0, -0.5, 0.0, 0.1, 0.5, 1.0, 1e30])


def grown(rng: np.random.Generator, leaves: int) -> Tree:
    """A tree of random shape and questions; its nodes are numbered in the order of growth."""
    left, right = [-1], [-1]
    for _ in range(leaves - 1):
        node = rng.choice([i for i, child in enumerate(left) if child < 0])
        first, second = len(left), len(left) + 1
        if rng.random() < 0.5:
            first, second = second, first
        left[node], right[node] = first, second
        left += [-1, -1]
        right += [-1, -1]
    n = len(left)
    return Tree(
        feature=rng.integers(0, WIDTH, n),
        threshold=rng.choice([*VALUES[:-1], np.inf], n),
        left=np.array(left),
        right=np.array(right),
        missing_left=rng.random(n) < 0.5,
    )


def followed(tree: Tree, row: np.ndarray, strict: bool) -> int:
    node = 0
    while tree.left[node] >= 0:
        value, threshold = row[tree.feature[node]], tree.threshold[node]
        yes = value < threshold if strict else value <= threshold
        if np.isnan(value):
            yes = tree.missing_left[node]
        node = int(tree.left[node] if yes else tree.right[node])
    return node


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 20) | st.integers(1, 70), min_size=1, max_size=5),
    strict=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    n=st.integers(0, 9),
    masks=st.booleans(),
)
def test_leaves_are_those_of_a_walk(seed, sizes, strict, dtype, n, masks):
    rng = np.random.default_rng(seed)
    forest = [grown(rng, size) for size in sizes]
    X = rng.choice([*VALUES, np.nan], (n, WIDTH)).astype(dtype).astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "_STEPS_WORTH", 1000 if masks else 0)
        leaves, nodes = compile_trees(forest, WIDTH, strict=strict, dtype=dtype)
    assert isinstance(leaves, Masks) == (masks and 1 < max(sizes) <= 64)
    starts = np.cumsum([0, *[len(tree.left) for tree in forest[:-1]]])
    if strict:  # XGBoost's thresholds are singles; scikit-learn compares a single with a double
        forest = [replace(tree, threshold=tree.threshold.astype(dtype)) for tree in forest]
    expected = [
        [start + followed(tree, row, strict) for start, tree in zip(starts, forest, strict=True)]
        for row in X
    ]
    assert_array_equal(nodes[leaves(X)], np.reshape(expected, (n, len(forest))))
    if n:
        one_by_one = [leaves(X[i : i + 1])[0] for i in range(n)]
        assert_array_equal(leaves(X), one_by_one)


@pytest.mark.parametrize("masks", [False, True])
def test_thresholds_between_two_numbers_of_single_precision(monkeypatch, masks):
    """``x <= t`` of a single and a double stays what it is when both are singles."""
    monkeypatch.setattr(trees, "_STEPS_WORTH", 1000 if masks else 0)
    below = np.float32(0.1)
    above = np.nextafter(below, np.float32(1))
    for threshold in (float(below), (float(below) + float(above)) / 2, float(above) - 1e-12):
        tree = Tree(
            feature=np.array([0, 0, 0]),
            threshold=np.array([threshold, 0, 0]),
            left=np.array([1, -1, -1]),
            right=np.array([2, -1, -1]),
            missing_left=np.zeros(3, bool),
        )
        leaves, nodes = compile_trees([tree], 1, dtype=np.float32)
        assert nodes[leaves(np.array([[below], [above]], float))].tolist() == [[1], [2]]


def test_sums_and_means_do_not_depend_on_how_many_rows_go_together(monkeypatch):
    rng = np.random.default_rng(0)
    forest = [grown(rng, 30) for _ in range(6)]
    leaves, nodes = compile_trees(forest, WIDTH)
    X = rng.normal(size=(50, WIDTH))
    values = rng.normal(size=nodes.max() + 1)[nodes]
    models = (
        Forest(leaves, values),
        Forest(leaves, rng.normal(size=(len(values), 3))),
        Boosting(leaves, values.astype(np.float32), np.array([1, 2], np.float32)),
    )
    together = [model(X) for model in models]
    monkeypatch.setattr(trees, "_AT_ONCE", 20)
    for model, expected in zip(models, together, strict=True):
        assert_array_equal(model(X), expected)
        assert_array_equal(np.concatenate([model(row[None]) for row in X]), expected)
    assert together[1].shape == (50, 3)
    assert together[2].shape == (50, 2)


def test_small_trees_are_asked_at_once_and_others_are_followed():
    rng = np.random.default_rng(0)
    assert isinstance(compile_trees([grown(rng, 15)] * 3, WIDTH)[0], Masks)
    assert isinstance(compile_trees([grown(rng, 200)], WIDTH)[0], TreeTraversal)
    assert isinstance(compile_trees([grown(rng, 1)], WIDTH)[0], TreeTraversal)


def test_rows_of_another_width_are_refused():
    rng = np.random.default_rng(0)
    for leaves in (15, 200):
        with pytest.raises(ValueError, match="expected rows of 4 columns, got 3"):
            compile_trees([grown(rng, leaves)], WIDTH)[0](np.zeros((1, WIDTH - 1)))
