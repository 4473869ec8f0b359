"""Rows of the ledger, the state that they lead to, and the hash chain that shows changes.

Each row's digest covers all of its fields and the digest of the row before it: Haber and Stornetta,
"How to time-stamp a digital document", Journal of Cryptology 3 (1991).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

from ratchet.json_values import json_value

START = ""
"""Parent of a use case's first row."""

EVENTS = ("promote", "hold", "reject", "rollback", "override", "retrain")

Row = Mapping[str, Any]
"""A row as it is stored: texts, and one number (``seq``)."""


@dataclass(frozen=True)
class Entry:
    """One decision.

    Attributes:
        use_case: name of the use case.
        seq: its number, from 1, per use case.
        at: when it was taken (UTC); later than the one before it.
        event: one of ``EVENTS``.
        version: the version that was judged, or serves since.
        champion: what serves after it.
        previous: the rollback target after it.
        quarantined: versions that only a person may bring back.
        actor: ``user@host``, or the run that decided.
        reason: one line.
        details: all numbers.
        parent: digest of the decision before it.
        digest: SHA-256 of all the above.
    """

    use_case: str
    seq: int
    at: datetime
    event: str
    version: str | None
    champion: str | None
    previous: str | None
    quarantined: tuple[str, ...]
    actor: str
    reason: str
    details: dict[str, Any]
    parent: str
    digest: str

    def to_json(self) -> dict[str, object]:
        """All fields in types that JSON has."""
        return {**vars(self), "at": moment_text(self.at), "quarantined": list(self.quarantined)}


@dataclass(frozen=True)
class State:
    """State of a use case after all decisions about it.

    Attributes:
        seq: number of the newest decision, 0 before the first.
        champion: what serves.
        previous: the rollback target.
        quarantined: versions that only a person may bring back.
        since: since when the champion serves (UTC).
        served: everything that ever served, one after the other; the last one serves.
        rejected: versions whose newest verdict is REJECT.
        held: the newest version that was judged, where the verdict is HOLD; or an older one that
            was held back again after it, as its trial goes on.
    """

    seq: int = 0
    champion: str | None = None
    previous: str | None = None
    quarantined: tuple[str, ...] = ()
    since: datetime | None = None
    served: tuple[str, ...] = ()
    rejected: frozenset[str] = frozenset()
    held: str | None = None

    @property
    def earlier_champions(self) -> list[str]:
        """Versions that served before and may serve again, newest first."""
        barred = {self.champion, *self.quarantined}
        return [
            version for version in dict.fromkeys(reversed(self.served)) if version not in barred
        ]


def rollback_target(
    served: Sequence[str], champion: str, quarantined: Collection[str], present: Collection[str]
) -> str | None:
    """The newest earlier champion that may serve again.

    Args:
        served: champions, one after the other.
        champion: the one that serves now.
        quarantined: those that may not.
        present: versions whose bundles still exist.
    """
    for version in reversed(served):
        if version != champion and version not in quarantined and version in present:
            return version
    return None


def state_of(rows: Sequence[Row]) -> State:
    """The state that all rows of one use case, in order, lead to."""
    if not rows:
        return State()
    served: list[str] = []
    since, held_again, verdicts = None, None, dict[str | None, str]()
    for row in rows:
        if row["champion"] and row["champion"] != (served[-1] if served else None):
            served.append(row["champion"])
            since = moment_of(row)
        event, version = row["event"], row["version"]
        if event == "retrain" or (event == "hold" and version == row["champion"]):
            continue  # no verdict on a challenger
        held_again = version if event == verdicts.get(version) == "hold" else None
        verdicts[version] = event
    newest = rows[-1]
    return State(
        seq=number_of(newest),
        champion=newest["champion"],
        previous=newest["previous"],
        quarantined=quarantined_of(newest),
        since=since,
        served=tuple(served),
        rejected=frozenset(n for n, event in verdicts.items() if n and event == "reject"),
        held=held_again or _held(verdicts),
    )


def _held(verdicts: Mapping[str | None, str]) -> str | None:
    """The newest version that was judged, if it was held back and nothing was decided since."""
    newest = max((name for name in verdicts if name and name.isdecimal()), key=int, default=None)
    return newest if verdicts.get(newest) == "hold" else None


