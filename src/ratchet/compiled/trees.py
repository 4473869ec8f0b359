"""Forests and boosted trees as arrays, with all trees of an ensemble evaluated side by side.

A library walks one tree after another, and spends most of the time of a single row on checks and
threads around it. Here a step is taken in every tree at once, by a handful of calls of NumPy; or,
where trees are small, all questions of all trees are asked at once and no steps are taken at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.compiled.models import Array, Places
from ratchet.compiled.serialization import narrow, program

_AT_ONCE = 60_000  # places in trees that are followed at once: what fits a processor's cache
_MASKS = {16: "u2", 32: "u4", 64: "u8"}  # leaves -> type of as many bits
_STEPS_WORTH = 3  # questions asked in vain that cost a batch as much as a step along a tree
_ROUNDS = 4  # steps after which rows that have arrived are no longer followed


@dataclass(frozen=True)
class Tree:
    """One fitted tree, as arrays over its nodes; the first node is its root.

    Attributes:
        feature: column that a node asks for.
        threshold: what it compares with.
        left: the child where the answer is yes; -1 in a leaf.
        right: the child where it is no.
        missing_left: whether a missing value counts as yes.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array

    def depths(self) -> Places:
        """Questions from the root to each node."""
        depths = np.zeros(len(self.left), np.intp)
        level, depth = np.zeros(1, np.intp), 0
        while len(level):
            depths[level] = depth
            level = level[self.left[level] >= 0]
            level = np.concatenate([self.left[level], self.right[level]]).astype(np.intp)
            depth += 1
        return depths


@program
@dataclass(frozen=True)
class TreeTraversal:
    """Trees of any size, followed from their roots until all have arrived.

    The two children of a node lie side by side, that of the answer no first: a step is a look-up
    and an addition. A leaf is its own child, and what it asks is never so.

    Attributes:
        feature: column that a node compares, see ``serialization.narrow``; those of ``width`` and
            more count what is missing as minus infinity, so that the comparison is true.
        threshold: what it compares with, in the precision in which the library compares.
        child: first child, likewise.
        roots: of the trees.
        depth: questions on the longest way.
        width: columns of a row.
        strict: whether yes is below the threshold, and not at it.
    """

    feature: Array
    threshold: Array
    child: Array
    roots: Places
    depth: int
    width: int
    strict: bool

    def __call__(self, X: Array) -> Places:
        """Give the leaf of each row in each tree, shape (n, trees), as a number of a node."""
        rows = _with_missing(X, self.threshold.dtype, self.width)
        return self._one(rows[0])[None] if len(rows) == 1 else self._many(rows)

    @property
    def trees(self) -> int:
        """How many there are."""
        return len(self.roots)

    def _one(self, row: Array) -> Places:
        feature, threshold, child = self.feature, self.threshold, self.child
        yes = np.less if self.strict else np.less_equal
        node = self.roots
        for _ in range(self.depth):
            compared = row.take(feature.take(node))
            answer = yes(compared, threshold.take(node))
            node = np.add(child.take(node), answer, dtype=np.intp)
        return node

    def _many(self, rows: Array) -> Places:
        n, width = rows.shape
        node = at = np.tile(self.roots, n)
        offset = np.repeat(np.arange(0, n * width, width), len(self.roots))
        flat, under_way = rows.ravel(), np.arange(len(node))
        for step in range(0, self.depth, _ROUNDS):
            at = self._steps(flat, at, offset, min(_ROUNDS, self.depth - step))
            node[under_way] = at
            left = np.flatnonzero(self.child.take(at) != at)
            under_way, at, offset = under_way.take(left), at.take(left), offset.take(left)
        return node.reshape(n, len(self.roots))

    def _steps(self, flat: Array, node: Places, offset: Places, steps: int) -> Places:
        yes = np.less if self.strict else np.less_equal
        for _ in range(steps):
            column = self.feature.take(node) + offset
            answer = yes(flat.take(column), self.threshold.take(node))
            node = np.add(self.child.take(node), answer, dtype=np.intp)
        return node


