"""The registry: bundles become versions, aliases follow the ledger, old bundles go."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from ratchet.bundle.manifest import bundle_digest
from ratchet.database import connect
from ratchet.errors import ConfigError
from ratchet.learning.atomic_files import atomic_write
from ratchet.registry.actions import promote
from ratchet.registry.ledger import Ledger
from ratchet.registry.model_versions import registered_models
from ratchet.registry.registry import Registry, RegistryError


def aliases(registry: Registry, use_case: str = "films") -> dict[str, str]:
    model = registered_models(registry.client)[use_case]
    return {alias: str(version) for alias, version in model.aliases.items()}


def decide(registry: Registry, event: str, version: str, **state: Any) -> None:
    """Write into the ledger alone, as a process that was killed right after it."""
    before = registry.ledger.state("films")
    state = {"champion": before.champion, "previous": before.previous, **state}
    registry.ledger.append(
        *("films", event),
        **{"version": version, "actor": "ada@host", "reason": "so", "expect": before.seq, **state},
    )


@pytest.fixture(
    params=["registry", pytest.param("mlflow_registry", marks=pytest.mark.slow)],
    ids=["memory", "mlflow"],
)
def any_registry(request: pytest.FixtureRequest) -> Registry:
    """The one in memory, and MLflow's, to which it is held."""
    return request.getfixturevalue(request.param)


def register(registry: Registry, make_bundle: Any, *names: str) -> list[str]:
    return [registry.register("films", make_bundle(registry, name), {}) for name in names]


def test_life_of_versions(any_registry, make_bundle):
    """Everything once, on both stores."""
    registry = any_registry
    assert registry.versions("films") == []
    assert registry.repair("films") == []
    assert (registry.champion("films"), registry.challenger("films")) == (None, None)

    folder = make_bundle(registry, "first")
    assert registry.register("films", folder, {"data_hash": "x", "rows": 7}, None) == "1"
    assert registry.register("films", folder, {"data_hash": "y"}) == "1"
    assert register(registry, make_bundle, "second", "third") == ["2", "3"]
    assert aliases(registry) == {"challenger": "3"}
    first, *_ = registry.versions("films")
    assert (first.number, first.bundle, first.folder) == ("1", "first", folder)
    digest = bundle_digest(folder)
    assert dict(first.tags) == {"data_hash": "x", "rows": "7", "bundle": "first", "digest": digest}

    decide(registry, "promote", "1", champion="1")
    decide(registry, "promote", "3", champion="3", previous="1")
    assert registry.repair("films") == [
        "champion of films: version none -> 3",
        "previous of films: version none -> 1",
        "challenger of films: version 3 -> none",
    ]
    assert registry.repair("films") == []
    assert aliases(registry) == {"champion": "3", "previous": "1"}
    assert registry.verify() == []

    assert registry.prune("films", 0) == ["2"]
    assert [version.number for version in registry.versions("films")] == ["1", "3"]
    assert register(registry, make_bundle, "fourth") == ["4"]  # numbers do not come back
    assert aliases(registry) == {"champion": "3", "previous": "1", "challenger": "4"}

    registry.client.delete_model_version("ratchet-films", "3")  # behind our back
    gone = "champion of films: version 3 is not in the registry any more"
    assert registry.repair("films") == [gone]
    with pytest.raises(RegistryError, match="version 3 of films: it was removed from the reg"):
        registry.folder("films", "3")


def test_a_model_that_was_made_anew_takes_no_number_of_the_ledger(
    any_registry, make_bundle, check, caplog
):
    registry = any_registry
    register(registry, make_bundle, "first", "second", "third")
    known = {"reason": "so", "actor": "ada@host", "check": check}
    promote(registry, "films", "1", **known)
    promote(registry, "films", "2", **known)
    registry.client.delete_registered_model("ratchet-films")

    assert register(registry, make_bundle, "anew") == ["3"]
    assert "the numbers 1 to 2 are those of earlier versions in the ledger" in caplog.text
    refused = r"no rollback target: version 2 of films: .*--no-rollback-target"
    with pytest.raises(RegistryError, match=refused):
        promote(registry, "films", "3", **known)
    promote(registry, "films", "3", need_rollback_target=False, **known)

    assert registry.champion("films") == "3"
    assert registry.folder("films", "3").name == "anew"
    assert registry.verify() == []


