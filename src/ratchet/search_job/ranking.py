"""The networks of a search side by side: the best trial of each, by rows that none has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.config import Network, Target
from ratchet.frames import DataFrame
from ratchet.modelling.calibrate_and_refit import predict_held_out
from ratchet.modelling.networks import assemble, fit_base
from ratchet.modelling.predictions import held_out_values
from ratchet.modelling.target_scaling import features_and_target
from ratchet.serving.jobs.specification import Order, architectures


@dataclass(frozen=True)
class Ranked:
    """The best trial of one architecture.

    Attributes:
        architecture: its name.
        row: place of the trial in the table of the search.
        rmse: root mean squared error on the validation rows, in units of the target; ``None``
            where every trial ran away.
        params: the point that was tried.
        n_trials: trials of this architecture.
        seconds: how long they took, one after the other.
        status: how the training of the best trial ended.
        loss: validation loss of the search.
    """

    architecture: str
    row: int
    rmse: float | None
    params: dict[str, Any]
    n_trials: int
    seconds: float
    status: str
    loss: float | None


def rank_networks(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    network: Network,
    seed: int,
    top: list[Any],
    search: DataFrame,
) -> list[Ranked]:
    """Score the best trial of each architecture on the validation rows; the best comes first.

    Which trial of an architecture is its best says the search. No trial has seen the validation
    rows: the search stops and ranks by the last of its training rows.

    Args:
        train: rows of the search.
        validation: later rows.
        target: what is predicted.
        network: the search.
        seed: the only source of randomness.
        top: all networks that have a score, best first (``top_k: all``).
        search: table of the trials, best first.
    """
    points = [json.loads(text) for text in search["params"]]
    names = [point["architecture"] for point in points]
    base = fit_base(train, target, network, seed)
    truth = features_and_target(validation, target)[1]

    def rmse(row: int) -> float | None:
        if row >= len(top):
            return None
        model = assemble(base, [top[row]], train, target)
        held_out = predict_held_out(model, validation, target)
        error = truth - held_out_values(held_out, validation, target)
        value = float(np.sqrt(np.mean(error**2)))
        return value if np.isfinite(value) else None

    ranked = []
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        best = search.iloc[rows[0]]
        loss = -float(best["mean_test_score"])
        ranked.append(
            Ranked(
                architecture=name,
                row=rows[0],
                rmse=rmse(rows[0]),
                params=points[rows[0]],
                n_trials=len(rows),
                seconds=float(search["mean_fit_time"].iloc[rows].sum()),
                status=str(best["status"]),
                loss=loss if np.isfinite(loss) else None,
            )
        )
    return sorted(ranked, key=lambda one: (one.rmse is None, one.rmse or 0.0, one.row))


def result_of(order: Order, ranked: Sequence[Ranked], total: float) -> dict[str, object]:
    """What ``GET /jobs/{id}`` says of a search that is done."""
    numbers = {one.name: one.number for one in architectures().values()}
    fast = order.request.mode == "fast"
    rows = [_fast(one, numbers) if fast else _optimized(one, numbers) for one in ranked]
    winner = {name: value for name, value in rows[0].items() if name != "status"}
    if fast:
        return {"mode": "fast", "winner": winner, "total_models": len(rows), "results": rows}
    return {
        "mode": "optimized",
        "winner": winner,
        "total_models_tested": len(rows),
        "total_time": round(total, 3),
        "avg_time_per_model": round(total / len(rows), 3),
        "optimization_strategy": order.request.optimization_strategy,
        "all_results": rows,
    }


def _fast(one: Ranked, numbers: Mapping[str, int]) -> dict[str, object]:
    return {
        "model_id": numbers[one.architecture],
        "model_name": one.architecture,
        "rmse": one.rmse,
        "status": one.status,
    }


def _optimized(one: Ranked, numbers: Mapping[str, int]) -> dict[str, object]:
    names = {"dropout": "dropout_rate"}
    wanted = ("learning_rate", "batch_size", "dropout", "epochs", "activation")
    params = {names.get(name, name): one.params[name] for name in wanted if name in one.params}
    return {
        "model_id": numbers[one.architecture],
        "model_name": one.architecture,
        "best_rmse": one.rmse,
        "best_params": params,
        "n_trials": one.n_trials,
        "elapsed_time": round(one.seconds, 3),
        "status": one.status,
    }
