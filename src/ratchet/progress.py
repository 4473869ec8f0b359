"""Progress on a terminal: a bar for the nodes and one for the search that is running."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ratchet import webhook

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
    """Tell of one search, by a bar and by the webhook, as far as there is one.

    Both say how many fits are done and the best score so far; the bar also how many trials are
    trained together, and the time left.
    """
    if _shown is None and webhook.current().url is None:
        yield None
        return
    task = _shown.add_task(f"  {name}", total=None) if _shown else None

    def report(done: int, total: int, best: float, members: int = 1, /) -> None:
        webhook.current().progress(name, done, total, best)
        if _shown is None or task is None:
            return
        found = "" if math.isnan(best) else f", best {scoring} {best:.4g}"
        together = f" ({members} together{found})" if members > 1 else f" ({found[2:]})"
        text = f"  {name}{together if found else ''}"
        _shown.update(task, completed=done, total=total, description=text)

    try:
        yield report
    finally:
        if _shown is not None and task is not None:
            _shown.remove_task(task)
