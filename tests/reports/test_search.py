"""What a search showed: recomputed from its trials."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.config import Network
from ratchet.reports.blocks import Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.chart_ids import search_charts, searched
from ratchet.reports.search.analysis import (
    convergence_chart,
    interaction_chart,
    introduction,
    learning_sentence,
    search_analysis,
)
from ratchet.reports.search.effects import effect_sentence, parameter_effect, parameter_importance
from ratchet.reports.search.trials import LOSS, Search, trial_table
from ratchet.reports.vega_lite import to_svg, vega_lite

GRID = {"units": [8, 16, 32], "learning_rate": [0.001, 0.01], "dropout": [0.1, 0.3]}


def by_rate(point: dict[str, Any], chance: float) -> float:
    """Only the learning rate counts, and a little chance."""
    return (0.3 if point.get("learning_rate") == 0.001 else 0.1) * (1 + 0.1 * chance)


def make_search(
    loss: Callable[[dict[str, Any], float], float] = by_rate,
    grid: dict[str, list[Any]] = GRID,
    **network: Any,
) -> Search:
    """Trials of a grid with made losses, two epochs each."""
    rng = np.random.default_rng(0)
    shapes = network.get("architectures", ["gru"])
    points = [
        {"architecture": shape, **dict(zip(grid, values, strict=True))}
        for shape in shapes
        for values in itertools.product(*grid.values())
    ]
    trials = pd.DataFrame(points).assign(trial=range(len(points)))
    trials[LOSS] = [loss(point, rng.uniform()) for point in points]
    trials["rank"] = trials[LOSS].rank(na_option="bottom")
    trials["status"] = np.where(trials[LOSS].isna(), "diverged", "completed")
    finite = trials[trials[LOSS].notna()]
    curves = pd.DataFrame(
        {
            "trial": np.repeat(finite["trial"], 2),
            "epoch": np.tile([1, 2], len(finite)),
            "loss": np.repeat(finite[LOSS], 2) * 0.5,
            "val_loss": np.repeat(finite[LOSS], 2) * np.tile([2.0, 1.0], len(finite)),
        }
    )
    parameters = Network(param_grid=grid, **network)
    return Search("net", "y", parameters, 0, trials, curves.reset_index(drop=True))


def test_effect_is_the_difference_of_medians() -> None:
    search = make_search()
    found = parameter_effect(search, "learning_rate")
    assert found is not None
    slow = search.trials.loc[search.trials["learning_rate"] == 0.001, LOSS]
    fast = search.trials.loc[search.trials["learning_rate"] == 0.01, LOSS]
    assert (found["best value"], found["worst value"]) == ("0.01", "0.001")
    assert found["difference"] == pytest.approx(slow.median() - fast.median())
    assert found["trials with best"] == found["trials with worst"] == 6
    assert (found["pairs"], found["better"]) == (6, 6)
    within = [np.subtract(*np.quantile(part, [0.75, 0.25])) for part in (slow, fast)]
    assert found["spread"] == pytest.approx(np.mean(within))


def test_sentence_tells_effect_from_spread() -> None:
    search = make_search()
    clear, unclear = (parameter_effect(search, name) for name in ("learning_rate", "dropout"))
    assert clear
    assert unclear
    text = effect_sentence(clear)
    assert text.startswith("learning_rate: with 0.01 the median validation loss is 0.10")
    assert "(6 trials), with 0.001 0.3" in text
    assert "0.01 did better in 6." in text
    assert "That is more than the spread within a value" in text
    assert "or chance, count for more" in effect_sentence(unclear)


def test_values_tried_once_may_be_chance() -> None:
    found = parameter_effect(make_search(grid={"learning_rate": [0.001, 0.01]}), "learning_rate")
    assert found
    assert math.isnan(found["spread"])
    assert "No value was tried twice, so this may be chance." in effect_sentence(found)


def test_importance_goes_to_what_counts() -> None:
    values, method = parameter_importance(make_search(architectures=["gru", "lstm"]))
    assert method == "fANOVA"
    assert values.index[0] == "learning_rate"
    assert values.iloc[0] > 0.8
    assert values.sum() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_importance_falls_back_to_the_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.importance import FanovaImportanceEvaluator

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Encountered zero total variance in all trees.")

    monkeypatch.setattr(FanovaImportanceEvaluator, "evaluate", fail)
    values, method = parameter_importance(make_search())
    assert method == "mean decrease of impurity"
    assert values.index[0] == "learning_rate"


@pytest.mark.parametrize(
    "search",
    [
        make_search(lambda point, chance: 0.1),
        make_search(grid={"units": [8, 16, 32]}),
        make_search(lambda point, chance: 0.1 if point["units"] == 8 else math.nan),
    ],
    ids=["equal losses", "three trials", "two values lost"],
)
def test_importance_says_nothing_where_trials_do_not(search: Search) -> None:
    values, method = parameter_importance(search)
    assert method == ""
    assert values.index.to_list() == search.parameters
    assert (values == 0).all()


HARD = {
    "all is well": make_search(architectures=["gru", "lstm"]),
    "one point": make_search(grid={"units": [8]}),
    "some lost": make_search(lambda p, c: math.nan if p["units"] > 8 else c),
    "all lost": make_search(lambda p, c: math.nan),
    "wide losses": make_search(lambda p, c: 10 ** (6 * c - 3)),
    "zero losses": make_search(lambda p, c: 0.0),
    "many shapes": make_search(architectures=["gru", "lstm"], grid={}),
    "bayesian": make_search(strategy="bayesian"),
    "halving": make_search(strategy="halving"),
}


@pytest.mark.parametrize("name", HARD)
def test_analysis_of_any_search_is_drawn_and_says_no_nonsense(name: str) -> None:
    search = HARD[name]
    blocks = search_analysis(search)
    drawn = [block for block in blocks if isinstance(block, Chart)]
    assert sorted(c.name for c in drawn) == sorted(search_charts("net", search.network))
    for chart in drawn:
        assert to_svg(vega_lite(chart))
    text = " ".join(block.text for block in blocks if isinstance(block, Text))
    assert "nan" not in text
    every = next(b for b in blocks if isinstance(b, Table) and b.name == "net trials")
    assert len(every.frame) == len(search.trials)
    assert {"units", "learning_rate"} & {*search.network.param_grid} <= {*every.frame.columns}


def test_introduction_counts_what_diverged() -> None:
    text = introduction(HARD["some lost"])
    assert "8 trials diverged and were stopped." in text
    assert "8 trials never had a finite loss and were left out below." in text
    assert "No trial has a result." in introduction(HARD["all lost"])


def test_winner_is_the_first_of_the_ranking() -> None:
    search = make_search()
    best = search.trials.loc[search.trials[LOSS].idxmin()]
    assert f"The best is trial {best['trial']} (units {best['units']}, " in introduction(search)
    assert "The mean of the best 5 is one more candidate, net_ensemble." in introduction(search)


def test_last_epoch_allowed_is_told() -> None:
    assert "after 2 epochs of 2" in learning_sentence(make_search())
    assert "last epoch allowed" in learning_sentence(make_search(epochs=2))
    assert "last epoch allowed" not in learning_sentence(make_search())


def test_epochs_and_patience_are_those_of_the_trials() -> None:
    plain = introduction(make_search(epochs=30, patience=7))
    assert "for at most 30 epochs each; training stops after 7 epochs without" in plain
    own = make_search(grid=GRID | {"epochs": [2, 20], "patience": [3]}, epochs=30, patience=7)
    text = introduction(own)
    assert "for at most 2 to 20 epochs each; training stops after 3 epochs without" in text
    short, long = (
        make_search(grid={"units": [8], "epochs": [epochs]}, epochs=30) for epochs in (2, 20)
    )
    assert "last epoch allowed" in learning_sentence(short)
    assert "last epoch allowed" not in learning_sentence(long)


@pytest.mark.parametrize(
    ("grid", "said"),
    [({"units": [8]}, "trained for 1 epoch"), ({"epochs": [3]}, "trained for at most 3 epochs")],
)
def test_mode_fast_says_how_long_it_trained(grid: dict[str, list[Any]], said: str) -> None:
    text, *_ = search_analysis(make_search(grid=grid, mode="fast", epochs=30))
    assert isinstance(text, Text)
    assert said in text.text


def test_trained_epochs_and_allowed_ones_are_two_columns() -> None:
    search = make_search(grid=GRID | {"epochs": [2, 20]})
    rows = search.trials.assign(n_epochs=2)
    assert trial_table(search, rows, whole=False).columns.is_unique
    assert {"epochs", "epochs trained"} <= {*trial_table(search, rows, whole=True).columns}


def test_best_so_far_never_rises() -> None:
    frame = convergence_chart(HARD["wide losses"]).frame
    best = frame.loc[frame["what"] == "best so far", "loss"]
    assert best.is_monotonic_decreasing
    assert best.iloc[-1] == HARD["wide losses"].trials[LOSS].min()
    assert "y" in convergence_chart(HARD["wide losses"]).log_axes


def test_cells_hold_the_median_of_their_pairs() -> None:
    search = make_search()
    frame = interaction_chart(search, "learning_rate", "units").frame.set_index(["one", "other"])
    trials = search.trials
    own = trials[(trials["learning_rate"] == 0.01) & (trials["units"] == 16)][LOSS]
    assert frame.loc[("0.01", "16"), "v"] == pytest.approx(own.median())
    assert frame.loc[("0.01", "16"), "text"].endswith(f"({len(own)})")


def test_charts_follow_from_the_parameters_alone() -> None:
    network = Network(architectures="all", param_grid=GRID | {"batch_size": [32]})
    assert searched(network) == ["architecture", *GRID]
    assert "a_loss_by_rate" in search_charts("a", network)
    assert search_charts("a", Network(mode="fast", architectures="all")) == ["a_architectures"]
    assert search_charts("a", Network()) == ["a_convergence", "a_curves"]
