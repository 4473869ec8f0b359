"""Errors that a user can mend: the message says where, what was found and what was expected."""


class UserError(Exception):
    """Something in the data or the configuration has to be changed."""


class DataError(UserError):
    """The data break their contract."""


class ConfigError(UserError):
    """The configuration cannot be used."""
