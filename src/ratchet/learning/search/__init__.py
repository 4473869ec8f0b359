"""Search for the best hyper-parameters, one object for all families of models."""

from ratchet.learning.search.search import GridSearch, OnProgress, run_search

__all__ = ["GridSearch", "OnProgress", "run_search"]
