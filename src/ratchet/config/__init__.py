"""The parameters of a use case, typed: what may stand in ``conf/*/parameters/<use_case>.yml``.

Kedro builds the part that a node asks for before any node runs, and the pipeline registry builds
the whole; an unknown key or a wrong type stops either with the path of the key.
"""

from ratchet.config.base import CHECKED, Derived
from ratchet.config.data import (
    CALENDAR,
    FINDINGS,
    SERIES_COLUMNS,
    SERIES_ID,
    SERIES_KEY,
    Column,
    Data,
    Landing,
    Series,
    Split,
)
from ratchet.config.features import Features, History, Windows
from ratchet.config.market import Iterations, Market, MarketFeatures, with_market
from ratchet.config.monitoring import Alerts, Drift, Monitoring, Scenario, Watch
from ratchet.config.names import (
    AHEAD_PREFIX,
    COMPUTED,
    HISTORY_PREFIX,
    LAG_PREFIXES,
    NAIVE_PREFIX,
    RESERVED,
    SERIES_LEVEL,
    SERIES_PREFIX,
    SERIES_SCALE,
    STATIC_PREFIX,
    TARGET_PREFIX,
    WINDOW_PREFIX,
    apart,
    in_table,
    joined_key,
    plain,
    rewritten,
)
from ratchet.config.release import Release, Slices, Trial
from ratchet.config.target import (
    Candidate,
    Network,
    Objective,
    Target,
    ensemble_of,
    read_targets,
)
from ratchet.config.use_case import About, Inventory, UseCase

__all__ = [
    "AHEAD_PREFIX",
    "CALENDAR",
    "CHECKED",
    "COMPUTED",
    "FINDINGS",
    "HISTORY_PREFIX",
    "LAG_PREFIXES",
    "NAIVE_PREFIX",
    "RESERVED",
    "SERIES_COLUMNS",
    "SERIES_ID",
    "SERIES_KEY",
    "SERIES_LEVEL",
    "SERIES_PREFIX",
    "SERIES_SCALE",
    "STATIC_PREFIX",
    "TARGET_PREFIX",
    "WINDOW_PREFIX",
    "About",
    "Alerts",
    "Candidate",
    "Column",
    "Data",
    "Derived",
    "Drift",
    "Features",
    "History",
    "Inventory",
    "Iterations",
    "Landing",
    "Market",
    "MarketFeatures",
    "Monitoring",
    "Network",
    "Objective",
    "Release",
    "Scenario",
    "Series",
    "Slices",
    "Split",
    "Target",
    "Trial",
    "UseCase",
    "Watch",
    "Windows",
    "apart",
    "ensemble_of",
    "in_table",
    "joined_key",
    "plain",
    "read_targets",
    "rewritten",
    "with_market",
]
