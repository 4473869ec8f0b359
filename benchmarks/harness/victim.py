"""What processes do that are to be killed, and what must hold when they are dead."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from ratchet.database import connect
from ratchet.errors import UserError
from ratchet.registry import actions
from ratchet.registry.registry import Registry

USE_CASE = "films"
WRITES = (
    *("create_registered_model", "create_model_version", "delete_model_version"),
    *("set_registered_model_alias", "delete_registered_model_alias", "set_registered_model_tag"),
)
ACTIONS = ("register", "record", "promote", "rollback", "retrain", "prune")


def open_registry(folder: Path) -> Registry:
    return Registry(f"sqlite:///{folder / 'mlflow.db'}", folder / "bundles")


def check(folder: Path) -> None:
    """Stands for opening a bundle: one file has to be whole."""
    if (folder / "manifest.json").read_text() != "{}":
        raise ValueError("manifest.json is damaged")


def act(registry: Registry, action: str, rng: random.Random) -> None:
    """Do one thing with some version; what is refused is refused."""
    state = registry.ledger.state(USE_CASE)
    numbers = [version.number for version in registry.versions(USE_CASE)]
    version = rng.choice(numbers) if numbers else "1"
    options = {"actor": "benchmark", "check": check}
    reason = f"reason {rng.random()}"
    try:
        if action == "register":
            registry.register(USE_CASE, make_bundle(registry), {"data_hash": "x"})
        elif action == "record":
            decision = rng.choice(["PROMOTE", "PROMOTE", "HOLD", "REJECT"])
            verdict = {"decision": decision, "reason": reason, "gain": rng.random()}
            actions.record_verdict(
                registry, USE_CASE, version, verdict, expect=state.seq, **options
            )
        elif action == "promote":
            actions.promote(registry, USE_CASE, version, reason=reason, **options)
        elif action == "rollback":
            actions.roll_back(registry, USE_CASE, reason=reason, **options)
        elif action == "retrain":
            actions.request_retraining(registry, USE_CASE, reason=reason, actor="benchmark")
        else:
            registry.prune(USE_CASE, 3)
    except UserError:  # no way back, or another process was faster
        return


def make_bundle(registry: Registry) -> Path:
    """A folder that looks like a bundle, there at once."""
    folder = registry.bundles / USE_CASE / uuid4().hex
    partial = folder.with_name(f".{folder.name}")
    partial.mkdir(parents=True)
    (partial / "manifest.json").write_text("{}")
    return partial.rename(folder)


def die_at(registry: Registry, moment: int) -> None:
    """Kill this process before one of its writes, counted from 0: rows, aliases, tags, versions.

    A row counts three times: before it is begun, before it is committed, and after.
    """
    left = [moment]

    def pass_by() -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal is on its way
        left[0] -= 1

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            pass_by()
            return function(*args, **options)

        return call

    for name in WRITES:
        setattr(registry.client, name, watched(getattr(registry.client, name)))
    append = watched(registry.ledger.append)
    sa.event.listen(registry.ledger.engine, "commit", lambda _: pass_by())

    def append_and_go_on(*args: Any, **options: Any) -> Any:
        entry = append(*args, **options)
        pass_by()
        return entry

    registry.ledger.append = append_and_go_on  # type: ignore[method-assign]


def faults(folder: Path) -> dict[str, Any]:
    """What does not hold after a kill: first as it was left, then repaired.

    Returns:
        ``faults``, one line each, and ``behind``: whether the alias had still to follow.
    """
    registry = open_registry(folder)
    found = list(_as_left(registry))
    champion = registry.champion(USE_CASE)
    behind = _aliases(folder) != [champion]
    registry.repair(USE_CASE)
    found += _as_repaired(registry, folder)
    return {"faults": found, "behind": behind}


def _as_left(registry: Registry) -> Iterator[str]:
    """The alias is the champion's or that of the decision before, and there is one."""
    yield from (f"ledger: {line}" for line in registry.verify())
    served = registry.ledger.state(USE_CASE).served
    aliases = _aliases(registry.bundles.parent)
    if len(aliases) != 1:
        yield f"{len(aliases)} champions in the registry"
    elif aliases[0] not in served[-2:]:
        yield f"the alias is version {aliases[0]}, served were {served[-2:]}"


def _as_repaired(registry: Registry, folder: Path) -> Iterator[str]:
    state = registry.ledger.state(USE_CASE)
    if state.champion is None:
        yield "no champion in the ledger"
        return
    if _aliases(folder) != [state.champion]:
        yield f"the alias is {_aliases(folder)}, the ledger says {state.champion}"
    for version in filter(None, (state.champion, state.previous)):
        check(registry.folder(USE_CASE, version))
        if version in state.quarantined:
            yield f"version {version} is in quarantine"
    yield from (f"ledger: {line}" for line in registry.verify())
    yield from (f"repaired twice: {line}" for line in registry.repair(USE_CASE))


def _aliases(folder: Path) -> list[str]:
    """Champions in MLflow's own table, read past MLflow."""
    query = "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
    engine = connect(f"sqlite:///{folder / 'mlflow.db'}")
    with engine.connect() as connection:
        found = [str(row[0]) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


def begin(folder: Path) -> None:
    """A project in which something serves, and something served before."""
    registry = open_registry(folder)
    for _ in range(3):
        number = registry.register(USE_CASE, make_bundle(registry), {})
        actions.promote(registry, USE_CASE, number, reason="first", actor="benchmark", check=check)
    registry.register(USE_CASE, make_bundle(registry), {})


def time_of_going_back(folder: Path, times: int) -> list[float]:
    """Seconds from decision to serving alias, of promotions and rollbacks in turn."""
    registry = open_registry(folder)
    seconds = []
    for number in range(times):
        options = {"reason": f"turn {number}", "actor": "benchmark", "check": check}
        if number % 2:
            entry = actions.roll_back(registry, USE_CASE, **options)
        else:
            newest = registry.register(USE_CASE, make_bundle(registry), {})
            entry = actions.promote(registry, USE_CASE, newest, **options)
        seconds.append((datetime.now(UTC) - entry.at).total_seconds())
    return seconds
