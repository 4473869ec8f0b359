"""Messages say nothing that only the owner of an address may know."""

from __future__ import annotations

import io
import logging
import queue
from logging.handlers import QueueHandler

import pytest
from rich.console import Console
from rich.logging import RichHandler

from ratchet.errors import DataError, explain_system_error, hide_secrets
from ratchet.hooks.tracking import _hide_secrets_in_logs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ada:s3cret@host:5432/x", "postgresql://host:5432/x"),
        ("to http://ada:s@cret@host/x: refused", "to http://host/x: refused"),
        ("http://ada:s3/cr:et@host/x", "http://host/x"),
        ("http://ada@host", "http://host"),
        ("postgresql://ada:s@cr/et@host/x", "postgresql://host/x"),
        ("redis://:s3/cret@host", "redis://host"),
        ("http://ada:s@a, http://bob:t@b", "http://a, http://b"),
        ("http://ada:s@a,http://bob:t@b", "http://a,http://b"),
        ("http://host:8080?x=a@b", "http://host:8080?x=a@b"),
        ("mssql://?odbc_connect=UID%3Dada%3BPWD%3Ds3cret", "mssql://?odbc_connect=..."),
        ("http://host:8080/x@y", "http://host:8080/x@y"),
        ("see http://a/x and write to ada@host", "see http://a/x and write to ada@host"),
        ("https://h/p?a=1&access_token=s3cret&b=2", "https://h/p?a=1&access_token=...&b=2"),
        ("https://h/p?X-Amz-Signature=abc#top", "https://h/p?X-Amz-Signature=...#top"),
        ("(https://h/p?api_key=s3cret)", "(https://h/p?api_key=...)"),
        ("sqlite:///data/mlflow.db", "sqlite:///data/mlflow.db"),
        ("ada:s3cret@host", "ada:s3cret@host"),  # no address
    ],
)
def test_secrets_of_addresses(text, expected):
    assert hide_secrets(text) == expected
    assert str(DataError(text)) == expected


def test_what_is_logged(caplog):
    before = logging.getLogRecordFactory()
    try:
        for _ in range(2):
            _hide_secrets_in_logs()
        logging.getLogger("urllib3").warning("to %s: %d", "http://ada:s3cret@host/x", 7)
        logging.getLogger("urllib3").warning("%d", 7)
    finally:
        logging.setLogRecordFactory(before)

    assert [record.getMessage() for record in caplog.records] == ["to http://host/x: 7", "7"]


WITH_AND_WITHOUT = ("http://ada:s3cret@host/x", "nothing")


@pytest.mark.parametrize("handler", ["plain", "queue", "rich"])
def test_traces_that_are_logged(handler):
    """Libraries put addresses into their errors, and loggers their traces into files."""
    before, out = logging.getLogRecordFactory(), io.StringIO()
    logger = logging.Logger("mlflow")
    if handler == "rich":
        console = Console(file=out, width=500)
        logger.addHandler(RichHandler(console=console, rich_tracebacks=True))
    else:
        logger.addHandler(logging.StreamHandler(out))
    if handler == "queue":
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        logger.handlers = [QueueHandler(records)]
    try:
        _hide_secrets_in_logs()
        for text in WITH_AND_WITHOUT:  # rich also prints this line
            try:
                try:
                    raise OSError(text)
                except OSError as error:
                    raise ValueError("no answer") from error
            except ValueError:
                logger.exception("failed")
    finally:
        logging.setLogRecordFactory(before)
    if handler == "queue":
        while not records.empty():
            out.write(records.get().getMessage())

    assert "s3cret" not in out.getvalue()
    assert "OSError: http://host/x" in out.getvalue()
    assert "OSError: nothing" in out.getvalue()
    assert out.getvalue().count("ValueError: no answer") == 2


class TerminatedWorkerError(Exception):
    """As joblib's is called."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "memory has run out"),
        (OSError(12, "Cannot allocate memory"), "memory has run out"),
        (RuntimeError("can't start new thread"), "memory has run out"),
        (ImportError("x.so: failed to map segment from shared object"), "memory has run out"),
        (ValueError("[12:00] x.cc:7: std::bad_alloc"), "memory has run out"),
        (TerminatedWorkerError("The exit codes are {SIGKILL(-9)}"), "memory has run out"),
        (TerminatedWorkerError("The exit codes are {SIGSEGV(-11)}"), "None"),
        (OSError(28, "No space left on device"), "no space is left on the disk"),
        (ValueError("no"), "None"),
    ],
)
def test_what_the_system_refuses(error, told):
    outer = DataError("films cannot be read")
    outer.__cause__ = error

    assert str(explain_system_error(outer)).startswith(told)
