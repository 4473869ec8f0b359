"""What a search of recurrent candidates reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.learning.search.groups import TrainGroups, at_point
from ratchet.learning.search.trials import Trial

if TYPE_CHECKING:
    import pandas as pd

CURVES = ("loss", "val_loss", "val_mae", "learning_rate")


def outcomes(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Scores and seconds of each trial and fold, as scikit-learn's search collects them."""
    return [
        {"test_scores": fold["score"], "fit_time": fold["fit_time"], "score_time": 0.0}
        for trial in trials
        for fold in trial.folds
    ]


def more(trials: Sequence[Trial], ranked: Sequence[Trial]) -> dict[str, NDArray[Any]]:
    """Further columns of ``cv_results_``.

    Epochs, status and size are those of the last fold, whose weights are kept; the error is the
    mean of all folds; CPU seconds are their sum.
    """
    places: dict[tuple[int, str], int] = {}
    for place, trial in enumerate(ranked, 1):
        places.setdefault((trial.rung, repr(trial.score)), place)  # equals share a place
    columns = {
        "rank_test_score": [places[trial.rung, repr(trial.score)] for trial in trials],
        "rung": [trial.rung for trial in trials],
        "epochs": [trial.folds[-1]["epochs"] for trial in trials],
        "best_epoch": [trial.folds[-1]["best_epoch"] for trial in trials],
        "status": [trial.folds[-1]["status"] for trial in trials],
        "n_parameters": [trial.folds[-1]["n_parameters"] for trial in trials],
        "val_mae": [float(np.mean([fold["val_mae"] for fold in t.folds])) for t in trials],
        "cpu_time": [sum(fold["cpu_time"] for fold in trial.folds) for trial in trials],
    }
    return {name: np.asarray(values) for name, values in columns.items()}


def curves(trials: Sequence[Trial]) -> pd.DataFrame:
    """Losses by epoch: ``trial``, ``split``, ``epoch`` from 1, and what training writes down."""
    import pandas as pd

    parts = [
        pd.DataFrame(
            {name: fold["history"][name] for name in CURVES},
            index=pd.MultiIndex.from_product(
                [[number], [split], range(1, fold["epochs"] + 1)],
                names=["trial", "split", "epoch"],
            ),
        )
        for number, trial in enumerate(trials)
        for split, fold in enumerate(trial.folds)
    ]
    return pd.concat(parts).reset_index()


def estimators(
    job: TrainGroups, best: Sequence[tuple[Trial, list[NDArray[Any]]]], names: Sequence[str] | None
) -> list[Any]:
    """Fitted estimators, from trials and their weights.

    Args:
        job: has the rows.
        best: trials with the weights of their last fold.
        names: of the columns of ``X``, where it was a frame.
    """
    from ratchet.learning.recurrent.types import TrainResult

    rows, scalers, models = job.folds[-1][0], {}, []
    for trial, weights in best:
        model, fold = at_point(job.estimator, trial.point), trial.folds[-1]
        # Windows of one look-back are scaled alike.
        lookback = getattr(model, "lookback", None)
        if lookback not in scalers:
            scalers[lookback] = model.fit_scaler(job.X[rows], job.y[rows])
        trained = TrainResult(weights, fold["history"], fold["best_epoch"], fold["status"])
        models.append(model.from_result(trained, scalers[lookback], names))
    return models
