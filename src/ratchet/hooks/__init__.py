"""Kedro hooks: what happens around a run, whatever runs."""
