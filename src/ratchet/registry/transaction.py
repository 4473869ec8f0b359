"""What every action on a use case begins with, and how it ends in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.bundle.manifest import bundle_digest
from ratchet.errors import UserError
from ratchet.registry.ledger import Entry, State
from ratchet.registry.model_versions import DIGEST
from ratchet.registry.registry import Registry, RegistryError

LOGGER = logging.getLogger(__name__)

Check = Callable[[Path], object]
"""Opens a bundle and lets it answer; raises when it cannot."""


@dataclass(frozen=True)
class Desk:
    """One use case as it stood when an action began, and what may be done about it."""

    registry: Registry
    use_case: str
    actor: str
    state: State

    @classmethod
    def open(cls, registry: Registry, use_case: str, actor: str) -> Desk:
        """Finish what an earlier action left undone, and look where things stand."""
        for told in [*registry.repair(use_case), registry.ledger.ahead(use_case)]:
            if told:
                LOGGER.warning("%s", told)
        return cls(registry, use_case, actor, registry.ledger.state(use_case))

    def expect(self, event: str, seq: int) -> None:
        """Make sure that the newest decision is the one that the caller knows of."""
        if self.state.seq != seq:
            raise self.registry.ledger.conflict(self.use_case, event)

    def since(self) -> Entry:
        """The decision since which the champion serves."""
        entry = self.registry.ledger.serving(self.use_case)
        assert entry is not None  # there is a champion
        return entry

    def rehearse(self, version: str, check: Check, digest: str | None = None) -> None:
        """Make sure that a version is what was judged, and can answer.

        Args:
            version: which.
            check: lets it answer.
            digest: what the judge saw, where the decision rests on a verdict.
        """
        folder = self.registry.folder(self.use_case, version)
        if digest is not None and bundle_digest(folder) != digest:
            raise RegistryError(
                f"version {version} of {self.use_case} is not what was judged: bundle {folder} was "
                f"changed since; judge it again: kedro run"
            )
        try:
            check(folder)
        except Exception as error:  # whatever a damaged file may raise
            raise RegistryError(
                f"version {version} of {self.use_case} cannot serve: {error}"
            ) from error

    def rehearse_way_back(self, check: Check) -> None:
        """Make sure that the present champion, the way back from the next one, can answer."""
        if self.state.champion is None:
            return
        try:
            self.rehearse(self.state.champion, check)
        except RegistryError as error:
            raise RegistryError(
                f"{self.use_case}: not promoted, for there would be no way back: {error} "
                f"(kedro ratchet promote --no-way-back does without)"
            ) from error

    def go_back(self, version: str | None, check: Check) -> tuple[str, dict[str, str]]:
        """The version to go back to: the one named, or else the newest that can answer.

        Returns:
            The version; and the newer ones that were passed over, with the reason.
        """
        target, refused = self.target(version), dict[str, str]()
        for candidate in [target] if version else earlier_champions(self.state):
            try:
                self.rehearse(candidate, check)
            except UserError as error:
                refused[candidate] = str(error)
            else:
                return candidate, refused
        raise RegistryError("; ".join(refused.values()))

    def target(self, version: str | None) -> str:
        """The version to go back to, if it may serve at all."""
        state, use_case = self.state, self.use_case
        if state.champion is None:
            raise RegistryError(f"{use_case}: nothing serves yet, so there is no way back")
        earlier = earlier_champions(state)
        if version is None and not earlier:
            raise RegistryError(
                f"{use_case}: no way back from version {state.champion}, since no earlier "
                f"champion is left outside of quarantine; {self.choices()}"
            )
        target = version or earlier[0]
        if target in state.served and target not in state.quarantined:
            return target
        self.registry.folder(use_case, target)
        what = "is in quarantine" if target in state.quarantined else "never served"
        raise RegistryError(
            f"version {target} of {use_case} {what}; to let it serve all the same: "
            f"kedro ratchet promote --use-case {use_case} --to {target} --reason ..."
        )

    def choices(self) -> str:
        """What a person could name instead."""
        known = [version.number for version in self.registry.versions(self.use_case)]
        if not known:
            return "nothing is registered yet: `kedro run` does it"
        return (
            f"name one of {', '.join(known)}: "
            f"kedro ratchet promote --use-case {self.use_case} --to VERSION --reason ..."
        )

    def note(self, event: str, version: str | None, reason: str, details: Any) -> Entry:
        """Write a decision after which the same version serves."""
        entry = self.registry.ledger.append(
            self.use_case,
            event,
            version=version,
            champion=self.state.champion,
            previous=self.state.previous,
            actor=self.actor,
            reason=reason,
            details=details,
            expect=self.state.seq,
        )
        self.registry.repair(self.use_case)
        return entry

    def change(
        self, event: str, version: str, reason: str, details: Any, quarantined: Sequence[str]
    ) -> Entry:
        """Write a decision after which another version serves; the aliases are not moved yet."""
        served = set(self.state.served)
        there = {one for one in served if self.registry.holds(self.use_case, one)}
        digest = bundle_digest(self.registry.folder(self.use_case, version))
        return self.registry.ledger.append(
            self.use_case,
            event,
            version=version,
            champion=version,
            previous=way_back(self.state.served, version, quarantined, there),
            actor=self.actor,
            reason=reason,
            details={**details, DIGEST: digest},
            quarantined=quarantined,
            expect=self.state.seq,
        )


def earlier_champions(state: State) -> list[str]:
    """Versions that served before and may serve again, newest first."""
    barred = {state.champion, *state.quarantined}
    return [version for version in dict.fromkeys(reversed(state.served)) if version not in barred]


def way_back(
    served: Sequence[str], champion: str, quarantined: Collection[str], there: Collection[str]
) -> str | None:
    """The newest earlier champion that may serve again.

    Args:
        served: champions, one after the other.
        champion: the one that serves now.
        quarantined: those that may not.
        there: versions whose bundles are still kept.
    """
    for version in reversed(served):
        if version != champion and version not in quarantined and version in there:
            return version
    return None
