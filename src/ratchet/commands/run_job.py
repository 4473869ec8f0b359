"""``kedro ratchet run-job FOLDER``: the process of a search that was requested over HTTP."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

import click

from ratchet.learning.atomic_files import write_text
from ratchet.provenance import ORCHESTRATOR_DAG, ORCHESTRATOR_RUN, ORCHESTRATOR_TASK
from ratchet.serving.jobs.processes import note_own_process
from ratchet.serving.jobs.progress import Writer
from ratchet.serving.jobs.specification import FAILURE, ORDER, RESULT, Order

_NICE = 10

_OMITTED = (
    "Using synchronous mode for loading and saving data. Use the --async flag for potential "
    "performance gains. https://docs.kedro.org/en/stable/build/run_a_pipeline/#load-and-save-"
    "asynchronously",
    "Kedro project ratchet",
    "",
)
"""What Kedro says in every run."""


@click.command(hidden=True)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def run_job(folder: Path) -> None:
    """Run the search that FOLDER/order.json describes; the service starts this."""
    from ratchet.cli import readable  # which imports the commands

    with suppress(OSError):
        os.nice(_NICE)
    # In Airflow, too, it is the job of a client, and no task of a retraining.
    for name in (ORCHESTRATOR_RUN, ORCHESTRATOR_DAG, ORCHESTRATOR_TASK):
        os.environ.pop(name, None)
    folder = folder.resolve()
    note_own_process(folder)
    order = Order.model_validate_json((folder / ORDER).read_bytes())
    (folder / FAILURE).unlink(missing_ok=True)  # of an earlier attempt
    writer = Writer(folder)
    _send_log(writer)
    try:
        from ratchet.search_job.job import (
            Job,  # takes seconds: the service knows the process by now
        )

        outcome = Job(order, folder, writer).run()
        write_text(folder / RESULT, json.dumps(outcome, allow_nan=False))
    except Exception as error:
        logging.getLogger(__name__).error("the job has failed", exc_info=error)
        reason = without_folders(readable(error), folder, Path.cwd())
        write_text(folder / FAILURE, json.dumps({"error": reason}))
        raise SystemExit(1) from None
    writer.write("stage", name="done")


def without_folders(message: str, *folders: Path) -> str:
    """A message with relative paths: clients need not know the folders of the machine."""
    for folder in folders:
        message = message.replace(f"{folder}{os.sep}", "")
    return message


class _ToProgress(logging.Handler):
    """Writes lines of the log to the progress of the job."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(logging.INFO)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            text = record.getMessage().splitlines()[0].partition("([")[0]
            if text not in _OMITTED:
                self._writer.write("log", level=record.levelname, text=text[:200])


def _send_log(writer: Writer) -> None:
    """Let the log of Kedro and of this package be followed."""
    for name in ("kedro", "ratchet"):
        logging.getLogger(name).addHandler(_ToProgress(writer))