def number_of(row: Row) -> int:
    """Number of a decision; ValueError where it is not a positive integer."""
    if type(row["seq"]) is not int or row["seq"] < 1:
        raise ValueError(f"a decision has the number {row['seq']!r}")
    return int(row["seq"])


def moment_of(row: Row) -> datetime:
    """When a decision was taken (UTC); ValueError where it is not as ``moment_text`` writes it."""
    try:
        at = datetime.fromisoformat(row["at"])
        if moment_text(at) == row["at"] < moment_text(at + timedelta(microseconds=1)):
            return at
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{row['at']!r} is no time") from error
    raise ValueError(f"{row['at']!r} is no time in UTC with microseconds")


def quarantined_of(row: Row) -> tuple[str, ...]:
    """Versions in quarantine after a decision; ValueError where they are not a list of names."""
    names = _json_of(row, "quarantined")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the quarantined versions are not a list of names")
    return tuple(names)


def details_of(row: Row) -> dict[str, Any]:
    """All numbers of a decision; ValueError where they are not a JSON object."""
    details = _json_of(row, "details")
    if not isinstance(details, dict):
        raise ValueError("the details are not a JSON object")
    return details


def _json_of(row: Row, name: str) -> Any:
    try:
        return json.loads(row[name])
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys in order, no spaces, ASCII."""
    return json.dumps(json_value(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def moment_text(moment: datetime) -> str:
    """UTC with microseconds always, so that texts sort as the moments do.

    Args:
        moment: with a time zone; one without is taken to be in UTC.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")


def digest_of(row: Row) -> str:
    """SHA-256 (hex) of every field of a row but its digest."""
    fields = {name: value for name, value in row.items() if name != "digest"}
    return sha256(canonical_json(fields).encode()).hexdigest()


def find_faults(rows: Sequence[Row], anchors: Mapping[str, tuple[int, str]]) -> list[str]:
    """What is wrong with the rows of a ledger.

    Args:
        rows: all of them, in any order.
        anchors: use case -> number and digest of a row that is known to have been written.

    Returns:
        One line per fault, empty when the chain is whole.
    """
    faults, numbered = [], []
    for row in rows:
        if isinstance(row["use_case"], str) and type(row["seq"]) is int and row["seq"] > 0:
            numbered.append(row)
        else:
            faults.append(f"{row['use_case']}: a decision has the number {row['seq']!r}")
    for use_case in sorted({row["use_case"] for row in numbered} | set(anchors)):
        own_rows = [row for row in numbered if row["use_case"] == use_case]
        own_rows.sort(key=lambda row: int(row["seq"]))
        faults += [f"{use_case}: {fault}" for fault in _chain_faults(own_rows)]
        if use_case in anchors:
            faults += [f"{use_case}: {fault}" for fault in _lost(own_rows, *anchors[use_case])]
    return faults


def _chain_faults(rows: Sequence[Row]) -> Iterator[str]:
    before = {"seq": 0, "digest": START, "at": ""}
    for last, row in pairwise([before, *rows]):
        seq = row["seq"]
        if missing := range(last["seq"] + 1, seq):
            yield f"decision {_span(missing)} is missing"
        if row["digest"] != digest_of(row):
            yield f"decision {seq} was changed"
        elif fault := _content_fault(row):
            yield f"decision {seq} cannot be read: {fault}"
        elif not missing and row["parent"] != last["digest"]:
            yield f"decision {seq} does not follow decision {last['seq']} as it is here"
        if str(row["at"]) <= str(last["at"]):
            yield f"decision {seq} is not later than decision {last['seq']}"


def _content_fault(row: Row) -> str:
    """What cannot be read of a row whose digest is right: other code has written it."""
    try:
        _ = moment_of(row), details_of(row), quarantined_of(row)
    except ValueError as error:
        return str(error)
    return "" if row["event"] in EVENTS else f"there is no event {row['event']!r}"


def _span(numbers: range) -> str:
    first, last = numbers[0], numbers[-1]
    return f"{first}" if first == last else f"{first} to {last}"


def _lost(rows: Sequence[Row], seq: int, digest: str) -> Iterator[str]:
    """Compare with the row that was noted outside of the ledger."""
    digests = {row["seq"]: row["digest"] for row in rows}
    last = max(digests, default=0)
    if seq > last:
        yield f"the end is missing: the registry knows decision {seq}, the ledger ends with {last}"
    elif seq in digests and digests[seq] != digest:
        yield f"decision {seq} is not the one that the registry knows"
