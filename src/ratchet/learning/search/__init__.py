"""Search for the best hyper-parameters: one object for all families of models."""

from ratchet.learning.search.run import run_search, table
from ratchet.learning.search.search import OnProgress, Search
from ratchet.learning.search.splits import Holdout

__all__ = ["Holdout", "OnProgress", "Search", "run_search", "table"]