def test_use_cases_do_not_mix(any_registry, make_bundle):
    registry = any_registry
    for use_case in ("films", "films_2", "power"):
        registry.register(use_case, make_bundle(registry, "one", use_case), {})

    assert sorted(registered_models(registry.client)) == ["films", "films_2", "power"]
    assert [version.number for version in registry.versions("films")] == ["1"]
    assert registry.folder("power", "1") == registry.bundles / "power" / "one"


def test_a_moved_project(mlflow_registry_moved: Registry, tmp_path):
    assert mlflow_registry_moved.folder("films", "1") == tmp_path / "moved" / "films" / "one"


@pytest.fixture
def mlflow_registry_moved(registry: Registry, make_bundle: Any, tmp_path: Path) -> Registry:
    register(registry, make_bundle, "one")
    shutil.move(registry.bundles, tmp_path / "moved")
    registry.bundles = tmp_path / "moved"
    return registry


def test_a_bundle_elsewhere_is_refused(registry, make_bundle, tmp_path):
    stray = make_bundle(Registry("", tmp_path / "stray"), "one")

    for folder in (stray, registry.bundles / "films" / "none", make_bundle(registry, "x", "power")):
        with pytest.raises(RegistryError, match="expected a bundle in"):
            registry.register("films", folder, {})
    assert registry.versions("films") == []


EVIL = ["../../evil", "../power/two", "/etc", "two/..", ".", "..", "a b/c", ".hidden", "two\n"]


@pytest.mark.parametrize("tag", EVIL)
def test_a_tag_that_leads_out_of_the_bundles_leads_nowhere(registry, make_bundle, tmp_path, tag):
    evil = tmp_path / "evil"
    evil.mkdir()
    register(registry, make_bundle, "one")
    registry.client.models["ratchet-films"].versions[1].tags["bundle"] = tag

    with pytest.raises(RegistryError, match=r"version 1 of films: its tag 'bundle' (is|names) '"):
        registry.folder("films", "1")
    assert registry.prune("films", 0) == []  # it is the challenger
    register(registry, make_bundle, "three")
    assert registry.prune("films", 0) == ["1"]
    assert evil.is_dir()
    assert (registry.bundles / "films" / "one").is_dir()


def test_a_tag_that_names_the_bundle_of_another_version_leads_nowhere(registry, make_bundle):
    register(registry, make_bundle, "one", "two")
    versions = registry.client.models["ratchet-films"].versions
    versions[1].tags["bundle"] = "two"

    with pytest.raises(RegistryError, match="names 'two', and it was registered from 'one'"):
        registry.folder("films", "1")
    versions[1].source = versions[2].source
    for number in "12":  # nothing says whose it is
        with pytest.raises(RegistryError, match="names 'two', as that of another version does"):
            registry.folder("films", number)


def test_a_link_is_no_bundle(registry, make_bundle, tmp_path):
    register(registry, make_bundle, "one")
    folder = registry.bundles / "films" / "one"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RegistryError, match=r"its bundle .* is a link, and no folder"):
        registry.folder("films", "1")


def test_what_was_replaced_after_its_registration_is_refused(registry, make_bundle):
    register(registry, make_bundle, "one")
    (registry.bundles / "films" / "one" / "manifest.json").write_text("[]")

    told = "version 1 of films is not what was judged: .*, the registry recorded [0-9a-f]{12}"
    with pytest.raises(RegistryError, match=told):
        registry.folder("films", "1")
    assert not registry.has_bundle("films", "1")


def test_the_ledger_is_believed_before_the_registry(registry, make_bundle):
    register(registry, make_bundle, "one")
    folder = registry.folder("films", "1")
    decide(registry, "hold", "1", details={"digest": bundle_digest(folder)})
    (folder / "manifest.json").write_text("[]")
    tags = registry.client.models["ratchet-films"].versions[1].tags
    tags["digest"] = bundle_digest(folder)

    with pytest.raises(RegistryError, match="the ledger recorded"):
        registry.folder("films", "1")


