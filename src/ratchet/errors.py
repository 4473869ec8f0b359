"""Errors that a user can mend: the message names the place, the actual and the expected value."""

from __future__ import annotations

import errno
import re

_USER = re.compile(r"(?<=://)(?:[^\s/:@]*:(?!\d+[/?#])(?:(?!://)\S)*@|[^\s/:@]+@)")
"""User and password up to the last ``@``: rather too much is hidden than the end of a password."""
_SECRET = re.compile(
    r"([?&][^=&\s]*(?:token|key|secret|passw|pwd|odbc|auth|sig)[^=&\s]*=)[^&\s#'\")]+", re.I
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


class DatabaseError(UserError):
    """The database is damaged, full or may not be written."""


_SYSTEM = {
    errno.ENOSPC: "no space is left on the disk; make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up; make room and run the same command again",
    errno.EFBIG: "the file is larger than this process may write (ulimit -f)",
    errno.EROFS: "the disk is mounted read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EMFILE: "too many open files (ulimit -n)",
}
_NO_MEMORY = (
    "can't start new thread",
    "failed to map segment from shared object",
    "cannot allocate memory",
    "bad_alloc",
)
"""What libraries say, in errors of any class, when they get no memory."""
OUT_OF_MEMORY = (
    "memory has run out; fewer candidates (--candidates) or one use case at a time "
    "(--runner SequentialRunner) take less"
)


def explain_system_error(error: BaseException) -> str | None:
    """What the system refuses, where that is the cause of an error: disk, permission, memory.

    Returns:
        ``None`` where it is another error.
    """
    cause: BaseException | None = error
    while cause is not None:
        if _lacks_memory(cause):
            return OUT_OF_MEMORY
        if isinstance(cause, OSError) and cause.errno in _SYSTEM:
            return _SYSTEM[cause.errno]
        cause = cause.__cause__ or cause.__context__
    return None


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "TerminatedWorkerError":  # of joblib
        return "SIGKILL" in str(error)
    text = str(error).lower()
    return any(sign in text for sign in _NO_MEMORY)


def root_cause(error: BaseException) -> BaseException:
    """The error at the bottom of a chain of ``raise ... from``."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
