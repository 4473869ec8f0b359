"""What moves the champion, each action on its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.bundle.manifest import bundle_digest
from ratchet.errors import UserError
from ratchet.registry import actions
from ratchet.registry.ledger import ConflictError, Entry
from ratchet.registry.ledger_chain import rollback_target
from ratchet.registry.registry import Registry, RegistryError


class World:
    """A registry with bundles, and short words for what is done to it."""

    def __init__(self, registry: Registry, make_bundle: Any, check: Any) -> None:
        self.registry, self.make_bundle, self.check = registry, make_bundle, check

    def register(self, *names: str) -> None:
        for name in names:
            self.registry.register("films", self.make_bundle(self.registry, name), {})

    def record(self, decision: str, version: str, **more: Any) -> Entry:
        verdict = {"decision": decision, "reason": "so", "gain": 0.1, **more.pop("verdict", {})}
        expect = more.pop("expect", self.registry.ledger.state("films").seq)
        known = {"actor": "run 1", "check": self.check, "expect": expect}
        return actions.record_verdict(self.registry, "films", version, verdict, **{**known, **more})

    def promote(self, version: str | None = None, **more: Any) -> Entry:
        known = {"reason": "so", "actor": "ada@host", "check": self.check}
        return actions.promote(self.registry, "films", version, **{**known, **more})

    def roll_back(self, version: str | None = None, **more: Any) -> Entry:
        known = {"reason": "it failed", "actor": "ada@host", "check": self.check}
        return actions.roll_back(self.registry, "films", version, **{**known, **more})

    def ask(self, **more: Any) -> Entry:
        known = {"reason": "worse", "actor": "run 1"}
        return actions.request_retraining(self.registry, "films", **{**known, **more})

    def replace_bundle(self, name: str) -> None:
        """Files and manifest together: the bundle still opens, and answers."""
        (self.registry.bundles / "films" / name / "manifest.json").write_text("[]")

    def break_bundle(self, name: str) -> None:
        (self.registry.bundles / "films" / name / "manifest.json").unlink()

    @property
    def aliases(self) -> dict[str, str]:
        model = self.registry.client.models["ratchet-films"]
        return {alias: str(version) for alias, version in model.aliases.items()}

    @property
    def events(self) -> list[str]:
        return [entry.event for entry in self.registry.ledger.entries("films")]


@pytest.fixture
def world(registry: Registry, make_bundle: Callable[..., Path], check: Any) -> World:
    """Four versions: 1 and 2 served, 2 still does, 3 was rejected, 4 waits."""
    world = World(registry, make_bundle, check)
    world.register("a", "b", "c", "d")
    world.record("PROMOTE", "1")
    world.record("PROMOTE", "2")
    world.record("REJECT", "3")
    return world


def test_the_first_champion(registry, make_bundle, check):
    world = World(registry, make_bundle, check)
    world.register("a")

    entry = world.record("PROMOTE", "1", expect=0)

    assert (entry.seq, entry.champion, entry.previous, entry.actor) == (1, "1", None, "run 1")
    digest = bundle_digest(registry.folder("films", "1"))
    verdict = {"decision": "PROMOTE", "reason": "so", "gain": 0.1}
    assert entry.details == {**verdict, "digest": digest}
    assert world.aliases == {"champion": "1"}


def test_verdicts_move_what_they_say(world):
    assert world.aliases == {"champion": "2", "previous": "1", "challenger": "4"}

    held = world.record("HOLD", "4")
    assert (held.champion, held.previous) == ("2", "1")
    assert world.aliases == {"champion": "2", "previous": "1", "challenger": "4"}
    world.record("REJECT", "4")
    assert world.aliases == {"champion": "2", "previous": "1"}
    world.record("PROMOTE", "4")
    assert world.aliases == {"champion": "4", "previous": "2"}
    assert world.events == ["promote", "promote", "reject", "hold", "reject", "promote"]


def test_the_same_verdict_twice_is_one_decision(world):
    first = world.record("HOLD", "4")

    assert world.record("HOLD", "4", expect=3) == first  # a run that was killed and began anew
    promoted = world.record("PROMOTE", "4")
    assert world.record("PROMOTE", "4", expect=4) == promoted
    again = world.record("PROMOTE", "4", verdict={"gain": 0.2}, expect=0)
    assert again == promoted
    assert world.record("HOLD", "4", verdict={"gain": 0.2}).seq == promoted.seq + 1


def test_verdicts_of_a_run_that_is_repeated(world):
    """Killed after the second of two; the first is not the newest any more."""

    def run() -> list[Entry]:
        return [
            world.record("REJECT", "3", verdict={"gain": -0.2}, expect=3),
            world.record("HOLD", "4", expect=4),
        ]

    assert run() == run()
    assert len(world.events) == 5
    with pytest.raises(ConflictError):
        world.record("HOLD", "3", expect=3)


def test_a_verdict_on_an_old_state_is_refused(world):
    world.promote("4")

    with pytest.raises(ConflictError, match=r"no hold, .* decision 4, promote version 4"):
        world.record("HOLD", "3", expect=3)
    assert world.registry.champion("films") == "4"


def test_an_unknown_verdict(world):
    with pytest.raises(ValueError, match="expected PROMOTE, HOLD or REJECT, found MAYBE"):
        world.record("MAYBE", "4")
    with pytest.raises(RegistryError, match="version 9 of films: there is no such version"):
        world.record("HOLD", "9")


def test_what_has_lost_its_bundle_can_be_rejected(world):
    shutil.rmtree(world.registry.bundles / "films" / "d")

    assert world.record("REJECT", "4").event == "reject"


@pytest.mark.parametrize("act", ["record", "promote"])
def test_what_cannot_answer_is_not_promoted(world, act):
    world.break_bundle("d")

    with pytest.raises(RegistryError, match=r"version 4 of films: manifest.json is missing"):
        world.record("PROMOTE", "4") if act == "record" else world.promote("4")
    assert world.aliases["champion"] == "2"
    assert len(world.events) == 3


@pytest.mark.parametrize("act", ["record", "promote"])
@pytest.mark.parametrize("damage", ["broken", "missing", "deleted"])
def test_without_a_rollback_target_nothing_is_promoted(world, act, damage):
    if damage == "broken":
        world.break_bundle("b")
    elif damage == "missing":
        shutil.rmtree(world.registry.bundles / "films" / "b")
    else:
        world.registry.client.delete_model_version("ratchet-films", "2")

    with pytest.raises(RegistryError, match=r"^films: not promoted, since there would be no rol"):
        world.record("PROMOTE", "4") if act == "record" else world.promote("4")
    assert world.registry.champion("films") == "2"


def test_a_person_may_do_without_a_way_back(world):
    shutil.rmtree(world.registry.bundles / "films" / "b")

    entry = world.promote("4", need_rollback_target=False)

    assert (entry.champion, entry.previous) == ("4", "1")  # 2 cannot be brought back
    assert entry.details["way_back_checked"] is False


def test_promote_takes_the_challenger(world):
    entry = world.promote(reason="  looks\n good ")

    assert (entry.event, entry.version, entry.reason) == ("promote", "4", "looks good")
    assert world.aliases == {"champion": "4", "previous": "2"}
    with pytest.raises(RegistryError, match=r"no candidate waits; name one of 1, 2, 3, 4: kedro r"):
        world.promote()


def test_promote_before_anything_is_registered(registry, make_bundle, check):
    with pytest.raises(RegistryError, match="nothing is registered yet"):
        World(registry, make_bundle, check).promote()


def test_what_serves_already_is_left(world):
    assert world.promote("2").seq == 2
    assert world.roll_back("2").seq == 2
    assert len(world.events) == 3


def test_against_the_gate_is_an_override(world):
    entry = world.promote("3")

    assert entry.event == "override"
    assert entry.details["quarantine_lifted"] is False


@pytest.mark.parametrize("reason", ["", " \n"])
def test_a_reason_is_needed(world, reason):
    for act in (world.promote, world.roll_back, world.ask):
        with pytest.raises(UserError, match="a reason is needed"):
            act(reason=reason)


def test_rolling_back(world):
    entry = world.roll_back(details={"rmse": 3.5})

    assert (entry.event, entry.version, entry.champion) == ("rollback", "1", "1")
    assert (entry.previous, entry.quarantined) == (None, ("2",))
    digest = bundle_digest(world.registry.folder("films", "1"))
    assert entry.details == {"rmse": 3.5, "failed": "2", "digest": digest}
    assert world.aliases == {"champion": "1", "challenger": "4"}


def test_rolling_back_twice_for_one_reason_is_once(world):
    world.promote("4")
    first = world.roll_back()

    assert world.roll_back() == first
    assert world.roll_back(reason="worse still").champion == "1"
    refused = r"no rollback target of version 1, since .*; name one of"
    with pytest.raises(RegistryError, match=refused):
        world.roll_back(reason="and worse")


def test_rolling_back_to_a_named_version(world):
    world.promote("4")

    entry = world.roll_back("1")

    assert (entry.champion, entry.previous, entry.quarantined) == ("1", "2", ("4",))


def test_where_there_is_no_way_back(registry, make_bundle, check):
    world = World(registry, make_bundle, check)
    with pytest.raises(RegistryError, match="films: nothing serves yet"):
        world.roll_back()
    world.register("a")
    with pytest.raises(RegistryError, match="films: nothing serves yet"):
        world.roll_back("1")
    world.record("PROMOTE", "1")
    with pytest.raises(RegistryError, match="no rollback target of version 1"):
        world.roll_back()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("4", "version 4 of films never served; to let it serve all the same: kedro ratchet pro"),
        ("9", "version 9 of films: there is no such version"),
        ("2", "version 2 of films is in quarantine; to let it"),
    ],
)
def test_where_one_cannot_go_back_to(world, version, told):
    world.roll_back()

    with pytest.raises(RegistryError, match=told):
        world.roll_back(version)


def test_a_way_back_that_does_not_answer_changes_nothing(world):
    world.break_bundle("a")

    with pytest.raises(RegistryError, match=r"version 1 of films: manifest.json is missing"):
        world.roll_back()
    assert world.aliases["champion"] == "2"
    assert world.registry.ledger.state("films").quarantined == ()


def test_what_was_replaced_serves_nowhere(world):
    """Its files and its manifest fit together, and are not those that were decided about."""
    world.promote("4")
    world.replace_bundle("b")

    entry = world.roll_back()

    assert (entry.champion, entry.previous) == ("1", None)  # 2 is passed over
    assert "version 2 of films is not what was judged" in entry.details["passed_over"]["2"]
    for act in (world.roll_back, world.promote):
        with pytest.raises(RegistryError, match="version 2 of films is not what was judged"):
            act("2", reason="all the same")
    world.register("e")
    world.replace_bundle("e")
    with pytest.raises(RegistryError, match="version 5 of films is not what was judged"):
        world.record("PROMOTE", "5")


def test_a_verdict_is_about_what_was_judged(world):
    """The registry's own note was changed too; what the judge saw was not."""
    judged = bundle_digest(world.registry.folder("films", "4"))
    world.replace_bundle("d")
    tags = world.registry.client.models["ratchet-films"].versions[4].tags
    tags["digest"] = bundle_digest(world.registry.bundles / "films" / "d")

    with pytest.raises(RegistryError, match=r"version 4 of films is not what was judged.*again"):
        world.record("PROMOTE", "4", verdict={"digest": judged})


