"""Private attributes of other libraries that have no public counterpart, all in one place.

A new release of a library may change them without notice: ``READ_IN`` names the releases in which
they were read, and a test compares these with what is installed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

READ_IN = {"scikit-learn": "1.9", "keras": "3.15"}
"""Library -> release, major and minor, in which the attributes below were read."""


def validate_params(estimator: Any) -> None:
    """Check the parameters of an estimator of scikit-learn before it is fitted; others pass.

    Publicly, only ``fit`` checks them.

    Raises:
        ValueError: a parameter has a type or a value that is not allowed.
    """
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()


def is_tree(part: object) -> bool:
    """Whether an object is the compiled tree in scikit-learn's trees and forests."""
    kind = type(part)
    return kind.__name__ == "Tree" and kind.__module__ == "sklearn.tree._tree"


def has_histogram_trees(part: object) -> bool:
    """Whether an object is an estimator of scikit-learn's histogram boosting that was fitted."""
    return hasattr(part, "_predictors")


def histogram_trees(model: Any) -> list[Any]:
    """Trees of fitted histogram boosting, which has no public ``estimators_``.

    Each has ``nodes``, a structured array with ``left``, ``right``, ``is_leaf``, ``feature_idx``,
    ``is_categorical`` and ``bitset_idx``, and ``raw_left_cat_bitsets``.
    """
    return [tree for iteration in model._predictors for tree in iteration]


@contextmanager
def seeds_of_layers(seed: int) -> Iterator[None]:
    """Derive the seeds of the layers of Keras that are made inside from this seed.

    Keras draws the seed of every initialiser that was given none from Python's own generator. To
    seed that one is not enough: other threads, such as those of a Dask worker, draw from it, too.
    """
    from keras.src.random import seed_generator

    before = seed_generator.python_random
    seed_generator.python_random = random.Random(seed)
    try:
        yield
    finally:
        seed_generator.python_random = before
