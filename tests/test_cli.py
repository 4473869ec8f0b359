"""Errors as a user reads them."""

from __future__ import annotations

import errno

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError

from ratchet.cli import cli, readable
from ratchet.config.kedro_loader import ConfigLoader
from ratchet.config.loader import read_use_cases
from ratchet.errors import DataError, root_cause
from ratchet.settings import CONFIG_LOADER_ARGS


def loading(cause: Exception, text: str = "") -> DatasetError:
    """What Kedro raises when a dataset cannot be loaded."""
    try:
        try:
            try:
                raise cause
            except Exception as error:
                message = text or f"Failed while loading data from dataset X(a=1).\n{error}"
                raise DatasetError(message) from error
        except DatasetError as inner:
            raise DatasetError(f"films.raw: {inner}") from inner
    except DatasetError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DataError("column 'x' is bad"), "column 'x' is bad"),
        (ValueError("no"), "ValueError: no"),
        (loading(FileNotFoundError(2, "No such file", "a.csv")), "films.raw: no such file"),
        (loading(IsADirectoryError(21, "x")), "films.raw: expected a file, found a folder"),
        (loading(ValueError("odd\n")), "films.raw: odd"),
        (loading(KeyError("x"), "a.db: the query failed"), "films.raw: a.db: the query failed"),
    ],
)
def test_messages(error, text):
    assert readable(error) == text


def test_dollars_that_were_to_be_text():
    config = OmegaConf.create({"classes": ["${EUR}"]})
    with pytest.raises(InterpolationKeyError) as error:
        OmegaConf.to_container(config, resolve=True)

    assert "'EUR' not found" in readable(error.value)
    assert readable(error.value).endswith(r"to hold the text ${...}, write \${...}")
    meant = OmegaConf.create({"classes": [r"\${EUR}"]})
    assert OmegaConf.to_container(meant, resolve=True) == {"classes": ["${EUR}"]}


def test_encoding():
    error = loading(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))

    assert readable(error).startswith("films.raw: expected text in UTF-8: 'utf-8' codec can't")


def test_an_empty_csv():
    from pandas.errors import EmptyDataError

    error = loading(EmptyDataError("No columns to parse from file"))

    assert readable(error) == "films.raw: the file has no rows"


def test_notes_follow():
    error = DataError("bad")
    error.add_note("file: a.csv")

    assert readable(error) == "bad\nfile: a.csv"


def test_root_cause():
    error = FileNotFoundError("x")

    assert root_cause(loading(error)) is error
    assert root_cause(error) is error


@pytest.fixture
def settled(project):
    """A project whose settings this process has read, as the command line does."""
    bootstrap_project(project)


@pytest.mark.usefixtures("settled")
def test_a_run_of_some_candidates(monkeypatch):
    seen = {}
    monkeypatch.setattr("ratchet.cli.kedro_run.callback", lambda **options: seen.update(options))
    arguments = ["run", "--env", "test", "--candidates", "ridge, recurrent"]

    done = CliRunner().invoke(cli, [*arguments, "--params", "power.targets.demand.cv=3"])

    assert done.exit_code == 0, done.output
    target = seen["params"]["power"]["targets"]["demand"]
    assert target["cv"] == 3
    assert target["candidates"]["xgboost"] is None
    assert "ridge" not in target["candidates"]
    assert target["networks"] == {}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("options", "read"),
    [
        (["--namespaces", "power"], {"power"}),
        (["--pipelines", "power"], {"power"}),
        (["--namespaces", "power", "--params", "films.features.min_count=5"], {"power", "films"}),
        (["--namespaces", "power", "--params", "as_of=2014-02-15"], {"power"}),
    ],
)
def test_a_run_reads_the_use_cases_that_it_names_or_sets_parameters_of(options, read, monkeypatch):
    seen = {}

    def run(**given):
        loader = ConfigLoader(
            conf_source="conf", env="test", runtime_params=given["params"], **CONFIG_LOADER_ARGS
        )
        seen.update(read_use_cases(loader["parameters"]))

    monkeypatch.setattr("ratchet.cli.kedro_run.callback", run)

    done = CliRunner().invoke(cli, ["run", "--env", "test", *options])

    assert done.exit_code == 0, done.output
    assert seen.keys() == read
    if "films" in read:
        assert seen["films"].features.min_count == 5


@pytest.mark.usefixtures("settled")
def test_a_run_of_unknown_candidates():
    done = CliRunner().invoke(cli, ["run", "--env", "test", "--candidates", "oops,seasonal"])

    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "--candidates: unknown ['oops', 'seasonal']; there are ['boosted_ridge', " in said
    assert "; ['seasonal'] take part in any case: leave them out" in said


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left on the disk; make"),
        (OSError(errno.EROFS, "Read-only file system"), "the disk is mounted read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission"),
        (MemoryError("Unable to allocate 9 GiB"), "memory has run out; fewer candidates"),
        (
            RuntimeError("(sqlite3.OperationalError) database or disk is full\n[SQL: ...]"),
            "the database of the project cannot be written (database or disk is full): make room",
        ),
    ],
)
def test_what_the_system_refuses_is_told_without_a_library(cause, told):
    assert readable(cause).startswith(told)
    if not isinstance(cause, RuntimeError):
        error = DatasetError("films.typed: Failed while saving data to dataset Parquet(x).\nno")
        error.__cause__ = cause
        assert readable(error).startswith(f"films.typed: {told}")


def test_the_file_that_cannot_be_written_is_named():
    error = PermissionError(errno.EACCES, "Permission denied", "data/a.json")

    assert readable(error) == "data/a.json: no permission"