def test_a_version_from_before_digests_were_recorded_is_opened(registry, make_bundle):
    register(registry, make_bundle, "one")
    decide(registry, "promote", "1", champion="1")
    del registry.client.models["ratchet-films"].versions[1].tags["digest"]

    assert registry.folder("films", "1").name == "one"


def test_what_is_not_there_is_said(registry, make_bundle):
    with pytest.raises(RegistryError, match="version 1 of films: nothing is registered yet"):
        registry.folder("films", "1")
    register(registry, make_bundle, "one", "two")
    shutil.rmtree(registry.bundles / "films" / "one")

    with pytest.raises(RegistryError, match=r"version 1 of films: its bundle .*one is missing"):
        registry.folder("films", "1")
    for number in ("3", "0", "x", "-1"):
        with pytest.raises(RegistryError, match="there is no such version; there are 1, 2"):
            registry.folder("films", number)


def test_the_challenger_waits_until_it_is_decided(registry, make_bundle):
    register(registry, make_bundle, "one", "two")
    assert registry.challenger("films") == "2"

    decide(registry, "hold", "2")
    assert registry.challenger("films") == "2"
    decide(registry, "reject", "2")
    assert registry.challenger("films") is None  # and not the one before it
    register(registry, make_bundle, "three")
    assert registry.challenger("films") == "3"
    decide(registry, "promote", "3", champion="3")
    assert registry.challenger("films") is None


def test_aliases_moved_by_others_come_back(registry, make_bundle):
    register(registry, make_bundle, "one", "two", "three")
    decide(registry, "promote", "1", champion="1")
    registry.repair("films")
    model = registry.client.models["ratchet-films"]
    model.aliases.update(champion=2, previous=3)
    del model.aliases["challenger"]

    registry.repair("films")

    assert aliases(registry) == {"champion": "1", "challenger": "3"}


def test_a_decision_while_aliases_move_is_followed_too(registry, make_bundle):
    register(registry, make_bundle, "one", "two")
    decide(registry, "promote", "1", champion="1")
    decisions = iter([("promote", "2")])

    def another(what: str) -> None:
        for event, version in decisions:
            decide(registry, event, version, champion=version, previous="1")

    registry.client.before = another
    registry.repair("films")

    assert aliases(registry) == {"champion": "2", "previous": "1"}
    assert registry.verify() == []


def test_a_version_that_another_process_removes_meanwhile_is_no_error(
    any_registry, make_bundle, monkeypatch
):
    client = any_registry.client
    register(any_registry, make_bundle, "one")
    decide(any_registry, "promote", "1", champion="1")
    any_registry.repair("films")
    move = client.set_registered_model_alias

    def move_too_late(name: str, alias: str, version: str) -> None:
        monkeypatch.setattr(client, "set_registered_model_alias", move)
        client.delete_model_version(name, version)
        move(name, alias, version)

    monkeypatch.setattr(client, "set_registered_model_alias", move_too_late)
    register(any_registry, make_bundle, "two")

    assert [version.number for version in any_registry.versions("films")] == ["1"]
    assert aliases(any_registry) == {"champion": "1"}


def test_what_mlflow_refuses_although_nothing_has_changed_is_an_error(registry, make_bundle):
    def refuse(what: str) -> None:
        if what == "set_registered_model_alias":
            raise MlflowException("no room")

    registry.client.before = refuse
    with pytest.raises(MlflowException, match="no room"):
        register(registry, make_bundle, "one")


def test_what_the_registry_knows_of_the_ledger_is_kept_as_evidence(registry, make_bundle):
    register(registry, make_bundle, "one")
    for _ in range(3):
        decide(registry, "hold", "1")
    registry.repair("films")
    known = dict(registry.client.models["ratchet-films"].tags)
    with registry.ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER ratchet_ledger_no_delete")
        connection.exec_driver_sql("DELETE FROM ratchet_ledger WHERE seq > 1")
    lost = "films: the end is missing: the registry knows decision 3, the ledger ends with 1"
    guard, *found = registry.verify()
    assert "the trigger ratchet_ledger_no_delete is gone" in guard
    assert found == [lost]

    told = registry.repair("films")

    assert told == [
        "the ledger of films lacks decision 3 as the registry knows it "
        "(kedro ratchet ledger --verify)"
    ]
    assert registry.client.models["ratchet-films"].tags == known
    decide(registry, "hold", "1")
    decide(registry, "reject", "1")  # another third decision
    registry.repair("films")
    assert registry.verify() == ["films: decision 3 is not the one that the registry knows"]


