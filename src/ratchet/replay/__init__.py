"""Replay of a policy on past Sundays: what the gate, the watch and the rollback would have done.

No model is trained here: stages bring the models and what they answer, and a walk through the days
asks the production code what it would have done. See ``docs/explanation/replay.md``.
"""

from ratchet.replay.backtest import Backtest, MissingStageError, backtest
from ratchet.replay.history import History
from ratchet.replay.incidents import Incident, read_incidents
from ratchet.replay.outcome import build_report
from ratchet.replay.policies import Policy, policies
from ratchet.replay.stage import Model, Stage

__all__ = [
    "Backtest",
    "History",
    "Incident",
    "MissingStageError",
    "Model",
    "Policy",
    "Stage",
    "backtest",
    "build_report",
    "policies",
    "read_incidents",
]
