"""Searches that are asked for over HTTP: kept in the database, run in processes of their own."""
