"""Whether there are rows that the model that serves does not know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ratchet.params import UseCase
from ratchet.preparation import typed_rows
from ratchet.release.delivered import decided_until
from ratchet.release.manifest import read_manifest
from ratchet.release.registry import Registry


@dataclass(frozen=True)
class Unseen:
    """Rows that a training would see and the model that serves has not.

    Attributes:
        rows: how many.
        champion: version that serves.
        until: time of the last row that it knows; None without time.
        reason: one sentence.
    """

    rows: int
    champion: str | None
    until: str | None
    reason: str

    @property
    def fresh(self) -> bool:
        """Whether training is worth while."""
        return self.rows > 0

    def to_json(self) -> dict[str, Any]:
        """The fields, and ``fresh``."""
        return {"fresh": self.fresh, **asdict(self)}


def unseen_rows(
    registry: Registry, name: str, use_case: UseCase, raw: pd.DataFrame, as_of: Any = None
) -> Unseen:
    """Count the rows that the model that serves does not know.

    Rows whose targets are not known yet do not count: nothing can be learned from them.

    Args:
        registry: versions and decisions.
        name: name of the use case.
        use_case: its parameters.
        raw: rows as delivered.
        as_of: last day whose rows are seen.

    Raises:
        DataError: the rows break their contract.
        BundleError: the bundle of the model that serves cannot be read.
    """
    typed = typed_rows(raw, use_case.data, dict(use_case.targets), as_of)
    targets = [t.column for t in use_case.targets.values() if t.column in typed]
    known = typed.dropna(subset=targets)
    champion = registry.champion(name)
    if champion is None:
        return Unseen(len(known), None, None, f"nothing serves yet; there are {len(known)} rows")
    folder = registry.folder(name, champion)
    time, until = use_case.data.time, decided_until(read_manifest(folder))
    if time is None or until is None:
        rows, until = len(known) - _known(folder, known, use_case.data.key), None
    else:
        rows = int((known[time] > pd.Timestamp(until)).sum())
    told = f"{rows} new rows" if rows else "no new rows"
    since = f"since {until}, the last that" if until else "beside those that"
    return Unseen(rows, champion, until, f"{told} {since} version {champion} knows")


def _known(folder: Any, typed: pd.DataFrame, key: str) -> int:
    from ratchet.release.bundle import open_bundle

    return int(typed[key].isin(open_bundle(folder).rows.index).sum())
