"""The status page: what serves, since when, how well, and what was decided."""