def test_an_anchor_that_is_none_of_ours_is_no_match(registry, make_bundle):
    register(registry, make_bundle, "one")
    decide(registry, "hold", "1")
    registry.client.models["ratchet-films"].tags["ledger"] = "x"

    assert registry.repair("films") != []
    assert registry.client.models["ratchet-films"].tags["ledger"] == "x"


def test_prune_keeps_what_is_needed_and_the_newest(registry, make_bundle):
    register(registry, make_bundle, *"abcdefgh")
    decide(registry, "promote", "2", champion="2")
    decide(registry, "promote", "4", champion="4", previous="2")
    registry.repair("films")

    assert registry.prune("films", 9) == []
    assert registry.prune("films", 2) == ["1", "3", "5"]
    assert registry.prune("films", 2) == []

    left = [version.bundle for version in registry.versions("films")]
    assert left == ["b", "d", "f", "g", "h"]
    assert sorted(path.name for path in registry.bundles.glob("films/[!.]*")) == left
    assert registry.ledger.count("films") == 2
    assert registry.prune("films", 0) == ["6", "7"]


def test_prune_ends_what_a_killed_one_began(registry, make_bundle):
    register(registry, make_bundle, *"abc")

    def stop(what: str) -> None:
        if what == "delete_model_version":
            raise KeyboardInterrupt

    registry.client.before = stop
    with pytest.raises(KeyboardInterrupt):
        registry.prune("films", 0)
    assert not (registry.bundles / "films" / "a").exists()
    (registry.bundles / "films" / ".z.pruned").mkdir()  # killed while it was deleting

    registry.client.before = lambda what: None
    assert registry.prune("films", 0) == ["1", "2"]
    assert [path.name for path in (registry.bundles / "films").iterdir() if path.is_dir()] == ["c"]


DAY = 24 * 3600


def aged(folder: Path, seconds: float) -> Path:
    """A folder that was written some time ago, with all that is in it."""
    folder.mkdir(exist_ok=True)
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time.time() - seconds,) * 2)
    return folder


def test_prune_removes_what_killed_writers_have_left(registry, make_bundle):
    register(registry, make_bundle, "a")
    place = registry.bundles / "films"
    gone = [
        aged(make_bundle(registry, "never"), DAY + 60),
        aged(place / ".never.0123456789ab", 60),
    ]
    kept = [
        aged(place / "a", DAY + 60),
        aged(make_bundle(registry, "about-to-be"), DAY - 60),
        aged(place / ".mine", DAY + 60),
        aged(place / "no-bundle", DAY + 60),
    ]
    with atomic_write(place / "growing") as partial:
        aged(partial, 2 * DAY)

        assert registry.prune("films", 0) == []

        assert partial.is_dir()
    assert sorted(place.glob("[!.]*")) == sorted([*kept[:2], kept[3], place / "growing"])
    assert not [path for path in gone if path.exists()]
    assert all(path.is_dir() for path in kept)


def test_prune_keeps_bundles_that_another_database_knows(registry, in_memory, make_bundle):
    register(registry, make_bundle, "a")
    aged(registry.bundles / "films" / "a", 2 * DAY)
    other = in_memory(registry.bundles)
    register(other, make_bundle, "b")

    other.prune("films", 0)

    assert registry.folder("films", "1").is_dir()
    register(registry, make_bundle, "c", "d")
    assert registry.prune("films", 0) == ["1", "2"]
    assert not list((registry.bundles / "films").glob(".[ac].*"))


def test_a_champion_that_there_is_not_is_said(registry):
    with pytest.raises(RegistryError, match="films: no version is named: does any serve yet"):
        registry.folder("films", registry.champion("films"))


