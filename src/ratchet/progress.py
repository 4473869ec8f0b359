"""Progress on a terminal: a bar for the nodes and one for the search that is running."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from ratchet.learning.search import OnProgress

_shown: Progress | None = None


def wanted() -> bool:
    """Bars are for people: not for pipes, CI or Airflow."""
    automatic = any(name in os.environ for name in ("CI", "AIRFLOW_CTX_DAG_ID"))
    return sys.stdout.isatty() and sys.stderr.isatty() and not automatic


def start() -> Progress:
    """Show the bars; they share the console of Kedro's log, which scrolls above them."""
    global _shown  # noqa: PLW0603 - one terminal, one display
    from rich import get_console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    _shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=get_console(),
        transient=True,
    )
    _shown.start()
    return _shown


def stop() -> None:
    """Take the bars away."""
    global _shown  # noqa: PLW0603
    if _shown is not None:
        _shown.stop()
    _shown = None


@contextmanager
def search_progress(name: str, scoring: str) -> Iterator[OnProgress | None]:
    """A bar for one search: fits done, best score so far, time left."""
    if _shown is None:
        yield None
        return
    progress = _shown
    task = progress.add_task(f"  {name}", total=None)

    def report(done: int, total: int, best: float) -> None:
        found = "" if math.isnan(best) else f" (best {scoring} {best:.4f})"
        progress.update(task, completed=done, total=total, description=f"  {name}{found}")

    try:
        yield report
    finally:
        progress.remove_task(task)
