"""Whatever is done in whatever order, and wherever it is killed: one champion."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ratchet.registry import actions
from ratchet.registry.ledger import Ledger
from ratchet.registry.registry import Registry, RegistryError

VERSIONS = st.integers(1, 8).map(str)
STEPS = st.integers(0, 8)
"""Writes that a process still does before it is killed; enough for all of them, too."""


class Killed(BaseException):
    """No handler of the code under test may catch this."""


class Releases(RuleBasedStateMachine):
    """Actions in any order, each killed before any of its writes or after none."""

    make: Callable[[Path], Registry]
    make_bundle: Callable[..., Path]
    check: Callable[[Path], None]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="ratchet-"))
        self.registry = self.make(self.folder)
        self.left = 0
        self.registry.client.before = self._spend
        self.served = False
        ledger = self.registry.ledger
        write = ledger.append

        def append(*args: Any, **options: Any) -> Any:
            self._spend("append")
            entry = write(*args, **options)
            self._spend("appended")
            return entry

        ledger.append = append  # type: ignore[method-assign]

    def teardown(self) -> None:
        self.registry.ledger.engine.dispose()
        shutil.rmtree(self.folder)

    def _spend(self, _: str) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def _do(self, steps: int, act: Callable[[], Any]) -> None:
        """Act until it is killed, then repair, as the next command would."""
        self.left = steps
        with suppress(Killed, RegistryError):
            act()
        self.left = 99
        self.registry.repair("films")

    @initialize()
    def begin(self) -> None:
        for number in range(2):
            self._register(f"first{number}")

    def _register(self, name: str) -> None:
        self.left = 99
        self.registry.register("films", self.make_bundle(self.registry, name), {})

    @rule(steps=STEPS, name=st.integers(0, 10**6))
    def register(self, steps: int, name: int) -> None:
        folder = self.folder / "films" / f"b{name}"
        if not folder.exists():
            self.make_bundle(self.registry, folder.name)
        self._do(steps, lambda: self.registry.register("films", folder, {}))

    @rule(steps=STEPS, version=VERSIONS, decision=st.sampled_from(["PROMOTE", "HOLD", "REJECT"]))
    def record(self, steps: int, version: str, decision: str) -> None:
        verdict = {"decision": decision, "reason": "so"}
        expect = self.registry.ledger.state("films").seq
        options = {"actor": "run", "expect": expect, "check": self.check}
        self._do(
            steps,
            lambda: actions.record_verdict(self.registry, "films", version, verdict, **options),
        )

    @rule(steps=STEPS, version=st.none() | VERSIONS)
    def promote(self, steps: int, version: str | None) -> None:
        options = {"reason": "so", "actor": "ada", "check": self.check}
        self._do(steps, lambda: actions.promote(self.registry, "films", version, **options))

    @rule(steps=STEPS, version=st.none() | VERSIONS, reason=st.sampled_from("abc"))
    def roll_back(self, steps: int, version: str | None, reason: str) -> None:
        options = {"reason": reason, "actor": "ada", "check": self.check}
        self._do(steps, lambda: actions.roll_back(self.registry, "films", version, **options))

    @rule(steps=STEPS)
    def ask(self, steps: int) -> None:
        options = {"reason": "so", "actor": "run"}
        self._do(steps, lambda: actions.request_retraining(self.registry, "films", **options))

    @rule(steps=STEPS, keep=st.integers(0, 3))
    def prune(self, steps: int, keep: int) -> None:
        self._do(steps, lambda: self.registry.prune("films", keep))

    @rule(alias=st.sampled_from(["champion", "previous", "challenger"]))
    def lose_an_alias(self, alias: str) -> None:
        self.registry.client.models["ratchet-films"].aliases.pop(alias, None)
        self._do(99, lambda: None)

    @invariant()
    def one_champion_and_no_other(self) -> None:
        if not (model := self.registry.client.models.get("ratchet-films")):
            return
        state = self.registry.ledger.state("films")
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        assert aliases.get("champion") == state.champion
        assert aliases.get("previous") == state.previous
        self.served = self.served or state.champion is not None
        assert self.served == (state.champion is not None)

    @invariant()
    def the_champion_and_the_way_back_can_serve(self) -> None:
        state = self.registry.ledger.state("films")
        for version in filter(None, (state.champion, state.previous)):
            self.check(self.registry.folder("films", version))
            assert version not in state.quarantined
        assert state.champion is None or state.previous != state.champion

    @invariant()
    def the_ledger_is_whole(self) -> None:
        assert self.registry.verify() == []
        assert self.registry.repair("films") == []


@pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_one_champion_whatever_happens(
    examples: int,
    in_memory: Callable[[Path], Registry],
    make_bundle: Callable[..., Path],
    check: Callable[[Path], None],
) -> None:
    class Machine(Releases):
        pass

    Machine.make = staticmethod(in_memory)
    Machine.make_bundle = staticmethod(make_bundle)
    Machine.check = staticmethod(check)
    case = Machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()


def every_write(registry: Registry) -> list[str]:
    """Record what writes, in order."""
    seen: list[str] = []
    registry.client.before = seen.append
    return seen


def test_the_ledger_is_written_before_any_alias_moves(registry, make_bundle, check, monkeypatch):
    for name in ("one", "two"):
        registry.register("films", make_bundle(registry, name), {})
    actions.promote(registry, "films", "1", reason="so", actor="ada", check=check)
    seen = every_write(registry)
    write = Ledger.append
    monkeypatch.setattr(
        Ledger, "append", lambda *args, **more: seen.append("row") or write(*args, **more)
    )

    actions.promote(registry, "films", "2", reason="so", actor="ada", check=check)

    assert seen == [
        "row",
        *["set_registered_model_alias"] * 2,
        "delete_registered_model_alias",
        "set_registered_model_tag",
    ]


@pytest.mark.parametrize("act", ["promote", "roll_back"])
def test_killed_between_row_and_alias_the_next_command_moves_it(registry, make_bundle, check, act):
    for name in ("one", "two"):
        registry.register("films", make_bundle(registry, name), {})
    options = {"reason": "so", "actor": "ada", "check": check}
    actions.promote(registry, "films", "1", **options)
    if act == "roll_back":
        actions.promote(registry, "films", "2", **options)

    def kill(what: str) -> None:
        raise Killed

    registry.client.before = kill
    served, alias = {"promote": ("2", 1), "roll_back": ("1", 2)}[act]
    with pytest.raises(Killed):
        getattr(actions, act)(registry, "films", served, **options)
    model = registry.client.models["ratchet-films"]
    assert (registry.champion("films"), model.aliases["champion"]) == (served, alias)

    registry.client.before = lambda what: None
    actions.request_retraining(registry, "films", reason="so", actor="run")

    assert str(model.aliases["champion"]) == served
