"""Training of any architecture by its compiled program, one candidate after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import tensorflow as tf

from ratchet.learning.recurrent import schedule
from ratchet.learning.recurrent.memory import MAX_PROGRAMS
from ratchet.learning.recurrent.program import Program
from ratchet.learning.recurrent.types import Array, ProgramSpec, State, TrainResult, TrialParams


def train_group(
    spec: ProgramSpec,
    trials: Sequence[TrialParams],
    X: Array,
    y: Array,
    X_val: Array,
    y_val: Array,
    *,
    seed: int,
    states: Sequence[State] | None = None,
    until: int | None = None,
    keep_state: bool = False,
    compiled: bool = True,
) -> list[TrainResult]:
    """Train candidates that share a spec, one after another by the same program.

    For arguments and results see ``ratchet.learning.recurrent.training.train_group``.
    """
    program = program_of(spec, compiled)
    data = tuple(tf.constant(part) for part in (X, y, X_val, y_val))
    if states is None:
        weights = program.initial_weights(seed)
        states = [_start(trial, weights) for trial in trials]
    return [
        _train(program, trial, data, state, seed, until, keep_state)
        for trial, state in zip(trials, states, strict=True)
    ]


def _train(
    program: Program,
    trial: TrialParams,
    data: tuple[tf.Tensor, ...],
    start: State,
    seed: int,
    until: int | None,
    keep_state: bool,
) -> TrainResult:
    """Train one candidate from a state on."""
    progress = schedule.Schedule([trial], [start["schedule"]])
    variables, best = start["variables"], start["best"]
    last = trial.epochs if until is None else min(until, trial.epochs)
    while not progress.done and progress.epoch < last:
        rate, epoch = float(progress.learning_rate[0]), progress.epoch
        inputs = program.inputs(len(data[0]), len(data[2]), rate, trial.dropout, seed, epoch)
        variables, losses = program.epoch(variables, inputs, data)
        if progress.update(*(np.array([float(loss)]) for loss in losses))[0]:
            best = variables["weights"]
    variables, best = tf.nest.map_structure(np.asarray, (variables, best))
    state = {"schedule": progress.state(0), "variables": variables, "best": best}
    return TrainResult(
        weights=list(best),
        history=progress.history(0),
        best_epoch=int(progress.best_epoch[0]),
        status=progress.status(0),
        state=state if keep_state and not progress.done else None,
    )


def _start(trial: TrialParams, weights: Sequence[Array]) -> State:
    """State of a candidate before its first epoch."""
    zeros = tuple(np.zeros_like(weight) for weight in weights)
    return {
        "schedule": schedule.Schedule([trial]).state(0),
        "variables": {"weights": tuple(weights), "first": zeros, "second": zeros},
        "best": tuple(weights),
    }


@lru_cache(maxsize=MAX_PROGRAMS)
def program_of(spec: ProgramSpec, compiled: bool) -> Program:
    """The program of a spec; the last few are kept, since compiling takes seconds."""
    return Program(spec, compiled)
