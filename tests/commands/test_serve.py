"""``kedro ratchet serve`` and ``keys``: what they make of the configuration."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ratchet.commands import ratchet
from ratchet.commands.serve import service_settings
from ratchet.errors import ConfigError
from ratchet.serving.keys import Keys
from ratchet.serving.settings import load_settings


@pytest.fixture(autouse=True)
def _settings_of_the_project(project):
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(ratchet, list(arguments))


def test_settings_follow_from_the_configuration(project):
    settings = service_settings("test", {"port": 8123})

    assert settings.port == 8123
    assert settings.database_url == f"sqlite:///{project}/data/test/mlflow.db"
    assert settings.tracking_uri == settings.database_url
    assert settings.bundles == project / "data/test/06_models/bundles"
    assert settings.state == project / "data/test/serving"
    assert settings.keys_file == project / "conf/local/api_keys.json"
    assert "films" in settings.use_cases
    assert load_settings(settings.model_dump_json()) == settings


def test_an_environment_changes_single_settings(project):
    (project / "conf/test/serving.yml").write_text("workers: 2\nlimits: {batch_rows: 5}\n")

    settings = service_settings("test")

    assert (settings.workers, settings.limits.batch_rows) == (2, 5)
    assert (settings.port, settings.limits.row_bytes) == (8000, 64 * 1024)


def test_a_variable_goes_before_the_files_and_an_option_before_it(project, monkeypatch):
    (project / "conf/test/serving.yml").write_text("workers: 2\n")
    monkeypatch.setenv("RATCHET_WORKERS", "3")
    monkeypatch.setenv("RATCHET_PORT", "8001")
    monkeypatch.setenv("RATCHET_MODELS", "models")

    settings = service_settings("test", {"port": 8002})

    assert (settings.workers, settings.port) == (3, 8002)
    assert settings.models == project / "models"


@pytest.mark.parametrize(
    ("env", "expected"), [(None, "own.db"), ("local", "own.db"), ("test", "data/test/mlflow.db")]
)
def test_the_service_decides_where_runs_of_its_environment_do(project, monkeypatch, env, expected):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("RATCHET_DATABASE_URL", "sqlite:///own.db")

    settings = service_settings(env)

    assert settings.database_url == f"sqlite:///{project}/{expected}"
    uri = settings.database_url if env == "test" else "http://mlflow:5000"
    assert settings.tracking_uri == uri


def test_an_unknown_setting_is_named(project):
    (project / "conf/local/serving.yml").write_text("prot: 1\n")

    result = run("serve")

    assert result.exit_code == 1
    assert "serving: prot: unknown key; allowed are host, port" in result.output


def test_the_process_gets_its_settings_where_others_do_not_see_them(project, monkeypatch):
    started: list[Any] = []
    monkeypatch.setattr("os.execve", lambda *given: started.append(given))

    result = run("serve", "--port", "8124", "--workers", "2", "--env", "test")

    assert result.exit_code == 0, result.output
    ((_, command, environ),) = started
    assert command[1:] == ["-m", "ratchet.serving"]
    settings = json.loads(environ["RATCHET_SERVING"])
    assert (settings["port"], settings["workers"]) == (8124, 2)


def test_keys_are_made_listed_and_revoked(project: Path):
    made = CliRunner().invoke(ratchet, ["keys", "add", "shop", "-s", "predict", "-s", "observe"])
    token = made.stdout.strip()
    path = project / "conf/local/api_keys.json"

    assert made.exit_code == 0
    assert Keys(path).find(token)
    listed = run("keys", "list")
    assert listed.output.startswith("shop  predict,observe  ")
    assert token not in listed.output
    assert json.loads(run("keys", "list", "--json").output)[0]["name"] == "shop"
    assert "no key any more" in run("keys", "revoke", "shop").output
    assert len(Keys(path)) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "shop", "--scope", "root"), "no scope root; there are predict, observe"),
        (("add", "a b", "--scope", "predict"), "a key's name may hold"),
        (("revoke", "shop"), "there is no key 'shop'; there are: none"),
    ],
)
def test_what_cannot_be_done_with_keys_is_told(project, arguments, told):
    result = run("keys", *arguments)

    assert result.exit_code == 1
    assert told in result.output


def test_a_service_without_kedro_follows_the_database_of_its_environment(project, monkeypatch):
    from ratchet.serving.__main__ import of_environment

    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    limits = '{"chunk_rows": 5}'
    variables = {"RATCHET_ENV": "test", "RATCHET_PORT": "8123", "RATCHET_LIMITS": limits}

    settings = of_environment(load_settings("{}", variables))

    assert settings.database_url == f"sqlite:///{project}/data/test/mlflow.db"
    assert settings.bundles == project / "data/test/06_models/bundles"
    assert (settings.env, settings.port, settings.limits.chunk_rows) == ("test", 8123, 5)

    own = {**variables, "RATCHET_DATABASE_URL": settings.database_url}
    assert of_environment(load_settings("{}", own)).database_url == settings.database_url
    other = {**variables, "RATCHET_DATABASE_URL": "sqlite:////elsewhere.db"}
    with pytest.raises(ConfigError, match=r"elsewhere\.db is not the database of the environment"):
        of_environment(load_settings("{}", other))
    with pytest.raises(ConfigError, match="env: none: no environment 'none'; there are"):
        of_environment(load_settings("{}", {"RATCHET_ENV": "none"}))