def test_a_server_without_a_database_is_said(tmp_path):
    with pytest.raises(ConfigError, match="set RATCHET_DATABASE_URL"):
        _ = Registry("http://ada:secret@host", tmp_path).ledger


def test_a_server_gets_no_path_of_ours(registry, make_bundle):
    registry.client.tracking_uri = "https://host"

    register(registry, make_bundle, "one")

    (version,) = registry.client.models["ratchet-films"].versions.values()
    assert version.source == "bundle://films/one"


def test_a_repeated_run_leaves_no_second_version(registry, make_bundle):
    for name, run in {"a": "dag/1", "b": "dag/2", "c": "dag/2"}.items():
        registry.register("films", make_bundle(registry, name), {"orchestrator_run": run})
    decide(registry, "hold", "2")

    assert registry.withdraw("films", "dag/2") == ["3"]  # of 2 it is known what became of it
    assert registry.withdraw("films", "dag/2") == []

    assert [version.number for version in registry.versions("films")] == ["1", "2"]
    assert not (registry.bundles / "films" / "c").exists()
    assert registry.withdraw("stock", "dag/2") == []


@pytest.fixture
def on_disk(in_memory, tmp_path) -> Registry:
    """A registry whose decisions are in a file."""
    registry = in_memory(tmp_path / "bundles")
    registry.ledger = Ledger(connect(f"sqlite:///{tmp_path / 'mlflow.db'}"))
    return registry


def again(registry: Registry, in_memory: Any) -> Registry:
    """As another process finds it, after its models were deleted in MLflow."""
    other: Registry = in_memory(registry.bundles)
    other.ledger = Ledger(connect(str(registry.ledger.engine.url)))
    return other


def test_an_emptied_database_is_seen(on_disk, in_memory, make_bundle, tmp_path):
    register(on_disk, make_bundle, "one")
    for _ in range(2):
        decide(on_disk, "hold", "1")
    on_disk.repair("films")
    assert on_disk.verify() == []
    (tmp_path / "mlflow.db").write_bytes(b"")

    lost = again(on_disk, in_memory)

    told = "films: the end is missing: the checkpoint knows decision 2, the ledger ends with 0"
    assert lost.verify() == [told]
    decide(lost, "hold", "1")
    (line,) = lost.repair("films")
    assert line.startswith("the ledger of films lacks decision 2 as the checkpoint knows it")
    assert lost.verify() == [told.replace("ends with 0", "ends with 1")]  # the evidence stays


@pytest.mark.parametrize("content", ["", "{", "[]", '{"decisions": {"films": {"seq": 1}}}'])
def test_a_checkpoint_that_is_none_is_a_finding(on_disk, make_bundle, content):
    register(on_disk, make_bundle, "one")
    decide(on_disk, "hold", "1")
    on_disk.repair("films")
    on_disk.checkpoint.path.write_text(content)

    (found,) = on_disk.verify()

    assert found.startswith("the ledger: the checkpoint ")
    assert "cannot be read" in found
    on_disk.repair("films")
    assert on_disk.checkpoint.path.read_text() == content


def test_each_database_has_a_checkpoint_of_its_own(on_disk, in_memory, make_bundle, tmp_path):
    register(on_disk, make_bundle, "one")
    decide(on_disk, "hold", "1")
    on_disk.repair("films")
    other: Registry = in_memory(on_disk.bundles)
    other.ledger = Ledger(connect(f"sqlite:///{tmp_path / 'other.db'}"))

    assert other.verify() == []
    assert on_disk.checkpoint.read()["films"].seq == 1


def test_a_link_in_place_of_a_bundle_goes_without_what_it_leads_to(registry, make_bundle, tmp_path):
    register(registry, make_bundle, "one", "two")
    folder = registry.bundles / "films" / "one"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    (folder.parent / ".old.pruned").symlink_to(tmp_path / "elsewhere")

    assert registry.prune("films", 0) == ["1"]

    assert (tmp_path / "elsewhere" / "manifest.json").is_file()
    assert sorted(each.name for each in folder.parent.iterdir()) == [
        *(".lock", ".two.registered", "two")
    ]
