"""What a search is made of, and how it is told: without training anything."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.framework.startup import bootstrap_project

from ratchet import progress
from ratchet.commands.run_job import _ToProgress, without_folders
from ratchet.config import Network, Windows
from ratchet.search_job.job import (
    Job,
    cut_grid,
    network_params,
)
from ratchet.search_job.ranking import Ranked, result_of
from ratchet.serving.jobs.progress import Writer, read_all
from ratchet.serving.jobs.specification import Order, TrainRequest

GRID = {"units": [8, 16], "learning_rate": [0.001]}


def order(**wanted) -> Order:
    return Order(job="j", request=TrainRequest(**wanted))


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.integers(), min_size=1, max_size=5), min_size=1
    ),
    st.integers(1, 50),
)
def test_a_grid_is_cut_to_its_first_values(grid, most):
    cut = cut_grid(grid, most)

    assert 1 <= math.prod(map(len, cut.values())) <= most
    assert all(values == grid[name][: len(values)] for name, values in cut.items())
    if math.prod(map(len, grid.values())) <= most:
        assert cut == grid


def test_the_grid_of_the_use_case_goes_before_ours():
    wanted = order(mode="optimized", model_ids=[6, 1], optimization_strategy="random", n_trials=5)

    found = network_params(wanted, Network(param_grid=GRID, epochs=20))

    assert found["param_grid"]["units"] == [8, 16]
    assert found["param_grid"]["activation"] == ["tanh", "relu", "elu"]
    assert found["param_grid"]["epochs"] == [20, 10]
    assert (found["architectures"], found["n_trials"]) == (["lstm", "gru"], 5)
    assert Network.model_validate(found).ensemble == 0


@pytest.mark.parametrize("strategy", ["grid", "halving"])
def test_strategies_that_try_all_points_get_so_many(strategy):
    wanted = order(mode="optimized", optimization_strategy=strategy, n_trials=7)

    grid = network_params(wanted, None)["param_grid"]

    assert math.prod(map(len, grid.values())) <= 7


def ranked(name: str, rmse: float | None, row: int) -> Ranked:
    params = {"architecture": name, "units": 16, "dropout": 0.1, "learning_rate": 0.001}
    params |= {"batch_size": 64, "activation": "tanh", "epochs": 5}
    return Ranked(name, row, rmse, params, 3, 1.5, "completed", 0.1)


FOUND = [ranked("gru", 2.5, 1), ranked("lstm", 3.5, 0), ranked("dense_gru", None, 5)]


def test_a_fast_search_is_told_by_network():
    told = result_of(order(mode="fast"), FOUND, 10.0)

    assert told["winner"] == {"model_id": 6, "model_name": "gru", "rmse": 2.5}
    assert told["total_models"] == 3
    assert [each["rmse"] for each in told["results"]] == [2.5, 3.5, None]


def test_an_optimised_search_is_told_with_its_parameters():
    told = result_of(order(mode="optimized"), FOUND, 10.0)

    assert told["winner"] == {
        "model_id": 6,
        "model_name": "gru",
        "best_rmse": 2.5,
        "best_params": {
            "learning_rate": 0.001,
            "batch_size": 64,
            "dropout_rate": 0.1,
            "epochs": 5,
            "activation": "tanh",
        },
        "n_trials": 3,
        "elapsed_time": 1.5,
    }
    assert set(told) == {
        *("mode", "winner", "total_models_tested", "total_time", "avg_time_per_model"),
        *("optimization_strategy", "all_results"),
    }
    assert (told["total_models_tested"], told["avg_time_per_model"]) == (3, 3.333)


def test_trials_of_the_search_alone_are_told(tmp_path):
    writer = Writer(tmp_path)
    job = Job(order(), tmp_path, writer)

    def trial(done: int, *finished: object) -> None:
        job._report_trial((progress.report_trials, "networks", done, 2, 0.25, finished))

    trial(1, ({"alpha": 1}, 9.0))  # of the naive forecasts
    job._report_trial((progress.show, "bar", "text", 1, 2))
    job._begin("search", trials=2)
    trial(0)
    trial(1, ({"units": 8}, 0.25))
    job._begin("fit")
    trial(2, ({"alpha": 1}, 9.0))

    events = read_all(tmp_path)

    assert [each.kind for each in events] == ["stage", "trial", "trial", "stage"]
    assert events[1].values["seconds_left"] is None
    assert events[2].values["params"] == {"units": 8}
    assert events[2].values["seconds_left"] >= 0


def test_a_failure_names_no_folder_of_the_machine(tmp_path):
    job = tmp_path / "data" / "jobs" / "1"
    message = f"too few rows\nfile: {job}/work/typed.parquet, of {tmp_path}/data/raw.csv"

    assert without_folders(message, job, tmp_path) == (
        "too few rows\nfile: work/typed.parquet, of data/raw.csv"
    )


def test_the_log_is_told_in_short_lines(tmp_path):
    handler = _ToProgress(Writer(tmp_path))
    for text in ("Running node: a: f([x;y]) -> [z]", "", "x" * 999, "two\nlines"):
        handler.emit(logging.LogRecord("kedro", logging.INFO, "", 0, text, None, None))

    told = [each.values["text"] for each in read_all(tmp_path)]

    assert told == ["Running node: a: f", "x" * 200, "two"]


@pytest.mark.parametrize(
    ("own", "wanted", "card", "told"),
    [
        ({"first": 1, "last": 7}, None, {"first": 1, "last": 7}, None),
        ({"first": 1, "last": 7}, 1, 1, "it forecasts 1 step ahead, and shop forecasts 1 to 7"),
        (2, 2, 2, None),
        (1, 3, 3, "it forecasts 3 steps ahead, and shop forecasts 1 step ahead"),
    ],
)
def test_what_forecasts_another_horizon_is_not_compared(tmp_path, own, wanted, card, told):
    windows = Windows(lookback=3, horizon=own, past={"sold": "value"})
    job = Job(order(use_case="shop", horizon=wanted), tmp_path, Writer(tmp_path))
    job.__dict__["_use_case"] = SimpleNamespace(features=SimpleNamespace(windows=windows))
    registry = SimpleNamespace(champion=lambda name: "1")
    job.__dict__["_catalog"] = SimpleNamespace(load=lambda name: registry)

    assert job._horizon == card
    reason = job._reason_not_comparable()
    assert reason is None if told is None else reason.startswith(told)


@pytest.mark.parametrize("env", [None, "test"])
def test_the_copy_decides_where_the_project_does_and_holds_no_password(
    env, project, keep_only, monkeypatch
):
    keep_only(project, "prices", "run")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@mlflow")
    monkeypatch.setenv("RATCHET_DATABASE_URL", "postgresql://ada:secret@host/ratchet")
    bootstrap_project(project)
    job = Job(Order(job="j", request=TrainRequest(), env=env), project / "job", Writer(project))

    registry = job._catalog.load("registry")

    if env is None:
        assert registry.uri == "http://ada:secret@mlflow"
        assert registry.ledger.engine.url.host == "host"
    else:
        assert registry.ledger.engine.url.database == str(project / "data/test/mlflow.db")
    own = yaml.safe_load((job._sandbox.conf / job._sandbox.env / "catalog_job.yml").read_text())
    assert own["registry"]["database_url"] == "${globals:database_url}"
    assert not [path for path in job._sandbox.conf.rglob("*.yml") if "secret@" in path.read_text()]