@program
@dataclass(frozen=True)
class Masks:
    """Small trees, of which every question is asked at once.

    The leaves of a tree are bits, from the left. Each no rules out the leaves below its yes; the
    first leaf that nothing rules out is where a walk would have arrived (Lucchese et al. 2015,
    "QuickScorer").

    Attributes:
        feature: as of ``TreeTraversal``, shape (questions, trees); trees with fewer questions ask
            some that rule out nothing.
        threshold: the same.
        mask: bits of the leaves that a no does not rule out, the same.
        first: number of the first leaf of a tree, less 1.
        width: columns of a row.
        strict: whether yes is below the threshold, and not at it.
    """

    feature: Places
    threshold: Array
    mask: Array
    first: Places
    width: int
    strict: bool

    def __call__(self, X: Array) -> Places:
        """Give the leaf of each row in each tree, shape (n, trees), counted over all trees."""
        rows = _with_missing(X, self.threshold.dtype, self.width)
        if len(rows) == 1:
            return self._leaves(self._one(rows[0]))[None]
        return self._leaves(self._many(np.ascontiguousarray(rows.T)).T)

    @property
    def trees(self) -> int:
        """How many there are."""
        return len(self.first)

    def _one(self, row: Array) -> Array:
        yes = np.less if self.strict else np.less_equal
        answer = yes(row.take(self.feature), self.threshold)
        masks = np.where(answer, ~self.mask.dtype.type(0), self.mask)
        result: Array = np.bitwise_and.reduce(masks, axis=0)
        return result

    def _many(self, columns: Array) -> Array:
        yes, all_of_them = np.less if self.strict else np.less_equal, ~self.mask.dtype.type(0)
        left = np.full((len(self.first), columns.shape[1]), all_of_them)
        for feature, threshold, mask in zip(self.feature, self.threshold, self.mask, strict=True):
            answer = yes(columns.take(feature, axis=0), threshold[:, None])
            left &= np.where(answer, all_of_them, mask[:, None])
        return left

    def _leaves(self, left: Array) -> Places:
        lowest = left & -left  # a power of two, and so exact as a float
        leaves: Places = np.frexp(lowest.astype(np.float64))[1] + self.first
        return leaves


Leaves = TreeTraversal | Masks


@program
@dataclass(frozen=True)
class Forest:
    """Mean over trees.

    Attributes:
        leaves: from rows to leaves.
        values: of each leaf, shape (leaves,) or (leaves, classes).
    """

    leaves: Leaves
    values: Array

    def __call__(self, X: Array) -> Array:
        """Predict rows of shape (n, columns); gives (n,) or (n, classes)."""
        return _in_parts(self._part, X, self.leaves.trees)

    def _part(self, X: Array) -> Array:
        # One tree after another, as the library adds them up.
        leaves = self.values.take(self.leaves(X), axis=0)
        result: Array = np.add.accumulate(leaves, axis=1, out=leaves)[:, -1] / leaves.shape[1]
        return result


