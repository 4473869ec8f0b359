"""Messages say nothing that only the owner of an address may know."""

from __future__ import annotations

import logging

import pytest

from ratchet.errors import DataError, hide_secrets
from ratchet.hooks.tracking import _hide_secrets_in_logs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ada:s3cret@host:5432/x", "postgresql://host:5432/x"),
        ("to http://ada:s@cret@host/x: refused", "to http://host/x: refused"),
        ("http://ada:s3/cr:et@host/x", "http://host/x"),
        ("http://ada@host", "http://host"),
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