def test_a_champion_that_is_gone_can_be_left(world):
    world.registry.client.delete_model_version("ratchet-films", "2")
    shutil.rmtree(world.registry.bundles / "films" / "b")

    assert world.roll_back().champion == "1"
    assert world.aliases["champion"] == "1"


def test_quarantine_is_lifted_by_a_person_alone(world):
    world.roll_back()

    with pytest.raises(RegistryError, match="version 2 of films is in quarantine: only a person"):
        world.record("PROMOTE", "2")
    entry = world.promote("2")

    assert (entry.event, entry.champion, entry.previous) == ("override", "2", "1")
    assert entry.quarantined == ()
    assert entry.details["quarantine_lifted"] is True


def test_a_watch_that_looked_at_an_old_state_is_refused(world):
    seq = world.registry.ledger.state("films").seq
    world.promote("4")

    with pytest.raises(ConflictError, match=r"no rollback, .* promote version 4"):
        world.roll_back(expect=seq)


def test_asking_for_a_new_model(world):
    entry = world.ask(details={"rmse": 2})

    assert (entry.event, entry.version, entry.champion) == ("retrain", "2", "2")
    assert world.ask() == entry
    assert world.ask(reason="much worse").seq == entry.seq + 1
    assert world.aliases == {"champion": "2", "previous": "1", "challenger": "4"}


