"""Errors that a user can mend: the message says where, what was found and what was expected."""


class UserError(Exception):
    """Something in the data or the configuration has to be changed."""


class DataError(UserError):
    """The data break their contract."""


class ConfigError(UserError):
    """The configuration cannot be used."""


def root_cause(error: BaseException) -> BaseException:
    """The error at the bottom of a chain of ``raise ... from``."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
