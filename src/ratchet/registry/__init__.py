"""The registry of model versions and the ledger of every decision about them."""
