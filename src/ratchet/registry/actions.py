"""What moves the champion: verdicts of the gate, people, and the watch.

Every action first repairs what an earlier one left undone, checks what it is going to need, writes
one row of the ledger, and only then lets the aliases follow. Killed before the row, nothing has
happened; killed after it, the next action (or ``Registry.repair``) does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.errors import UserError, hide_secrets
from ratchet.registry.ledger import Entry, one_line
from ratchet.registry.ledger_chain import canonical
from ratchet.registry.model_versions import DIGEST
from ratchet.registry.registry import Registry, RegistryError
from ratchet.registry.transaction import Check, Desk


def record(
    registry: Registry,
    use_case: str,
    version: str,
    verdict: Mapping[str, Any],
    *,
    actor: str,
    expect: int,
    check: Check,
) -> Entry:
    """Write down a verdict of the gate, and let the version serve if that says so.

    Args:
        registry: where versions and decisions are.
        use_case: of which.
        version: the version that was judged.
        verdict: ``Verdict.to_json()``.
        actor: the run that decides.
        expect: number of the newest decision when the judging began (``ledger.state(...).seq``).
        check: opens a bundle and lets it answer.

    Returns:
        The new decision; the one on record if this verdict is the newest already, or was written
        on the same state before (a run that was killed and is repeated), or if the version to
        promote serves already.

    Raises:
        ConflictError: another decision came first.
        RegistryError: the version or the way back cannot serve, or is in quarantine.
    """
    event, reason = str(verdict["decision"]).lower(), str(verdict["reason"])
    if event not in ("promote", "hold", "reject"):
        raise ValueError(f"decision: expected PROMOTE, HOLD or REJECT, found {verdict['decision']}")
    desk = Desk.open(registry, use_case, actor)
    for known in (registry.ledger.newest(use_case), registry.ledger.entry(use_case, expect + 1)):
        if known and _same(known, event, version, verdict):
            return known
    if event == "promote" and version == desk.state.champion:
        return desk.since()
    desk.expect(event, expect)
    if event != "promote":
        registry.version(use_case, version)
        return desk.note(event, version, reason, verdict)
    if version in desk.state.quarantined:
        raise RegistryError(
            f"version {version} of {use_case} is in quarantine: only a person can bring it back "
            f"(kedro ratchet promote --use-case {use_case} --to {version} --reason ...)"
        )
    with registry.locked(use_case):
        desk.rehearse(version, check, verdict.get(DIGEST))
        desk.rehearse_way_back(check)
        entry = desk.change(event, version, reason, verdict, desk.state.quarantined)
    registry.repair(use_case)
    return entry


def promote(
    registry: Registry,
    use_case: str,
    version: str | None = None,
    *,
    reason: str,
    actor: str,
    check: Check,
    need_way_back: bool = True,
) -> Entry:
    """Let a version serve because a person says so.

    Args:
        registry: where versions and decisions are.
        use_case: of which.
        version: which one; the challenger by default. From quarantine, or against the gate's
            rejection, it is an ``override``, which ends the quarantine.
        reason: why.
        actor: who.
        check: opens a bundle and lets it answer.
        need_way_back: whether the present champion has to answer too.

    Returns:
        The new decision, or the one since which this version serves already.

    Raises:
        ConflictError: another decision came first.
        RegistryError: the version or the way back cannot serve. Nothing has changed then.
    """
    reason = _given(reason)
    desk = Desk.open(registry, use_case, actor)
    state, version = desk.state, version or registry.challenger(use_case)
    if version is None:
        raise RegistryError(f"{use_case}: no candidate waits; {desk.choices()}")
    if version == state.champion:
        return desk.since()
    lifted = version in state.quarantined
    event = "override" if lifted or version in state.rejected else "promote"
    kept = [name for name in state.quarantined if name != version]
    details = {"quarantine_lifted": lifted, "way_back_checked": need_way_back}
    with registry.locked(use_case):
        desk.rehearse(version, check)
        if need_way_back:
            desk.rehearse_way_back(check)
        entry = desk.change(event, version, reason, details, kept)
    registry.repair(use_case)
    return entry


def roll_back(
    registry: Registry,
    use_case: str,
    version: str | None = None,
    *,
    reason: str,
    actor: str,
    check: Check,
    details: Mapping[str, Any] | None = None,
    expect: int | None = None,
) -> Entry:
    """Let an earlier champion serve again, and put the present one into quarantine.

    Args:
        registry: where versions and decisions are.
        use_case: of which.
        version: which one; by default the way back or, where that cannot serve, the newest
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
        RegistryError: there is no way back, or it cannot serve. Nothing has changed then.
    """
    reason = _given(reason)
    desk = Desk.open(registry, use_case, actor)
    newest = registry.ledger.newest(use_case)
    if version is None and newest and _repeated(newest, "rollback", actor, reason):
        return newest
    if version is not None and version == desk.state.champion:
        return desk.since()
    if expect is not None:
        desk.expect("rollback", expect)
    with registry.locked(use_case):
        target, refused = desk.go_back(version, check)
        failed = str(desk.state.champion)
        kept = [name for name in desk.state.quarantined if name != failed]
        numbers = {**(details or {}), "failed": failed}
        if refused:
            numbers["passed_over"] = refused
        entry = desk.change("rollback", target, reason, numbers, [*kept, failed])
    registry.repair(use_case)
    return entry


def ask_for_retraining(
    registry: Registry,
    use_case: str,
    *,
    reason: str,
    actor: str,
    details: Mapping[str, Any] | None = None,
    expect: int | None = None,
) -> Entry:
    """Write down that a new model is needed; what serves stays.

    Args:
        registry: where versions and decisions are.
        use_case: of which.
        reason: why.
        actor: who, or the run that asks.
        details: the numbers that the request rests on.
        expect: number of the newest decision that they know of; by default the newest now.

    Returns:
        The request, or the one on record if it is the newest decision and the same.

    Raises:
        ConflictError: another decision came first.
    """
    reason = _given(reason)
    desk = Desk.open(registry, use_case, actor)
    newest = registry.ledger.newest(use_case)
    if newest and _repeated(newest, "retrain", newest.actor, reason):
        return newest
    if expect is not None:
        desk.expect("retrain", expect)
    return desk.note("retrain", desk.state.champion, reason, details or {})


def hold(
    registry: Registry,
    use_case: str,
    version: str | None = None,
    *,
    reason: str,
    actor: str,
    details: Mapping[str, Any] | None = None,
) -> Entry:
    """Write down that everything stays as it is, without a verdict of the gate.

    Args:
        registry: where versions and decisions are.
        use_case: of which.
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
    reason = _given(reason)
    desk = Desk.open(registry, use_case, actor)
    newest = registry.ledger.newest(use_case)
    if newest and _repeated(newest, "hold", actor, reason):
        return newest
    if version is not None:
        registry.version(use_case, version)
    return desk.note("hold", version or desk.state.champion, reason, details or {})


def _same(entry: Entry, event: str, version: str, details: Mapping[str, Any]) -> bool:
    known = (entry.event, entry.version, canonical(entry.details))
    return known == (event, version, canonical(details))


def _repeated(entry: Entry, event: str, actor: str, reason: str) -> bool:
    return (entry.event, entry.actor, entry.reason) == (event, one_line(actor), reason)


def _given(reason: str) -> str:
    if not (line := hide_secrets(one_line(reason))):
        raise UserError("a reason is needed: whoever reads the ledger later wants to know why")
    return line
