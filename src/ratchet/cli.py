"""Commands of this project: ``kedro run`` with readable errors."""

from __future__ import annotations

import atexit
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import split_string
from kedro.framework.project import settings
from kedro.io import DatasetError

from ratchet import progress
from ratchet.commands import ratchet
from ratchet.config.kedro_loader import RUN_PARAMETERS, deep_merge, only_use_cases
from ratchet.config.loader import candidate_overrides, project_loader, read_use_cases
from ratchet.database import explain_sqlite_error, tracking_uri
from ratchet.errors import (
    OUT_OF_MEMORY,
    ConfigError,
    UserError,
    explain_system_error,
    hide_secrets,
    root_cause,
)
from ratchet.learning.processes import PARENT, end_with_parent

USE_CASE_RUNNER = "ratchet.runner.UseCaseRunner"
SMALLEST_LIMIT = 1.2e9
"""Bytes of addresses that a run of one small use case takes, most of them by libraries."""
SIGNAL_CODE = 128  # shells add this to the number of the signal that ended a command


@click.group(name="ratchet")
def cli() -> None:
    """Commands of the project."""


def run(*, verbose: bool, candidates: list[str], **options: Any) -> Any:
    """Run the pipelines; an error ends in a message, not in a traceback."""
    named = {name.partition(".")[0] for name in options["namespaces"]} or {*options["pipelines"]}
    if named:  # --params of another use case are merged into all of its parameters
        named |= options["params"].keys() - RUN_PARAMETERS
    with only_use_cases(named):
        return _run(verbose=verbose, candidates=candidates, **options)


def _run(*, verbose: bool, candidates: list[str], **options: Any) -> Any:
    if candidates:
        options["params"] = _restricted(options["params"], candidates, options["env"])
    if not options["load_versions"]:
        options["runner"] = options["runner"] or USE_CASE_RUNNER
    talkers = [logging.getLogger(name) for name in ("kedro.pipeline.node", "ratchet.runner.worker")]
    if not verbose:
        for talker in talkers:
            talker.addFilter(_is_no_error)  # the error is reported once, at the end
    if parent := os.environ.pop(PARENT, None):
        end_with_parent(int(parent))
    try:
        _check_memory_limit()
        with _sigterm_interrupts() as received:
            return kedro_run.callback(**options)  # type: ignore[misc]
    except click.ClickException:
        raise
    except KeyboardInterrupt:
        _close_run()
        click.echo("Interrupted; run the same command again to continue", err=True)
        raise SystemExit(SIGNAL_CODE + next(iter(received), signal.SIGINT)) from None
    except Exception as error:
        if explain_system_error(error) == OUT_OF_MEMORY:
            # What libraries do at the end would fail as well, each with a message of its own.
            atexit.register(os._exit, 1)
        if verbose:
            click.echo(hide_secrets(traceback.format_exc()), err=True)
            raise click.ClickException(readable(error)) from error
        raise click.ClickException(
            f"{readable(error)}\n(kedro run --verbose shows the traceback)"
        ) from error
    finally:
        for talker in talkers:
            talker.removeFilter(_is_no_error)


def _check_memory_limit() -> None:
    """Say so at once where libraries could not even be loaded: some abort, which nothing catches.

    Raises:
        ConfigError: the limit is too low.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < SMALLEST_LIMIT:
        raise ConfigError(
            f"this process may take {limit / 1e9:.1f} GB of memory (ulimit -v), and a small run "
            f"takes {SMALLEST_LIMIT / 1e9:.1f} GB; raise the limit, or limit what is in use by a "
            f"cgroup (systemd-run --user --scope -p MemoryMax=...)"
        )


@contextmanager
def _sigterm_interrupts() -> Iterator[list[int]]:
    """Let SIGTERM end a run as Ctrl-C does: with its processes, and closed in MLflow.

    It is what Airflow, systemd and Docker send, and what ends a run in the background of a script:
    the shell lets that ignore SIGINT, so that Ctrl-C is for the script alone, and so do we.

    Yields:
        The signal, once it has come.
    """
    received: list[int] = []

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends at once
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _restricted(params: dict[str, Any], names: list[str], env: str | None) -> dict[str, Any]:
    """Parameters of a run that tries some candidates only."""
    try:
        only = candidate_overrides(read_use_cases(project_loader(env)[0]["parameters"]), names)
    except UserError as error:
        raise click.ClickException(str(error)) from error
    return deep_merge(params, only)


def _close_run() -> None:
    """Kedro calls no hook when a run is interrupted."""
    progress.stop()
    for hook in settings.HOOKS:
        if interrupt := getattr(hook, "interrupt", None):
            interrupt()


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def readable(error: BaseException) -> str:
    """What a user needs of an error: the message, and the file or node it is about."""
    if isinstance(error, UserError):
        message = str(error)
    elif isinstance(error, DatasetError):
        message = _unreadable(error)
    elif reason := explain_system_error(error) or explain_sqlite_error(error):
        name = getattr(error, "filename", None)
        message = f"{name}: {reason}" if name else reason
    else:
        message = f"{type(error).__name__}: {error}"
    if type(error).__module__ == "omegaconf.errors":
        message += "\nWhere the parameters are to hold the text ${...}, write \\${...}"
    return hide_secrets("\n".join([message, *getattr(error, "__notes__", [])]))


def _unreadable(error: DatasetError) -> str:
    """Why a dataset cannot be loaded or saved, without Kedro's description of the dataset."""
    name, _, message = str(error).partition(": ")
    cause = root_cause(error)
    if reason := explain_system_error(error):
        return f"{name}: {reason}"
    if not message.startswith("Failed while"):
        return f"{name}: {message}"
    words = {
        "FileNotFoundError": "no such file",
        "IsADirectoryError": "expected a file, found a folder",
        "UnicodeDecodeError": f"expected text in UTF-8: {cause}",
        "EmptyDataError": "the file has no rows",
    }
    return f"{name}: {words.get(type(cause).__name__, str(cause).strip())}"


@cli.command(
    name="mlflow", context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
@click.option("--env", "-e", help="Environment whose mlflow.yml says where runs are tracked.")
@click.pass_context
def mlflow_ui(context: click.Context, env: str | None) -> None:
    """Look at the tracked runs; other options go to `mlflow ui`."""
    loader, project = project_loader(env)
    uri = tracking_uri(loader["mlflow"]["tracking_uri"], project)
    if uri.startswith("http"):
        raise click.ClickException(
            f"runs are tracked by a server: open {hide_secrets(uri)} in a browser"
        )
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, *context.args]
    context.exit(subprocess.run(command, check=False).returncode)


cli.add_command(
    click.Command(
        "run",
        callback=run,
        params=[
            *kedro_run.params,
            click.Option(
                ["--candidates"],
                default="",
                callback=split_string,
                help="Candidates and networks that are tried, instead of all: ridge,xgboost",
            ),
            click.Option(["--verbose", "-v"], is_flag=True, help="Show the traceback of an error."),
        ],
        help="Run the pipelines (all by default).",
    )
)
cli.add_command(ratchet)
