"""Searches requested over HTTP: recorded in the database, run in processes of their own."""
