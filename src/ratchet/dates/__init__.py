"""Columns of dates: read in one way only, exact to a microsecond.

Without a time zone a column holds the local time as written in the file; with one it holds moments
that show the local clock of that zone, so that days, hours and keys are local ones.

What needs pandas is imported when it is first asked for: ``ratchet.dates.shapes`` does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratchet.dates.reading import read_dates
    from ratchet.dates.zones import local, midnight, on_clock, utc

__all__ = ["local", "midnight", "on_clock", "read_dates", "utc"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "reading" if name == "read_dates" else "zones"
    return getattr(import_module(f"{__name__}.{module}"), name)
