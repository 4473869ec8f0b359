"""Columns of dates: read in one way only, exact to a microsecond.

Without a time zone a column holds the clock as it stands in the file; with one it holds moments
that show the local clock of that zone, so that days, hours and keys are local ones.
"""

from ratchet.dates.reading import read_dates
from ratchet.dates.zones import local, midnight, on_clock, utc

__all__ = ["local", "midnight", "on_clock", "read_dates", "utc"]
