"""A run elsewhere writes into its own folder alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project

from ratchet.config.loader import project_loader
from ratchet.errors import ConfigError, UserError
from ratchet.sandbox import (
    Sandbox,
    check_nothing_escapes,
    copy_configuration,
    raw_file,
    run,
    use_own_database,
)


@pytest.fixture
def place(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    bootstrap_project(project)
    return Sandbox(project, tmp_path_factory.mktemp("elsewhere") / "first", "test")


def copied(place: Sandbox):
    return copy_configuration(place, project_loader(place.env)[0])


@pytest.mark.parametrize("env", ["test", "local", "tetouan"])
def test_everything_but_raw_data_is_written_into_the_folder(project, place, env):
    place = Sandbox(project, place.folder, env)

    loader = copied(place)

    files = {n: e["filepath"] for n, e in loader["catalog"].items() if "filepath" in e}
    raw = {name for name in files if name.endswith(".raw")}
    assert len(raw) >= 4
    assert all(files[name].startswith("data/01_raw/") for name in raw)
    assert all(Path(files[n]).is_relative_to(place.folder) for n in files.keys() - raw)
    check_nothing_escapes(loader["catalog"], place)


def test_nothing_else_of_the_configuration_changes(project, place, keep_only):
    keep_only(project, "films", "power", "run")
    before = project_loader("test")[0]

    loader = copied(place)

    assert loader["parameters"] == before["parameters"]
    assert loader["catalog"].keys() == before["catalog"].keys()
    assert loader["globals"]["candidates"] == before["globals"]["candidates"]
    assert loader["mlflow"] == before["mlflow"] | {"enabled": False}
    assert before["globals"]["paths"]["models"] == "data/test/06_models"  # the project's own stays


def test_a_link_that_leads_nowhere_is_left_out(project, place):
    (project / "conf/base/link.yml").symlink_to("nowhere.yml")

    copied(place)

    assert not (place.conf / "base/link.yml").is_symlink()


def test_paths_of_your_own_are_moved_and_credentials_kept(project, place):
    local = project / "conf/local"
    (local / "globals_mine.yml").write_text("paths: {models: /mnt/models}")
    (local / "mlflow.yml").write_text("enabled: true\ntracking_uri: http://somewhere")
    credentials = {"webhook": {"url": "http://chat"}, "shop": {"key": "k"}}
    (local / "credentials.yml").write_text(yaml.safe_dump(credentials))
    place = Sandbox(project, place.folder, "local")

    loader = copied(place)

    assert loader["globals"]["paths"]["models"] == str(place.path("models"))
    assert loader["mlflow"]["enabled"] is False
    assert loader["credentials"] == {"shop": {"key": "k"}}


def test_raw_data_of_your_own_stay_where_they_are(project, place):
    (project / "conf/test/globals.yml").write_text("paths: {mine: /mnt/raw}")
    entry = {"films.raw": {"type": "pandas.CSVDataset", "filepath": "${globals:paths.mine}/f.csv"}}
    (project / "conf/test/catalog.yml").write_text(yaml.safe_dump(entry))

    loader = copied(place)

    assert loader["catalog"]["films.raw"]["filepath"] == "/mnt/raw/f.csv"


def test_an_entry_with_a_path_of_its_own_is_refused(project, place):
    entry = {"films.metrics": {"type": "json.JSONDataset", "filepath": "data/metrics.json"}}
    (project / "conf/test/catalog.yml").write_text(yaml.safe_dump(entry))

    with pytest.raises(ConfigError, match=r"films\.metrics writes to data/metrics\.json"):
        check_nothing_escapes(copied(place)["catalog"], place)


@pytest.mark.parametrize("env", ["test", "local", "base"])
@pytest.mark.parametrize("variables", ["of the project", "of the run"])
def test_everything_is_recorded_in_the_folder(project, place, env, variables, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://production")
    monkeypatch.setenv("RATCHET_DATABASE_URL", "postgresql://production")
    place = Sandbox(project, place.folder, env)
    own = copied(place)
    use_own_database(place, own)
    for name in ("MLFLOW_TRACKING_URI", "RATCHET_DATABASE_URL"):
        if variables == "of the run":
            monkeypatch.setenv(name, place.database_url)
        elif env != "test":  # which takes none
            monkeypatch.delenv(name)

    read = type(own)(str(place.conf), env=env, **settings.CONFIG_LOADER_ARGS)

    assert [read["globals"][key] for key in ("tracking_uri", "database_url")] == (
        [place.database_url] * 2
    )
    for name in ("registry", "prediction_log", "{use_case}.measured"):
        assert read["catalog"][name]["database_url"] == place.database_url


def test_an_entry_with_a_database_of_its_own_is_refused(project, place):
    entry = {"type": "ratchet.datasets.PredictionLogDataset", "tracking_uri": "sqlite:///mine.db"}
    (project / "conf/test/catalog.yml").write_text(yaml.safe_dump({"prediction_log": entry}))

    with pytest.raises(ConfigError, match=r"prediction_log has a tracking_uri of its own"):
        use_own_database(place, copied(place))


def test_the_raw_file(project, place):
    catalog = project_loader("test")[0]["catalog"]
    (project / "data/01_raw/tetouan.csv").write_text("x")

    assert raw_file({"a.raw": {"filepath": "data/01_raw"}}, "a", project) is None
    assert raw_file(catalog, "nobody", project) is None
    assert raw_file({"a.raw": {"filepath": "data/01_raw/tetouan.csv"}}, "a", project) is not None


def test_a_command_names_only_what_was_asked(place):
    command = place.command("films", "classical,evaluation", "")

    assert command[1:4] == ["-m", "kedro", "run"]
    assert command[4:] == [
        *("--env", "test", "--conf-source", str(place.conf)),
        *("--pipelines", "classical,evaluation", "--namespaces", "films"),
    ]
    assert place.command("films", "x", "seed=3")[-2:] == ["--params", "seed=3"]


def test_a_run_that_fails_says_why(place):
    place.folder.mkdir()
    code = "from os import environ as e; print(e['PYTHONHASHSEED'], e['RATCHET_PARENT']); exit(3)"

    with pytest.raises(UserError, match=f"7 {os.getpid()}"):
        run(place, [_python(), "-c", code], hash_seed=7)

    assert (place.folder / "log.txt").read_text() == f"7 {os.getpid()}\n"


def _python() -> str:
    import sys

    return sys.executable
