"""Search for the best hyper-parameters: one object for all families of models."""

from ratchet.learning.search.fold_fits import FoldFits, out_of_fold
from ratchet.learning.search.groups import Fold
from ratchet.learning.search.run import fit_in_threads, remember, run_search, table
from ratchet.learning.search.search import Holdout, OnProgress, Search

__all__ = [
    "Fold",
    "FoldFits",
    "Holdout",
    "OnProgress",
    "Search",
    "fit_in_threads",
    "out_of_fold",
    "remember",
    "run_search",
    "table",
]