@pytest.mark.parametrize("act", ["promote", "roll_back", "record"])
def test_of_two_at_once_one_wins(world, act):
    """The other decides while the first one is still trying the bundle."""

    def slow_check(folder: Path) -> None:
        if world.registry.champion("films") == "2":
            world.promote("3", actor="bob@host")

    act_once = {
        "promote": lambda: world.promote("4", check=slow_check),
        "roll_back": lambda: world.roll_back(check=slow_check),
        "record": lambda: world.record("PROMOTE", "4", check=slow_check),
    }[act]
    with pytest.raises(ConflictError, match=r"decision 4, override version 3, .* by bob@host"):
        act_once()
    assert world.aliases["champion"] == "3"
    assert world.registry.verify() == []


def test_a_pruned_version_cannot_come_back(world):
    assert world.registry.prune("films", 0) == ["3"]

    with pytest.raises(RegistryError, match="version 3 of films: it was removed from the registry"):
        world.promote("3")
    with pytest.raises(RegistryError, match="version 3 of films: it was removed from the registry"):
        world.roll_back("3")


def test_a_pruned_champion_is_no_way_back(world):
    world.record("PROMOTE", "4")
    world.registry.prune("films", 0)  # 1 goes

    entry = world.roll_back()

    assert (entry.champion, entry.previous) == ("2", None)


