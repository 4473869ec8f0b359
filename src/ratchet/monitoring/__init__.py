"""Watching a model that serves: what it answered, how well, and what to do about it."""
