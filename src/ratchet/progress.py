"""Progress on a terminal: a bar for the nodes and one for the search that is running."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ratchet import webhook

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ratchet.learning.demand.iterations import Progress as Iterated
    from ratchet.learning.search import OnProgress

    OnIterations = Callable[[Iterated], None]

_shown: Progress | None = None
_bars: dict[str, TaskID] = {}
_send: Callable[[tuple[Any, ...]], None] | None = None


def is_interactive() -> bool:
    """Bars are for people: not for pipes, CI or Airflow."""
    automatic = any(name in os.environ for name in ("CI", "AIRFLOW_CTX_DAG_ID"))
    return sys.stdout.isatty() and sys.stderr.isatty() and not automatic


def console(width: int) -> Console:
    """The terminal; a pipe or a log, which have no width of their own, get this one."""
    from rich import get_console
    from rich.console import Console

    terminal = get_console()
    return terminal if terminal.is_terminal else Console(width=width)


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
    _bars.clear()


def shown() -> bool:
    """Whether progress bars are on a terminal: of this process, or of its parent."""
    return _shown is not None or _send is not None


def forward(send: Callable[[tuple[Any, ...]], None]) -> None:
    """Let another process, which has the terminal, show the bars of this one.

    Args:
        send: takes a function and its arguments, which that process calls.
    """
    global _send  # noqa: PLW0603
    _send = send


def show(name: str, text: str, done: int | None = None, total: int | None = None) -> None:
    """Show a bar, or how far it is by now."""
    if _send is not None:
        _send((show, name, text, done, total))
    elif _shown is not None:
        if name not in _bars:
            _bars[name] = _shown.add_task(text, total=None)
        _shown.update(_bars[name], description=text, completed=done, total=total)


def advance(name: str) -> None:
    """One more is done."""
    if _send is not None:
        _send((advance, name))
    elif _shown is not None and name in _bars:
        _shown.advance(_bars[name])


def hide(name: str) -> None:
    """Take a bar away."""
    if _send is not None:
        _send((hide, name))
    elif _shown is not None and name in _bars:
        _shown.remove_task(_bars.pop(name))


def report_trials(
    name: str,
    done: int,
    total: int,
    best: float,
    finished: Sequence[tuple[Mapping[str, Any], float]],
) -> None:
    """Report to listeners which trials of a search are done; bars show none.

    Args:
        name: the search.
        done: trials done so far.
        total: trials in all.
        best: best score so far, NaN as long as there is none.
        finished: parameters and score of those that were done last.
    """
    if _send is not None:
        _send((report_trials, name, done, total, best, finished))


@contextmanager
def search_progress(name: str, scoring: str) -> Iterator[OnProgress | None]:
    """Tell of one search, by a bar and by the webhook, as far as there is one.

    Both say how many fits are done and the best score so far; the bar also how many trials are
    trained together, and the time left.
    """
    if not shown() and webhook.current().url is None:
        yield None
        return
    bar = f"{os.getpid()} {name}"
    show(bar, f"  {name}")

    def report(
        done: int,
        total: int,
        best: float,
        group_size: int = 1,
        finished: Sequence[tuple[Mapping[str, Any], float]] = (),
        /,
    ) -> None:
        report_trials(name, done, total, best, finished)
        webhook.current().progress(name, done, total, best)
        score = "" if math.isnan(best) else f", best {scoring} {best:.4g}"
        together = f" ({group_size} together{score})" if group_size > 1 else f" ({score[2:]})"
        show(bar, f"  {name}{together if score else ''}", done, total)

    try:
        yield report
    finally:
        hide(bar)


@contextmanager
def iteration_progress(name: str) -> Iterator[OnIterations | None]:
    """Tell of one training by iterations, by a bar and by the webhook, as far as there is one.

    Both say how many iterations all segments have reached; the bar also how many segments there
    are, the last error of the history, and the time left.
    """
    if not shown() and webhook.current().url is None:
        yield None
        return
    bar = f"{os.getpid()} {name}"
    show(bar, f"  {name}")

    def report(progress: Iterated) -> None:
        error = math.nan if progress.error is None else progress.error
        # All segments together move the bar: a round of many takes long.
        done = round(progress.share * progress.iterations)
        webhook.current().progress(name, done, progress.iterations, error)
        score = "" if math.isnan(error) else f", error {error:.4g}"
        segments = f"{progress.segments:,} segments, iteration {progress.iteration:,}"
        show(bar, f"  {name}: {segments}{score}", done, progress.iterations)

    try:
        yield report
    finally:
        hide(bar)