@pytest.mark.parametrize(
    ("served", "champion", "quarantined", "there", "expected"),
    [
        ([], "1", [], "1", None),
        (["1"], "2", [], "12", "1"),
        (["1", "2"], "1", ["2"], "12", None),
        (["0", "1", "2"], "1", ["2"], "012", "0"),
        (["0", "1", "2"], "3", ["2"], "0123", "1"),
        (["0", "1", "2"], "3", [], "03", "0"),
        (["0", "1", "2"], "0", ["2"], "012", "1"),
    ],
)
def test_the_way_back(served, champion, quarantined, there, expected):
    assert rollback_target(served, champion, quarantined, there) == expected


def test_hold_says_why_everything_stays(registry, make_bundle, check):
    for name in ("one", "two"):
        registry.register("shop", make_bundle(registry, name, "shop"), {})
    actions.promote(registry, "shop", "1", reason="so", actor="ada@host", check=check)
    known = {"reason": "no new rows", "actor": "dag/1"}

    entry = actions.hold(registry, "shop", **known)

    assert (entry.event, entry.version, entry.champion) == ("hold", "1", "1")
    assert actions.hold(registry, "shop", **known) == entry  # a run that is repeated
    later = actions.hold(registry, "shop", **{**known, "actor": "dag/2"})
    assert later.seq == entry.seq + 1
    refused = actions.hold(registry, "shop", "2", reason="not approved", actor="dag/3")
    assert (refused.version, refused.champion) == ("2", "1")
    assert registry.challenger("shop") == "2"


def test_hold_before_anything_serves(registry):
    entry = actions.hold(registry, "shop", reason="no new rows", actor="dag/1")

    assert (entry.version, entry.champion) == (None, None)


def test_hold_names_a_version_that_there_is(registry):
    with pytest.raises(RegistryError, match="version 9 of shop: nothing is registered yet"):
        actions.hold(registry, "shop", "9", reason="so", actor="dag/1")
