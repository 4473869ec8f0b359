"""How many compiled programs a process keeps: each takes memory, and seconds to compile."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

MAX_PROGRAMS = 16


def most_recent(programs: Iterable[Hashable], used: Hashable) -> list[Hashable]:
    """Programs that a process still has after it used one; the last used comes last."""
    return [*(program for program in programs if program != used), used][-MAX_PROGRAMS:]
