"""The trials of one search as a table with one row per trial."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ratchet.config import Network
from ratchet.reports.chart_ids import ARCHITECTURE, searched
from ratchet.reports.formatting import count, counted
from ratchet.reports.target_results import TargetResults

LOSS = "validation loss"
"""The lowest of a trial, by which trials are ranked: the mean squared error of the targets scaled
to 0-1, on the rows that stop training."""

DIVERGED = "diverged"

_ASIDE = ("best_epoch", "n_parameters", "mean_fit_time")
_PARTS = ["val_mae", "n_epochs", "best_epoch", "status", "n_parameters", "mean_fit_time"]


@dataclass(frozen=True)
class Search:
    """A search among recurrent networks.

    Attributes:
        name: of the search.
        target: what is predicted, in a sentence.
        network: parameters of the search.
        seed: seed of what is estimated from the trials.
        trials: one row per trial in the order in which they were tried: ``trial``, a column for
            each hyper-parameter, ``validation loss``, ``val_mae``, ``n_epochs``, ``best_epoch``,
            ``status``, ``n_parameters`` and ``mean_fit_time``. A trial that never had a finite
            loss has none here.
        curves: ``trial``, ``epoch``, ``loss``, ``val_loss`` and more, a row per epoch.
    """

    name: str
    target: str
    network: Network
    seed: int
    trials: pd.DataFrame
    curves: pd.DataFrame

    @cached_property
    def valid(self) -> pd.DataFrame:
        """Trials that have a loss."""
        return self.trials[self.trials[LOSS].notna()]

    @cached_property
    def best(self) -> pd.DataFrame:
        """Trials in the order in which the search ranks them, without those that have no loss.

        That of ``halving`` puts trials first that were trained further.
        """
        return self.valid.sort_values("rank", kind="stable")

    @property
    def parameters(self) -> list[str]:
        """Hyper-parameters that were to be varied."""
        return searched(self.network)

    @property
    def varying(self) -> list[str]:
        """Hyper-parameters with more than one value among the trials that have a loss."""
        return [name for name in self.parameters if len(self.valid[name].unique()) > 1]

    @property
    def is_fast(self) -> bool:
        """Whether every architecture was trained once and for a short time only."""
        return self.network.mode == "fast"

    def allowed(self, name: str) -> pd.Series:
        """``epochs`` or ``patience`` of every trial: its own, or that of the search."""
        common = 1 if self.is_fast and name == "epochs" else getattr(self.network, name)
        if name not in self.trials:
            return pd.Series(common, self.trials.index)
        return pd.to_numeric(self.trials[name], errors="coerce").fillna(common).astype(int)

    def describe(self, trial: pd.Series) -> str:
        """Values of the searched hyper-parameters of a trial: ``units 64, dropout 0.1``."""
        named = [f"{name} {setting_text(trial[name])}" for name in self.parameters]
        return ", ".join(named) or str(trial[ARCHITECTURE])


def read_search(results: TargetResults, name: str) -> Search:
    """Put the tables of a search into the form that the analysis takes."""
    table, curves = results.searches[name], results.curves[name]
    points = pd.DataFrame([_plain_names(json.loads(text)) for text in table["params"]])
    parts = [part for part in _PARTS if part in table]
    lowest = curves["val_loss"].where(np.isfinite(curves["val_loss"])).groupby(curves["trial"])
    numbers = table["trial"] if "trial" in table else pd.Series(range(len(table)))
    trials = pd.DataFrame(
        {
            "trial": numbers.to_numpy(),
            "rank": table["rank_test_score"].to_numpy(),
            LOSS: lowest.min().reindex(numbers).to_numpy(),
        }
    )
    trials = trials.join(points).join(table[parts].reset_index(drop=True))
    for missing in {ARCHITECTURE, *searched(results.target.networks[name])} - {*trials.columns}:
        trials[missing] = "–"
    return Search(
        name=name,
        target=results.name,
        network=results.target.networks[name],
        seed=results.seed,
        trials=trials.sort_values("trial", ignore_index=True),
        curves=curves,
    )


def epochs_text(search: Search, name: str) -> str:
    """``epochs`` or ``patience`` of the trials in words: ``50 epochs``, ``20 to 50 epochs``."""
    values = search.allowed(name)
    if values.empty or values.min() == values.max():
        return counted(int(values.max()) if len(values) else 0, "epoch")
    return f"{count(values.min())} to {counted(int(values.max()), 'epoch')}"


def trial_table(search: Search, rows: pd.DataFrame, *, whole: bool) -> pd.DataFrame:
    """Trials with their settings and how they went, named for readers.

    All columns with ``whole``, otherwise those in which trials differ.
    """
    outcome = {
        LOSS: LOSS,
        "val_mae": "validation MAE",
        "n_epochs": "epochs trained",  # "epochs" may be a hyper-parameter
        "best_epoch": "best epoch",
        "status": "ended",
        "n_parameters": "weights",
        "mean_fit_time": "seconds",
    }
    names = ["trial", ARCHITECTURE, *search.parameters]
    if whole:
        names += [name for name in rows.columns if name not in outcome]
    else:
        outcome = {n: title for n, title in outcome.items() if n not in _ASIDE}
    shown = [name for name in dict.fromkeys([*names, *outcome]) if name in rows]
    return rows[shown].rename(columns=outcome)


def _plain_names(point: dict[str, object]) -> dict[str, object]:
    """Without the step of a pipeline: ``model__units`` is ``units``."""
    return {name.rsplit("__", maxsplit=1)[-1]: value for name, value in point.items()}


def setting_text(value: object) -> str:
    """A value of a hyper-parameter as text."""
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def ordered_values(values: pd.Series) -> list[object]:
    """The different values: numbers by size, others by name."""
    different = list(values.dropna().unique())
    return (
        sorted(different)
        if all(isinstance(v, int | float | np.number) for v in different)
        else sorted(different, key=str)
    )