@program
@dataclass(frozen=True)
class Boosting:
    """Sum over trees, one after another, on top of a start.

    Attributes:
        leaves: from rows to leaves; the trees of a round lie side by side, one for each output.
        values: of each leaf, in the precision in which the library adds them up.
        start: of each output, shape (outputs,).
    """

    leaves: Leaves
    values: Array
    start: Array

    def __call__(self, X: Array) -> Array:
        """Raw predictions of shape (n, outputs)."""
        return _in_parts(self._part, X, self.leaves.trees)

    def _part(self, X: Array) -> Array:
        leaves = self.values.take(self.leaves(X))
        rounds = leaves.reshape(len(leaves), self.leaves.trees // len(self.start), len(self.start))
        rounds[:, 0] += self.start
        result: Array = np.add.accumulate(rounds, axis=1, out=rounds)[:, -1]
        return result


def compile_trees(
    trees: Sequence[Tree], width: int, *, strict: bool = False, dtype: Any = np.float64
) -> tuple[Leaves, Places]:
    """Lay trees out so that they are quick to follow.

    Args:
        trees: fitted ones.
        width: columns of a row.
        strict: whether yes is below a threshold, and not at it.
        dtype: precision in which rows and thresholds are compared.

    Returns:
        What finds the leaves of rows, and for each number of a leaf the node it is, counted over
        the nodes of all trees in their order: ``values[nodes]`` are the values by leaf. Numbers
        that are no leaf have node 0.
    """
    depth = max(int(tree.depths().max()) for tree in trees)
    leaves = max(int((tree.left < 0).sum()) for tree in trees)
    if 1 < leaves <= max(_MASKS) and leaves - 1 <= _STEPS_WORTH * depth:
        return _masks(trees, width, strict=strict, dtype=dtype)
    return _walk(trees, width, depth, strict=strict, dtype=dtype)


def _in_parts(function: Callable[[Array], Array], X: Array, trees: int) -> Array:
    """Apply a function to so many rows at a time that what it looks at stays in the cache."""
    at_once = max(1, _AT_ONCE // trees)
    if len(X) <= at_once:
        return function(X)
    starts = range(0, len(X), at_once)
    return np.concatenate([function(X[start : start + at_once]) for start in starts])


def _with_missing(X: Array, dtype: Any, width: int) -> Array:
    """Rows in a precision, and once more with minus infinity for what is missing."""
    if X.shape[1] != width:
        raise ValueError(f"expected rows of {width} columns, got {X.shape[1]}")
    rows = X.astype(dtype, copy=False)
    missing = np.isnan(rows)
    return np.concatenate([rows, np.where(missing, dtype.type(-np.inf), rows)], axis=1)


def _columns(tree: Tree, width: int) -> Places:
    return np.where(tree.missing_left.astype(bool), tree.feature + width, tree.feature)


def _thresholds(values: Array, dtype: Any) -> Array:
    """Thresholds in the precision of the rows: at most what they were, so that x <= t stays."""
    rounded = values.astype(dtype)
    return np.where(rounded > values, np.nextafter(rounded, dtype(-np.inf)), rounded)


def _walk(
    trees: Sequence[Tree], width: int, depth: int, *, strict: bool, dtype: Any
) -> tuple[TreeTraversal, Places]:
    parts: list[tuple[Array, Array, Array, Array]] = []
    roots, end, before = [], 0, 0
    for tree in trees:
        order = _by_level(tree)
        position = np.empty(len(tree.left), np.intp)
        position[order] = np.arange(len(order)) + end
        leaf = tree.left[order] < 0
        child = np.where(leaf, position[order], position[tree.right[order]])
        column = np.where(leaf, 0, _columns(tree, width)[order])
        split_at = np.where(leaf, np.nan, _thresholds(tree.threshold[order], dtype))
        parts.append((column, split_at, child, order + before))
        roots.append(end)
        end, before = end + len(order), before + len(tree.left)
    columns, thresholds, children, nodes = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    traversal = TreeTraversal(
        feature=narrow(columns),
        threshold=thresholds.astype(dtype),
        child=narrow(children),
        roots=np.array(roots, np.intp),
        depth=depth,
        width=width,
        strict=strict,
    )
    return traversal, nodes


def _by_level(tree: Tree) -> Places:
    """Nodes by level, both children of a node beside each other, that of the answer no first."""
    level, order = np.zeros(1, np.intp), []
    while len(level):
        order.append(level)
        inner = level[tree.left[level] >= 0]
        level = np.stack([tree.right[inner], tree.left[inner]], axis=1).ravel().astype(np.intp)
    return np.concatenate(order)


def _masks(trees: Sequence[Tree], width: int, *, strict: bool, dtype: Any) -> tuple[Masks, Places]:
    most = max(int((tree.left < 0).sum()) for tree in trees)
    bits = min(size for size in _MASKS if size >= most)
    shape = most - 1, len(trees)
    feature, threshold = np.zeros(shape, np.intp), np.full(shape, np.nan, dtype)
    mask = np.full(shape, (1 << bits) - 1, _MASKS[bits])
    nodes, before = np.zeros((len(trees), most), np.intp), 0
    for number, tree in enumerate(trees):
        inner = np.flatnonzero(tree.left >= 0)
        spans, leaves = _spans(tree)
        n = len(inner)
        feature[:n, number] = _columns(tree, width)[inner]
        threshold[:n, number] = _thresholds(tree.threshold[inner], dtype)
        for bit, node in enumerate(inner):
            low, high = spans[int(tree.left[node])]
            mask[bit, number] = (1 << bits) - 1 - ((1 << high) - (1 << low))
        nodes[number, : len(leaves)] = np.asarray(leaves) + before
        before += len(tree.left)
    first = np.arange(len(trees)) * most - 1
    result = Masks(
        feature=feature,
        threshold=threshold,
        mask=mask,
        first=first.astype(np.intp),
        width=width,
        strict=strict,
    )
    return result, nodes.ravel()


def _spans(tree: Tree) -> tuple[dict[int, tuple[int, int]], list[int]]:
    """The leaves below every node, as numbers from the left; and the leaves in this order."""
    spans: dict[int, tuple[int, int]] = {}
    leaves: list[int] = []
    left: list[tuple[int, bool]] = [(0, False)]
    starts: dict[int, int] = {}
    while left:
        node, done = left.pop()
        if done:
            spans[node] = starts[node], len(leaves)
        elif tree.left[node] < 0:
            spans[node] = len(leaves), len(leaves) + 1
            leaves.append(node)
        else:
            starts[node] = len(leaves)
            left += [(node, True), (int(tree.right[node]), False), (int(tree.left[node]), False)]
    return spans, leaves
