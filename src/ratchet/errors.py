"""Errors that a user can mend: the message says where, what was found and what was expected."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)(?:[^\s/@]+@(?:[^\s/@]+@)*|[^\s/:@]+:(?!\d+/)[^\s@]*@)")
_SECRET = re.compile(
    r"([?&][^=&\s]*(?:token|key|secret|passw|pwd|auth|signature|sig)[^=&\s]*=)[^&\s#'\")]+", re.I
)


def hide_secrets(text: str) -> str:
    """A text in which addresses have neither user and password nor tokens in their query."""
    return _SECRET.sub(r"\1...", _USER.sub("", text)) if "://" in text else text


class UserError(Exception):
    """Something in the data or the configuration has to be changed."""

    def __str__(self) -> str:
        """The message without what only the owner of an address may know."""
        return hide_secrets(super().__str__())


class DataError(UserError):
    """The data break their contract."""


class ConfigError(UserError):
    """The configuration cannot be used."""


def root_cause(error: BaseException) -> BaseException:
    """The error at the bottom of a chain of ``raise ... from``."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
