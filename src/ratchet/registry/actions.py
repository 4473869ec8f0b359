"""Decisions that change what serves: promotion, rollback, and verdicts that keep the champion.

Every action first repairs what an earlier one left undone, checks what it is going to need, writes
one row of the ledger, and only then lets the aliases follow. Killed before the row, nothing has
happened; killed after it, the next action (or ``Registry.repair``) does the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.bundle.manifest import bundle_digest
from ratchet.errors import UserError, hide_secrets
from ratchet.registry.ledger import Entry, State, one_line
from ratchet.registry.ledger_chain import canonical_json, rollback_target
from ratchet.registry.model_versions import DIGEST_TAG
from ratchet.registry.registry import Registry, RegistryError

LOGGER = logging.getLogger(__name__)

BundleCheck = Callable[[Path], object]
"""Opens a bundle and lets it answer, as ``run_smoke_test`` does; raises when it cannot."""


@dataclass(frozen=True)
class DecisionTransaction:
    """The state of a use case when an action began, its checks, and the row that it writes."""

    registry: Registry
    use_case: str
    actor: str
    state: State

    @classmethod
    def open(cls, registry: Registry, use_case: str, actor: str) -> DecisionTransaction:
        """Finish what an earlier action left undone, and read the state."""
        for line in [*registry.repair(use_case), registry.ledger.clock_warning(use_case)]:
            if line:
                LOGGER.warning("%s", line)
        return cls(registry, use_case, actor, registry.ledger.state(use_case))

    def expect(self, event: str, seq: int) -> None:
        """Make sure that the newest decision is the one that the caller knows of."""
        if self.state.seq != seq:
            raise self.registry.ledger.conflict(self.use_case, event)

    def serving_since(self) -> Entry:
        """The decision since which the champion serves."""
        entry = self.registry.ledger.serving_since(self.use_case)
        assert entry is not None  # there is a champion
        return entry

    def check_version(self, version: str, check: BundleCheck, digest: str | None = None) -> None:
        """Make sure that a version is what was judged, and can answer.

        Args:
            version: number of the version.
            check: opens the bundle and lets it answer.
            digest: of the bundle that was judged, where the decision rests on a verdict.
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

    def check_rollback_target(self, check: BundleCheck) -> None:
        """Make sure that the present champion, rollback target of the next one, can answer."""
        if self.state.champion is None:
            return
        try:
            self.check_version(self.state.champion, check)
        except RegistryError as error:
            raise RegistryError(
                f"{self.use_case}: not promoted, since there would be no rollback target: {error} "
                f"(kedro ratchet promote --no-rollback-target does without)"
            ) from error

    def choose_rollback(
        self, version: str | None, check: BundleCheck
    ) -> tuple[str, dict[str, str]]:
        """The version to roll back to: the one named, or else the newest that can answer.

        Returns:
            The version; and the newer ones that were passed over, with the reason.
        """
        target, refused = self._allowed_rollback(version), dict[str, str]()
        for candidate in [target] if version else self.state.earlier_champions:
            try:
                self.check_version(candidate, check)
            except UserError as error:
                refused[candidate] = str(error)
            else:
                return candidate, refused
        raise RegistryError("; ".join(refused.values()))

    def _allowed_rollback(self, version: str | None) -> str:
        """The version to roll back to, if it may serve at all."""
        state, use_case = self.state, self.use_case
        if state.champion is None:
            raise RegistryError(f"{use_case}: nothing serves yet, so there is no rollback target")
        earlier = state.earlier_champions
        if version is None and not earlier:
            raise RegistryError(
                f"{use_case}: no rollback target of version {state.champion}, since no earlier "
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
        numbers = [version.number for version in self.registry.versions(self.use_case)]
        if not numbers:
            return "nothing is registered yet: `kedro run` does it"
        return (
            f"name one of {', '.join(numbers)}: "
            f"kedro ratchet promote --use-case {self.use_case} --to VERSION --reason ..."
        )

    def keep_champion(
        self, event: str, version: str | None, reason: str, details: Mapping[str, object]
    ) -> Entry:
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

    def change_champion(
        self,
        event: str,
        version: str,
        reason: str,
        details: Mapping[str, object],
        quarantined: Sequence[str],
    ) -> Entry:
        """Write a decision after which another version serves; the aliases are not moved yet."""
        served = self.state.served
        present = {one for one in set(served) if self.registry.has_bundle(self.use_case, one)}
        digest = bundle_digest(self.registry.folder(self.use_case, version))
        return self.registry.ledger.append(
            self.use_case,
            event,
            version=version,
            champion=version,
            previous=rollback_target(served, version, quarantined, present),
            actor=self.actor,
            reason=reason,
            details={**details, DIGEST_TAG: digest},
            quarantined=quarantined,
            expect=self.state.seq,
        )


def record_verdict(
    registry: Registry,
    use_case: str,
    version: str,
    verdict: Mapping[str, object],
    *,
    actor: str,
    expect: int,
    check: BundleCheck,
) -> Entry:
    """Write down a verdict of the gate, and let the version serve if that says so.

    Args:
        registry: versions and decisions.
        use_case: name of the use case.
        version: the version that was judged.
        verdict: ``Verdict.to_json()``, with whatever else the ledger is to have of it.
        actor: the run that decides.
        expect: number of the newest decision when the judging began (``ledger.state(...).seq``).
        check: opens a bundle and lets it answer.

    Returns:
        The new decision; the one on record if this verdict is the newest already, or was written
        on the same state before (a run that was killed and is repeated), or if the version to
        promote serves already.

    Raises:
        ConflictError: another decision came first.
        RegistryError: the version or the rollback target cannot serve, or is in quarantine.
    """
    event, reason = str(verdict["decision"]).lower(), str(verdict["reason"])
    if event not in ("promote", "hold", "reject"):
        raise ValueError(f"decision: expected PROMOTE, HOLD or REJECT, found {verdict['decision']}")
    transaction = DecisionTransaction.open(registry, use_case, actor)
    recorded = (event, version, canonical_json(verdict))
    for entry in (registry.ledger.newest(use_case), registry.ledger.entry(use_case, expect + 1)):
        if entry and recorded == (entry.event, entry.version, canonical_json(entry.details)):
            return entry
    if event == "promote" and version == transaction.state.champion:
        return transaction.serving_since()
    transaction.expect(event, expect)
    if event != "promote":
        registry.version(use_case, version)
        return transaction.keep_champion(event, version, reason, verdict)
    if version in transaction.state.quarantined:
        raise RegistryError(
            f"version {version} of {use_case} is in quarantine: only a person can bring it back "
            f"(kedro ratchet promote --use-case {use_case} --to {version} --reason ...)"
        )
    digest = verdict.get(DIGEST_TAG)
    with registry.locked(use_case):
        transaction.check_version(version, check, None if digest is None else str(digest))
        transaction.check_rollback_target(check)
        entry = transaction.change_champion(
            event, version, reason, verdict, transaction.state.quarantined
        )
    registry.repair(use_case)
    return entry


def promote(
    registry: Registry,
    use_case: str,
    version: str | None = None,
    *,
    reason: str,
    actor: str,
    check: BundleCheck,
    need_rollback_target: bool = True,
) -> Entry:
    """Let a version serve because a person says so.

    Args:
        registry: versions and decisions.
        use_case: name of the use case.
        version: its number; the challenger by default. From quarantine, or against the gate's
            rejection, it is an ``override``, which ends the quarantine.
        reason: why.
        actor: who.
        check: opens a bundle and lets it answer.
        need_rollback_target: whether the present champion has to answer too.

    Returns:
        The new decision, or the one since which this version serves already.

    Raises:
        ConflictError: another decision came first.
        RegistryError: the version or the rollback target cannot serve. Nothing has changed then.
    """
    reason = _required(reason)
    transaction = DecisionTransaction.open(registry, use_case, actor)
    state, version = transaction.state, version or registry.challenger(use_case)
    if version is None:
        raise RegistryError(f"{use_case}: no candidate waits; {transaction.choices()}")
    if version == state.champion:
        return transaction.serving_since()
    lifted = version in state.quarantined
    event = "override" if lifted or version in state.rejected else "promote"
    quarantined = [name for name in state.quarantined if name != version]
    details = {"quarantine_lifted": lifted, "way_back_checked": need_rollback_target}
    with registry.locked(use_case):
        transaction.check_version(version, check)
        if need_rollback_target:
            transaction.check_rollback_target(check)
        entry = transaction.change_champion(event, version, reason, details, quarantined)
    registry.repair(use_case)
    return entry


def roll_back(
    registry: Registry,
    use_case: str,
    version: str | None = None,
    *,
    reason: str,
    actor: str,
    check: BundleCheck,
    details: Mapping[str, object] | None = None,
    expect: int | None = None,
) -> Entry:
    """Let an earlier champion serve again, and put the present one into quarantine.

    Args:
        registry: versions and decisions.
        use_case: name of the use case.
        version: its number; by default the rollback target or, where that cannot serve, the newest
            champion before it that can.
        reason: why.
        actor: who, or the run that decides.
        check: opens a bundle and lets it answer.
        details: the numbers that the decision rests on.
        expect: number of the newest decision that they know of; by default the newest now.

    Returns:
        The new decision; the one since which the version serves already; or, where no version is
        named, the newest decision if it was this very one (same actor, same reason).

    Raises:
        ConflictError: another decision came first.
        RegistryError: there is no rollback target, or it cannot serve. Nothing has changed then.
    """
    reason = _required(reason)
    transaction = DecisionTransaction.open(registry, use_case, actor)
    newest = registry.ledger.newest(use_case)
    if version is None and newest and _repeated(newest, "rollback", actor, reason):
        return newest
    if version is not None and version == transaction.state.champion:
        return transaction.serving_since()
    if expect is not None:
        transaction.expect("rollback", expect)
    with registry.locked(use_case):
        target, refused = transaction.choose_rollback(version, check)
        failed = str(transaction.state.champion)
        quarantined = [name for name in transaction.state.quarantined if name != failed]
        numbers: dict[str, object] = {**(details or {}), "failed": failed}
        if refused:
            numbers["passed_over"] = refused
        entry = transaction.change_champion(
            "rollback", target, reason, numbers, [*quarantined, failed]
        )
    registry.repair(use_case)
    return entry


def request_retraining(
    registry: Registry,
    use_case: str,
    *,
    reason: str,
    actor: str,
    details: Mapping[str, object] | None = None,
    expect: int | None = None,
) -> Entry:
    """Write down that a new model is needed; what serves stays.

    Args:
        registry: versions and decisions.
        use_case: name of the use case.
        reason: why.
        actor: who, or the run that asks.
        details: the numbers that the request rests on.
        expect: number of the newest decision that they know of; by default the newest now.

    Returns:
        The request, or the one on record if it is the newest decision and the same.

    Raises:
        ConflictError: another decision came first.
    """
    reason = _required(reason)
    transaction = DecisionTransaction.open(registry, use_case, actor)
    newest = registry.ledger.newest(use_case)
    if newest and _repeated(newest, "retrain", newest.actor, reason):
        return newest
    if expect is not None:
        transaction.expect("retrain", expect)
    return transaction.keep_champion("retrain", transaction.state.champion, reason, details or {})


def hold(
    registry: Registry,
    use_case: str,
    version: str | None = None,
    *,
    reason: str,
    actor: str,
    details: Mapping[str, object] | None = None,
) -> Entry:
    """Write down that everything stays as it is, without a verdict of the gate.

    Args:
        registry: versions and decisions.
        use_case: name of the use case.
        version: the version that does not get to serve; by default it is about the champion.
        reason: why.
        actor: who, or the run that decides.
        details: the numbers that the decision rests on.

    Returns:
        The new decision, or the one on record if it is the newest and the same.

    Raises:
        ConflictError: another decision came first.
        RegistryError: there is no such version.
    """
    reason = _required(reason)
    transaction = DecisionTransaction.open(registry, use_case, actor)
    newest = registry.ledger.newest(use_case)
    if newest and _repeated(newest, "hold", actor, reason):
        return newest
    if version is not None:
        registry.version(use_case, version)
    return transaction.keep_champion(
        "hold", version or transaction.state.champion, reason, details or {}
    )


def _repeated(entry: Entry, event: str, actor: str, reason: str) -> bool:
    return (entry.event, entry.actor, entry.reason) == (event, one_line(actor), reason)


def _required(reason: str) -> str:
    if not (line := hide_secrets(one_line(reason))):
        raise UserError("a reason is needed: it is recorded in the ledger")
    return line
