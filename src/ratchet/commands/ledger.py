"""``kedro ratchet ledger`` and ``who-served``: what was decided, and whether the list is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from ratchet.config.loader import project_loader
from ratchet.dvc.store import VersionPointer, VersionStore
from ratchet.errors import UserError
from ratchet.project_context import env_option, open_registry, use_case_option
from ratchet.registry.ledger import WHOLE_LEDGER, Entry
from ratchet.registry.registry import Registry


@click.command()
@click.option("--use-case", "-u", help="Name of the use case; all by default.")
@click.option("--verify", is_flag=True, help="Check that nothing was changed or removed.")
@click.option("--json", "as_json", is_flag=True, help="All fields, for other programs.")
@env_option
def ledger(use_case: str | None, verify: bool, as_json: bool, env: str | None) -> None:
    """List the decisions, or verify that the list is whole."""
    registry = open_registry(env, use_case)
    if verify:
        _verify(registry, use_case, as_json, env)
        return
    entries = registry.ledger.entries(use_case)
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in entries], indent=2))
    elif not entries:
        click.echo("No decision yet: `kedro run` ends with the first.")
    else:
        click.echo("\n".join(describe_entries(entries)))


@click.command()
@use_case_option
@click.option("--at", "text", required=True, metavar="TIME", help="2026-11-25, or with a time.")
@env_option
def who_served(use_case: str, text: str, env: str | None) -> None:
    """Print which version served at a time (UTC unless it has a zone), and why."""
    moment = _moment(text)
    registry = open_registry(env, use_case)
    entry = registry.ledger.serving_since(use_case, moment)
    if entry is None:
        first = next((each for each in registry.ledger.entries(use_case) if each.champion), None)
        since = f"the first served from {first.at:%Y-%m-%d %H:%M:%S} UTC on" if first else ""
        raise UserError(
            f"no version of {use_case} served at {moment:%Y-%m-%d %H:%M:%S} UTC; "
            f"{since or 'none has served yet: `kedro run` ends with the first'}"
        )
    click.echo(f"version {entry.champion} served {use_case} at {moment:%Y-%m-%d %H:%M:%S} UTC")
    click.echo("\n".join(describe_entries([entry])))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is no time; expected 2026-11-25 or 2026-11-25T14:30", param_hint="--at"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _verify(registry: Registry, use_case: str | None, as_json: bool, env: str | None) -> None:
    problems = [*registry.verify(), *_by_pointers(registry, env)]
    doubts = [registry.ledger.clock_warning(name) for name in registry.ledger.use_cases()]
    notes = [*filter(None, doubts), *_emptied(registry, env)]
    if use_case is not None:
        ours = (f"{use_case}: ", f"{WHOLE_LEDGER}: ")
        problems = [line for line in problems if line.startswith(ours)]
        notes = [line for line in notes if line.startswith(ours)]
    n_decisions = registry.ledger.count(use_case)
    if as_json:
        content = {"decisions": n_decisions, "problems": problems, "notes": notes}
        click.echo(json.dumps(content, indent=2))
    else:
        whole = [f"{n_decisions} decision{'s' * (n_decisions != 1)}, and the chain is whole"]
        click.echo("\n".join([*(problems or whole), *notes]))
    if problems:
        raise click.exceptions.Exit(1)


def _by_pointers(registry: Registry, env: str | None) -> Iterator[str]:
    """Decisions that pointers of DVC know of this ledger, and that it does not contain."""
    for pointer, recorded in _recorded_decisions(env):
        name, ledger = pointer.use_case, registry.ledger
        same = ledger.digest(name, 1) == recorded["first"]
        if same and ledger.digest(name, recorded["seq"]) != recorded["digest"]:
            yield (
                f"{name}: decision {recorded['seq']} is not the one that the pointer of version "
                f"{pointer.version} in DVC knows, or is missing"
            )


def _emptied(registry: Registry, env: str | None) -> Iterator[str]:
    """Versions that were registered on this machine, where nothing is decided about them."""
    for name in {pointer.use_case for pointer, _ in _recorded_decisions(env)}:
        last = [(p, k) for p, k in _recorded_decisions(env) if p.use_case == name][-1]
        folder = registry.bundles / name / last[0].bundle
        if registry.ledger.count(name) == 0 and folder.is_dir():
            yield (
                f"{name}: nothing is decided, but version {last[0].version}, whose bundle is here, "
                f"was made after decision {last[1]['seq']}: of another database, or this one was "
                f"emptied"
            )


def _recorded_decisions(env: str | None) -> list[tuple[VersionPointer, Mapping[str, Any]]]:
    """Pointers of DVC, and what each knows of the ledger that its version was decided in."""
    loader, project = project_loader(env)
    versions = VersionStore(project / loader["versioning"]["folder"], project)
    pointers = [each for name in versions.use_cases() for each in versions.pointers(name)]
    recorded = [(pointer, pointer.meta.get("ledger")) for pointer in pointers]
    return [(pointer, each) for pointer, each in recorded if isinstance(each, Mapping)]


def describe_entries(entries: Iterable[Entry]) -> Iterator[str]:
    """Two lines per decision: what, and why."""
    for entry in entries:
        version = "" if entry.version is None else f" version {entry.version}"
        serves = f"{entry.champion or 'none'} serves, rollback target {entry.previous or 'none'}"
        when = f"{entry.at:%Y-%m-%d %H:%M:%S}Z"
        yield f"{entry.use_case} {entry.seq}  {when}  {entry.event}{version}  ({serves})"
        yield f"    {entry.actor}: {entry.reason}"
