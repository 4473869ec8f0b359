"""The folders of the layers follow from one root; environments are merged as Kedro merges them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader

from ratchet.config import kedro_loader
from ratchet.config.kedro_loader import VARIABLES, ConfigLoader, deep_merge, only_use_cases
from ratchet.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    kedro_loader._warn_of_ignored.cache_clear()


def load(folder: Path, **files: str) -> ConfigLoader:
    """Loader of a configuration: the root of all layers is ``data`` in base."""
    base = {"globals": "paths: {data: data}", "catalog": ENTRIES}
    for env, texts in (("base", base), ("local", files)):
        (folder / env).mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / env / f"{name}.yml").write_text(text)
    return ConfigLoader(str(folder), **CONFIG_LOADER_ARGS)


ENTRIES = """
"{use_case}.model": {type: a, filepath: "${globals:paths.data}/06_models/{use_case}/m"}
"{use_case}.scores": {type: a, filepath: "${globals:paths.data}/07_model_output/{use_case}/s"}
run: {type: a}
"""


def paths(loader: ConfigLoader) -> list[str]:
    return [entry["filepath"] for entry in loader["catalog"].values() if "filepath" in entry]


def test_one_root_moves_every_layer(tmp_path):
    loader = load(tmp_path, globals="paths: {data: /mnt/data}")

    assert paths(loader) == [
        "/mnt/data/06_models/{use_case}/m",
        "/mnt/data/07_model_output/{use_case}/s",
    ]
    assert loader["globals"]["paths"]["reporting"] == "/mnt/data/08_reporting"


def test_a_layer_that_has_a_folder_of_its_own_is_moved_alone(tmp_path):
    loader = load(tmp_path, globals="paths: {models: /mnt/models}")

    assert paths(loader) == ["/mnt/models/{use_case}/m", "data/07_model_output/{use_case}/s"]


def test_entries_of_yours_may_name_the_folder_of_a_layer(tmp_path):
    loader = load(tmp_path, catalog="mine: {type: a, filepath: '${globals:paths.primary}/x'}")

    assert loader["catalog"]["mine"]["filepath"] == "data/03_primary/x"


def test_globals_without_a_root_are_left_alone(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "base/globals.yml").write_text("seed: 1")

    assert ConfigLoader(str(tmp_path), **CONFIG_LOADER_ARGS)["globals"] == {"seed": 1}


@pytest.mark.parametrize("env", ["base", "local", "test", "replay", "tetouan", "dvc"])
def test_our_configuration_is_read_as_kedro_reads_it(env, tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf", symlinks=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    ours, kedros = (
        kind(str(tmp_path / "conf"), env=env, **CONFIG_LOADER_ARGS)
        for kind in (ConfigLoader, OmegaConfigLoader)
    )

    for key in ("parameters", "catalog", "mlflow", "airflow", "serving", "versioning"):
        assert ours._read(key) == kedros[key]
    assert ours._read("globals") == kedros["globals"]


def read(kind: type[OmegaConfigLoader], folder: Path, **options: Any) -> Any:
    """The parameters, or why they cannot be read."""
    try:
        return kind(str(folder), **CONFIG_LOADER_ARGS, **options)["parameters"]
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1e3, 1.0, yes, 'yes', 2020-01-01, 1_000, ~, 0x1F, 12:30, '${globals:list}']",
        "a: {b: '${globals:paths.data}/x-${globals:list.0}', c: '${globals:map}'}",
        "a: {b: 1, c: '${a.b}', d: '${.b}'}",
        "a: '${globals:none, 5}'",
        "a: '${globals:none}'",
        "a: \\${globals:list}",
        "a: '${runtime_params:x, 1}'",
        "_a: &x {b: 1}\nc: {<<: *x, d: 2}",
        "a: 1\na: 2",
        "a: [",
        "[1, 2]",
        "{1: a, 2.5: b, true: c}",
        "",
    ],
)
def test_whatever_a_file_says_is_read_as_kedro_reads_it(text, tmp_path):
    load(tmp_path)
    (tmp_path / "base/globals.yml").write_text("{paths: {data: data}, list: [1, [2]], map: {x: 1}}")
    (tmp_path / "base/parameters.yml").write_text(text)
    (tmp_path / "local/parameters.yml").write_text("z: {y: 1}")

    assert read(ConfigLoader, tmp_path) == read(OmegaConfigLoader, tmp_path)


def test_files_parameters_and_environments_are_merged_as_kedro_merges_them(tmp_path):
    load(tmp_path)
    for name, text in {
        "base/parameters.yml": "a: {b: 1, c: {d: [1, 2]}}\ne: {f: 1}",
        "base/parameters/more.yml": "g: 1",
        "base/parameters/nested/most.yaml": "a: {h: 1}",
        "base/.parameters.yml": "hidden: 1",
        "base/parameters.txt": "no configuration",
        "local/parameters.yml": "a: {c: {d: [3]}}\ne: ~",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert read(ConfigLoader, tmp_path)["a"] == {"b": 1, "c": {"d": [3]}, "h": 1}
    for options in ({}, {"runtime_params": {"a": {"b": 2}}}, {"env": "base"}, {"env": "none"}):
        assert read(ConfigLoader, tmp_path, **options) == read(
            OmegaConfigLoader, tmp_path, **options
        )
    (tmp_path / "base/parameters/twice.yml").write_text("g: 2")
    kind, message = read(ConfigLoader, tmp_path)
    assert kind is ValueError
    assert "Duplicate keys found in" in message


@pytest.mark.parametrize(
    "params",
    [
        {"a": {"b": 2, "c": {"d": [4]}}, "as_of": "2010-12-31", "new": {"x": 1.5}},
        {"a": None},
        {"a": {"c": 7}},
        {"a": {"b": "${globals:paths.data}"}},
        {"a": {"b": "C:\\data"}},
    ],
)
def test_runtime_parameters_are_merged_as_kedro_merges_them(params, tmp_path):
    load(tmp_path)
    (tmp_path / "base/parameters.yml").write_text("a: {b: 1, c: {d: [1, 2]}}\nas_of: ~")
    (tmp_path / "local/parameters.yml").write_text("a: {e: 5}")

    ours, kedros = (
        read(kind, tmp_path, runtime_params=params) for kind in (ConfigLoader, OmegaConfigLoader)
    )
    assert ours == kedros


OTHERS = {
    "base/parameters/films.yml": "# the films\nfilms:\n  a: 1",
    "base/parameters/power.yml": "power:\n  a: 2",
    "base/parameters/run.yml": "seed: 3",
}


@pytest.mark.parametrize(
    ("names", "more", "expected"),
    [
        ({"films"}, {}, {"films": {"a": 1}, "seed": 3}),
        (set(), {}, {"films": {"a": 1}, "power": {"a": 2}, "seed": 3}),
        ({"classical"}, {}, {"films": {"a": 1}, "power": {"a": 2}, "seed": 3}),
        ({"films"}, {"local/parameters.yml": '"films": {a: 4}'}, {"films": {"a": 4}, "seed": 3}),
        ({"films"}, {"local/parameters.yml": "{films: {a: 4}}"}, {"films": {"a": 4}, "seed": 3}),
        ({"films"}, {"local/parameters.yml": " films: {a: 4}"}, {"films": {"a": 4}, "seed": 3}),
        (
            {"films"},
            {"local/parameters.yml": "power: {a: 5}\nfilms: {a: 4}"},
            {"films": {"a": 4}, "power": {"a": 5}, "seed": 3},
        ),
    ],
)
def test_a_run_of_some_use_cases_reads_their_files_alone(names, more, expected, tmp_path):
    load(tmp_path)
    for name, text in (OTHERS | more).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    with only_use_cases(names):
        assert read(ConfigLoader, tmp_path) == expected
    assert {"films", "power"} < read(ConfigLoader, tmp_path).keys()


def test_lists_and_empty_values_replace_what_there_was():
    base = {"a": {"b": [1, 2], "c": {"d": 1}}, "e": {"f": 1}, "g": None}
    other = {"a": {"b": [3], "c": None}, "e": 2, "g": {"h": 1}, "i": 1}

    assert deep_merge(base, other) == {
        "a": {"b": [3], "c": None},
        "e": 2,
        "g": {"h": 1},
        "i": 1,
    }
    assert base["a"] == {"b": [1, 2], "c": {"d": 1}}


MLFLOW, DATABASE = "http://mlflow:5000", "postgresql://ratchet@host/ratchet"
USES = """
log: {tracking_uri: "${globals:tracking_uri}", database_url: "${globals:database_url}"}
"""


def databases(
    folder: Path, env: str | None, own: str = "", local: str = "", base: str = ""
) -> tuple[str, str | None]:
    """Both databases of an entry of the catalog, of globals of three environments."""
    files = {"local": local, "apart": own, "base": base or BASE}
    for name, text in files.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "globals.yml").write_text(text)
    (folder / "base/catalog.yml").write_text(USES)
    loader = ConfigLoader(str(folder), env=env, **CONFIG_LOADER_ARGS)
    found: tuple[str, str | None] = tuple(loader["catalog"]["log"].values())
    named = tuple(loader["globals"][key] for key in ("tracking_uri", "database_url"))
    assert found == named
    return found


BASE = "{tracking_uri: 'sqlite:///mlflow.db', database_url: ~}"
INTERPOLATED = "{tracking_uri: 'sqlite:///${name}.db', name: own}"  # which takes Kedro to read


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", MLFLOW)
    monkeypatch.setenv("RATCHET_DATABASE_URL", DATABASE)


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """What the loader logs, wherever ``logging.yml`` sends it."""
    monkeypatch.setattr(kedro_loader.LOGGER, "propagate", False)
    kedro_loader.LOGGER.addHandler(caplog.handler)
    yield caplog
    kedro_loader.LOGGER.removeHandler(caplog.handler)


@pytest.mark.parametrize("env", [None, "base", "local", "apart"])
def test_without_variables_the_files_name_the_databases(env, tmp_path):
    assert databases(tmp_path, env) == ("sqlite:///mlflow.db", None)


@pytest.mark.parametrize("env", [None, "base", "local", "apart"])
@pytest.mark.parametrize("name", ["plain", "${here}"])
@pytest.mark.usefixtures("variables")
def test_variables_replace_what_base_and_local_say(env, name, tmp_path, said):
    base = f"{{here: x, tracking_uri: 'sqlite:///{name}.db', database_url: 'sqlite://'}}"
    local = "{tracking_uri: 'sqlite:///local.db', database_url: 'sqlite:///'}"

    found = databases(tmp_path, env, "seed: 2", local, base)

    assert found == (MLFLOW, DATABASE)
    assert not said.records


@pytest.mark.parametrize(("given", "expected"), [(0, (MLFLOW, None)), (1, (None, DATABASE))])
def test_one_variable_replaces_one_value(given, expected, tmp_path, monkeypatch):
    monkeypatch.setenv([*VARIABLES.values()][given], str(expected[given]))
    monkeypatch.setenv([*VARIABLES.values()][1 - given], "")  # an empty one is none

    found = databases(tmp_path, None)

    assert found == (expected[0] or "sqlite:///mlflow.db", expected[1])


@pytest.mark.parametrize("own", ["tracking_uri: 'sqlite:///own.db'", INTERPOLATED])
@pytest.mark.usefixtures("variables")
def test_an_environment_with_a_database_of_its_own_keeps_it(own, tmp_path, said):
    for _ in range(2):
        assert databases(tmp_path, "apart", own) == ("sqlite:///own.db", None)

    ((level, text),) = [(record.levelno, record.getMessage()) for record in said.records]
    assert text.startswith("MLFLOW_TRACKING_URI and RATCHET_DATABASE_URL: ignored, because ")
    assert f"{tmp_path}/apart/globals.yml sets a tracking_uri of its own (sqlite:///own" in text
    assert level == logging.WARNING


@pytest.mark.usefixtures("variables")
def test_a_database_of_decisions_belongs_to_the_tracking_uri_beside_it(tmp_path, monkeypatch):
    base = f"{{tracking_uri: '{MLFLOW}', database_url: '{DATABASE}'}}"
    alone = "tracking_uri: 'sqlite:///own.db'"
    both = f"{{tracking_uri: 'http://own', database_url: '{DATABASE}/own'}}"
    for _ in range(2):
        assert databases(tmp_path, "apart", alone, base=base) == ("sqlite:///own.db", None)
        assert databases(tmp_path, "apart", both, base=base) == ("http://own", f"{DATABASE}/own")
        assert databases(tmp_path, "apart", base=base) == (MLFLOW, DATABASE)
        for name in VARIABLES.values():
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("env", ["test", "backfill", "replay", "tetouan", "kubernetes"])
@pytest.mark.usefixtures("variables")
def test_our_environments_that_keep_results_apart_do(env):
    loader = ConfigLoader(str(ROOT / "conf"), env=env, **CONFIG_LOADER_ARGS)
    expected = f"sqlite:///data/{env}/mlflow.db" if env != "kubernetes" else "postgresql+psycopg://"

    assert loader["globals"]["database_url"] is None
    assert loader["globals"]["tracking_uri"] == loader["mlflow"]["tracking_uri"] == expected
    for name in ("registry", "prediction_log", "{use_case}.measured"):
        entry = loader["catalog"][name]
        assert (entry["tracking_uri"], entry["database_url"]) == (expected, None)


@pytest.mark.usefixtures("variables")
def test_nothing_is_said_where_variables_agree(tmp_path, monkeypatch, said):
    for name in VARIABLES.values():
        monkeypatch.setenv(name, "sqlite:///own.db")
    databases(tmp_path, "apart", "tracking_uri: 'sqlite:///own.db'")

    assert not said.records
