"""The table at the end of a run."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl


class SummaryHooks:
    """Says in one table what came out."""
