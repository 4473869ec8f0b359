"""The registry of model versions and the ledger of every decision about them."""

EXPORTED_LEDGER = "ledger.db"
"""File of the decisions in an export, see ``export``."""

EXPORTED_BUNDLES = "bundles"
"""Folder of the bundles in an export."""
