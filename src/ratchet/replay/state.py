"""Where a policy stands on a day: what serves, what served, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ratchet.registry.ledger_chain import rollback_target
from ratchet.replay.history import latest_moment
from ratchet.replay.stage import Model


@dataclass(frozen=True)
class Event:
    """Something that was decided, or that did not come about.

    Attributes:
        day: when.
        event: ``promote``, ``hold``, ``reject``, ``rollback``, ``retrain`` as in the ledger; or
            ``failed``, a training that has brought no model.
        version: the version that was judged, or serves since.
        champion: what serves after it.
        reason: one line.
        numbers: what it goes by.
    """

    day: pd.Timestamp
    event: str
    version: str | None
    champion: str | None
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Span:
    """Rows that one model has answered: those after one moment, up to another."""

    model: Model
    after: pd.Timestamp
    until: pd.Timestamp


@dataclass(eq=False)
class State:
    """What the ledger, the registry and the prediction log would say.

    Attributes:
        keep: bundles kept beside those that serve, served last, or wait.
        champion: what serves.
        since: time after which rows count as its production.
        served: everything that ever served, one after the other; the last one serves.
        quarantined: versions that only a person would bring back.
        known: the versions whose bundles are kept, oldest first.
        answered: time of the last row that was answered.
        requested_until: last moment that a request to retrain rests on, since models last changed.
        seen: complete windows of the champion that the watch has looked at.
        trained: days on which a training was looked at.
        spans: what answered which rows.
        events: what was decided.
    """

    keep: int
    champion: Model | None = None
    since: pd.Timestamp | None = None
    served: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    known: dict[str, Model] = field(default_factory=dict)
    answered: pd.Timestamp | None = None
    requested_until: pd.Timestamp | None = None
    seen: int = 0
    trained: list[pd.Timestamp] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def previous(self) -> Model | None:
        """The way back: the newest earlier champion that may serve again."""
        if self.champion is None:
            return None
        version = rollback_target(self.served, self.champion.version, self.quarantined, self.known)
        return None if version is None else self.known[version]

    def register(self, model: Model) -> None:
        """Make a version known."""
        self.known[model.version] = model

    def prune(self) -> None:
        """Let go of the oldest versions, as ``Registry.prune`` does."""
        previous = self.previous
        needed = {one.version for one in (self.champion, previous) if one is not None}
        needed |= {next(reversed(self.known))} if self.known else set()
        others = [version for version in self.known if version not in needed]
        for version in others[: max(len(others) - self.keep, 0)]:
            del self.known[version]

    def serve(self, model: Model) -> None:
        """Let a model serve from now on.

        Its production begins after the last row by which it was chosen, and after the last row
        that another model has answered.
        """
        self.champion = model
        self.since = latest_moment(model.decided_until, self.answered)
        if not self.served or self.served[-1] != model.version:
            self.served.append(model.version)
        self.requested_until, self.seen = None, 0

    def roll_back(self, *, quarantine: bool) -> Model:
        """Let the previous model serve again; the present one may be put into quarantine."""
        failed, previous = self.champion, self.previous
        assert failed is not None
        assert previous is not None
        if quarantine:
            self.quarantined = [*(v for v in self.quarantined if v != failed.version)]
            self.quarantined.append(failed.version)
        self.serve(previous)
        return previous

    def note(
        self,
        day: pd.Timestamp,
        event: str,
        version: str | None,
        reason: str,
        numbers: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was decided."""
        champion = None if self.champion is None else self.champion.version
        self.events.append(Event(day, event, version, champion, reason, numbers or {}))
