"""``kedro ratchet ledger``, ``who-served``, ``promote`` and ``rollback`` as a user types them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner, Result

from ratchet.commands import COMMANDS, ratchet
from ratchet.config import Release, Target
from ratchet.monitoring.log_table import PREDICTIONS
from ratchet.registry.registry import Registry, RegistryError

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Store:
    """MLflow with three versions, one of which was cut out of the registry."""

    def __init__(self) -> None:
        self.aliases: dict[str, int] = {}
        self.tags: dict[str, str] = {}

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(name=name, aliases=self.aliases, tags=self.tags)

    def search_registered_models(self, _: str, page_token: None) -> Any:
        return Page([self.get_registered_model("ratchet-films")])

    def search_model_versions(self, _: str, page_token: None) -> Any:
        made = {"run_id": None, "creation_timestamp": 1, "source": None}
        return Page(
            SimpleNamespace(version=number, tags={"bundle": f"b{number}"}, **made)
            for number in (1, 2, 4)
        )

    def set_registered_model_alias(self, _: str, alias: str, version: str) -> None:
        self.aliases[alias] = int(version)

    def delete_registered_model_alias(self, _: str, alias: str) -> None:
        del self.aliases[alias]

    def set_registered_model_tag(self, _: str, key: str, value: str) -> None:
        self.tags[key] = value


class Page(list[Any]):
    token = None


def type_in(*words: str) -> Result:
    return CliRunner().invoke(ratchet, words)


def told(*words: str, exit_code: int = 1) -> str:
    """The line that an error is told in."""
    result = type_in(*words)
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


@pytest.fixture(autouse=True)
def standing_in_a_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `kedro` does before it runs a command."""
    from kedro.framework.startup import bootstrap_project

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RATCHET_DATABASE_URL", raising=False)
    # Of use cases the commands know the names alone; reading them takes each test a second.
    for path in project.glob("conf/*/*/*.yml"):
        path.unlink()
    for path in project.glob("conf/*/globals_candidates.yml"):
        path.unlink()
    for name in ("films", "stock"):
        (project / "conf/base/parameters" / f"{name}.yml").write_text(f"{name}: {{}}")
    entry = yaml.safe_load((ROOT / "conf/base/catalog/06_models.yml").read_text())["registry"]
    (project / "conf/base/catalog/registry.yml").write_text(yaml.safe_dump({"registry": entry}))
    bootstrap_project(project)


@pytest.fixture
def registry(project: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of a project, with versions 1, 2 and 4 of films; 1 and then 2 served."""
    bundles = project / "data" / "06_models" / "bundles"
    for number in (1, 2, 4):
        (bundles / "films" / f"b{number}").mkdir(parents=True)
        (bundles / "films" / f"b{number}" / "manifest.json").write_text(f"[{number}]")
    registry = Registry(f"sqlite:///{project / 'mlflow.db'}", bundles)
    store = Store()
    monkeypatch.setattr(Registry, "client", store)
    monkeypatch.setattr("ratchet.bundle.smoke_test.run_smoke_test", lambda folder: None)
    times = iter(NOON + timedelta(days=day) for day in range(9))
    registry.ledger._now = lambda: next(times)
    for seq, version in enumerate("12"):
        registry.ledger.append(
            *("films", "promote"),
            version=version,
            champion=version,
            previous=None if seq == 0 else "1",
            actor="run 7",
            reason=f"better by {seq + 3} %",
            details={"gain": 0.03},
            expect=seq,
        )
    registry.repair("films")
    return registry


def test_the_list_of_decisions(registry):
    assert type_in("ledger").output.splitlines() == [
        "films 1  2026-11-25 12:00:00Z  promote version 1  (1 serves, rollback target none)",
        "    run 7: better by 3 %",
        "films 2  2026-11-26 12:00:00Z  promote version 2  (2 serves, rollback target 1)",
        "    run 7: better by 4 %",
    ]
    (first, second) = json.loads(type_in("ledger", "--use-case", "films", "--json").output)
    assert second["parent"] == first["digest"]
    assert second["at"] == "2026-11-26T12:00:00.000000+00:00"
    assert second["details"] == {"gain": 0.03}


def test_no_decision_about_a_use_case_yet(registry):
    assert type_in("ledger", "-u", "stock").output.startswith("No decision yet: `kedro run`")
    assert json.loads(type_in("ledger", "-u", "stock", "--json").output) == []


def test_verifying(registry):
    assert type_in("ledger", "--verify").output == "2 decisions, and the chain is whole\n"
    with registry.ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER ratchet_ledger_no_update")
        connection.exec_driver_sql("UPDATE ratchet_ledger SET reason = 'x' WHERE seq = 1")

    assert told("ledger", "--verify") == "films: decision 1 was changed"
    assert told("ledger", "--verify", "-u", "films") == "films: decision 1 was changed"
    guard = "the ledger: the trigger ratchet_ledger_no_update is gone or changed"
    assert told("ledger", "--verify", "-u", "stock").startswith(guard)  # of all use cases
    found = json.loads(type_in("ledger", "--verify", "--json").output)
    assert (found["decisions"], found["notes"]) == (2, [])
    assert found["problems"][0].startswith(guard)
    assert found["problems"][1:] == ["films: decision 1 was changed"]


def test_a_database_that_was_emptied_is_told(registry, project):
    (project / "mlflow.db").write_bytes(b"")
    registry.client.tags.clear()  # as its model was deleted, too
    lost = "films: the end is missing: the checkpoint knows decision 2, the ledger ends with 0"
    assert lost in type_in("ledger", "--verify").output.splitlines()

    (project / "mlflow.db").unlink()

    assert "the database mlflow.db is gone; " in told("ledger", "--verify")
    assert "knows of films to decision 2: bring the database back" in told("ledger")


def test_a_clock_that_was_ahead_is_told(registry):
    registry.ledger._now = lambda: datetime(2099, 1, 1, tzinfo=UTC)
    registry.ledger.append(
        *("films", "hold"),
        **{"version": "4", "champion": "2", "previous": "1", "actor": "ada", "reason": "x"},
        expect=registry.ledger.state("films").seq,
    )

    whole, note = type_in("ledger", "--verify").output.splitlines()

    assert whole.endswith("and the chain is whole")
    assert "is dated 2099-01-01 00:00 UTC, which is yet to come: the clock of ada was" in note
    assert "alias" not in type_in("promote", "-u", "films", "--to", "1", "--reason", "x").output


def test_a_pointer_of_dvc_knows_decisions_too(registry, project):
    entries = registry.ledger.entries("films")
    known = {"first": entries[0].digest, "seq": 2, "digest": "0" * 64}
    pointer = {
        "outs": [{"md5": "1", "path": "b2"}],
        "meta": {"version": "2", "ledger": known},
    }
    place = project / "data" / "versions" / "films" / "b2.dvc"
    place.parent.mkdir(parents=True)
    place.write_text(yaml.safe_dump(pointer))

    lost = "films: decision 2 is not the one that the pointer of version 2 in DVC knows, or is "
    assert told("ledger", "--verify").startswith(lost)
    pointer["meta"]["ledger"]["digest"] = entries[1].digest  # type: ignore[index]
    place.write_text(yaml.safe_dump(pointer))
    assert type_in("ledger", "--verify").exit_code == 0
    known["first"] = "0" * 64  # of another ledger, such as that of a colleague
    known["digest"] = "1" * 64
    place.write_text(yaml.safe_dump(pointer))
    assert type_in("ledger", "--verify").exit_code == 0


@pytest.mark.parametrize(
    ("at", "version"),
    [
        ("2026-11-25T12:00", "1"),
        ("2026-11-26", "1"),
        ("2026-11-26T12:30+01:00", "1"),
        ("2026-11-26T13:00+01:00", "2"),
        ("2030-01-01", "2"),
    ],
)
def test_who_served(registry, at, version):
    output = type_in("who-served", "-u", "films", "--at", at).output

    assert output.startswith(f"version {version} served films at 20")
    assert f"promote version {version}" in output


def test_nobody_served(registry):
    assert told("who-served", "-u", "films", "--at", "2026-11-25") == (
        "Error: no version of films served at 2026-11-25 00:00:00 UTC; "
        "the first served from 2026-11-25 12:00:00 UTC on"
    )
    assert "none has served yet" in told("who-served", "-u", "stock", "--at", "2026-11-25")


def test_promoting_and_rolling_back(registry):
    promoted = type_in("promote", "-u", "films", "--reason", "looks good").output
    assert promoted.startswith("version 4 of films serves (decision 3), its alias ")
    assert promoted.endswith("s after the decision; the rollback target is version 2\n")
    assert registry.client.aliases == {"champion": 4, "previous": 2}

    again = type_in("promote", "-u", "films", "--to", "4", "--reason", "looks good").output
    assert again.startswith("version 4 of films serves already (decision 3, ")

    back = type_in("rollback", "-u", "films", "--reason", "it does not").output
    assert back.endswith("version 4 is in quarantine; the rollback target is version 1\n")
    assert registry.client.aliases == {"champion": 2, "previous": 1}
    assert "serves already" in type_in("rollback", "-u", "films", "--reason", "it does not").output
    assert registry.ledger.newest("films").actor.count("@") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("ledger -u filme", "Error: no use case 'filme'; there are films, stock"),
        ("who-served -u x --at 2026-11-25", "Error: no use case 'x'; there are"),
        ("promote -u x --reason y", "Error: no use case 'x'; there are"),
        ("rollback -u x --reason y", "Error: no use case 'x'; there are"),
        ("promote -u films --to 3 --reason y", "Error: version 3 of films: it was removed fr"),
        ("promote -u films --to 7 --reason y", "Error: version 7 of films: there is no such v"),
        ("rollback -u films --to 4 --reason y", "Error: version 4 of films never served; to let"),
        ("rollback -u stock --reason y", "Error: stock: nothing serves yet"),
        ("ledger --env nowhere", "Error: no environment 'nowhere'; there are backfill, base"),
    ],
)
def test_what_cannot_be_done_is_one_line(registry, words, line):
    assert told(*words.split()).startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("promote -u films", "Error: Missing option '--reason'."),
        ("rollback --reason x", "Error: Missing option '--use-case' / '-u'."),
        ("who-served -u films --at soon", "'soon' is no time; expected 2026-11-25 or"),
        ("ledger --colour", "--colour"),
        ("praise", "Error: No such command 'praise'."),
    ],
)
def test_wrong_arguments(registry, words, line):
    assert line in told(*words.split(), exit_code=2)


def test_an_empty_reason(registry):
    assert "a reason is needed" in told("promote", "-u", "films", "--reason", " ", exit_code=2)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) & {"ledger", "promote", "rollback"}))
def test_before_the_first_run(project, command):
    words = [] if command == "ledger" else ["-u", "films", "--reason", "x"]

    assert told(command, *words) == (
        "Error: nothing was decided yet, for there is no mlflow.db: `kedro run` makes it"
    )
    assert not (project / "mlflow.db").exists()


def test_a_database_that_does_not_answer(project, monkeypatch):
    monkeypatch.setenv("RATCHET_DATABASE_URL", "nonsense://ada:secret@host/x")
    line = told("ledger")
    assert line.startswith("Error: cannot use the database nonsense://host/x: ")

    monkeypatch.setenv("RATCHET_DATABASE_URL", f"sqlite:///{project}")  # a folder
    monkeypatch.setattr("ratchet.project_context._check_database", lambda *_: None)
    assert "cannot be opened" in told("ledger")

    monkeypatch.setenv("RATCHET_DATABASE_URL", "postgresql+psycopg://127.0.0.1:1/x")
    assert told("ledger").startswith("Error: the registry or its database does not answer: ")


def test_an_error_of_ours_is_not_hidden(registry, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ratchet.registry.actions.promote", fail)
    result = type_in("promote", "-u", "films", "--reason", "x")

    assert isinstance(result.exception, ZeroDivisionError)


def test_a_bundle_that_does_not_answer_is_said(registry, monkeypatch):
    def fail(folder: Path) -> None:
        raise RegistryError(f"{folder.name}: damaged")

    monkeypatch.setattr("ratchet.bundle.smoke_test.run_smoke_test", fail)

    line = told("promote", "-u", "films", "--reason", "x")
    assert line == "Error: version 4 of films cannot serve: b4: damaged"
    assert registry.champion("films") == "2"


def test_every_command_is_there_and_helps():
    for command in COMMANDS:
        assert type_in(command, "--help").exit_code == 0, command


def test_the_list_of_commands_says_what_they_say_themselves():
    listed = type_in("--help").output

    for name, (_, sentence) in COMMANDS.items():
        command = ratchet.get_command(click.Context(ratchet), name)
        assert command is not None
        assert command.hidden == (not sentence)
        assert (f"  {name} " in listed) == bool(sentence), name
        if sentence:
            stated = click.Command(None, help=sentence)
            assert command.get_short_help_str(200) == stated.get_short_help_str(200)


def test_old_names_go_on_working_with_a_notice(registry):
    done = type_in("tell", "--help")
    assert done.exit_code == 0
    assert "DeprecationWarning: tell is called notify now" in done.stderr
    assert "  tell " not in type_in("--help").output

    done = type_in("promote", "-u", "films", "--reason", "x", "--no-way-back")
    assert done.exit_code == 0
    assert "--no-way-back is called --no-rollback-target now" in done.stderr
    assert "--no-way-back" not in type_in("promote", "--help").output


def test_without_a_way_back_on_request_only(registry):
    shutil.rmtree(registry.bundles / "films" / "b2")
    words = ("promote", "-u", "films", "--reason", "x")
    refused = "Error: films: not promoted, since there would be no rollback target: "
    assert told(*words).startswith(refused)

    output = type_in(*words, "--no-rollback-target").output

    assert output.startswith("version 4 of films serves (decision 3)")
    assert output.endswith("the rollback target is version 1\n")


def beside(registry, arm, n_days=30):
    """Answers of the champion and of version 4 beside it, which errs half as much."""
    from ratchet.monitoring.prediction_log import PredictionLog

    log, random = PredictionLog(registry.ledger.engine), np.random.default_rng(0)
    for day in range(n_days):
        truth = pd.Series(random.normal(5, 1, 8), [f"{day}-{i}" for i in range(8)])
        for version, as_what, error in (("2", "champion", 1.0), ("4", arm, 0.5)):
            rows = pd.DataFrame({"prediction": truth + random.normal(0, error, 8)})
            log.write(
                *("films", version, {"rating": rows}),
                **{"arm": as_what, "source": "service", "at": NOON + timedelta(days=day)},
                latency_ms=3.0,
            )
        log.join_truth("films", "rating", truth, NOON + timedelta(days=day + 1))


@pytest.fixture
def rated(monkeypatch):
    """Films whose rating decides."""
    two = {"dummy": {"estimator": "dummy"}, "ridge": {"estimator": "ridge"}}
    rating = {"column": "rating", "task": "regression", "candidates": two}
    known = SimpleNamespace(
        targets={"rating": Target(**rating)}, release=Release(target="rating", metric="rmse")
    )
    monkeypatch.setattr("ratchet.commands.release.read_use_cases", lambda _: {"films": known})


@pytest.mark.parametrize(("share", "verdict"), [(0.5, "better"), (0.1, "undecided")])
def test_a_split_is_held_to_the_share_that_its_answers_were_assigned_by(
    registry, rated, share, verdict
):
    beside(registry, "challenger")
    table = PREDICTIONS.c
    one_by_one = {"split_share": share, "request": table.row_key}
    with registry.ledger.engine.begin() as connection:
        connection.execute(sa.update(PREDICTIONS).values(one_by_one))

    found = json.loads(type_in("trial", "-u", "films", "--json").output)

    assert (found["kind"], found["verdict"]) == ("split", verdict)


def test_a_trial_says_whether_the_challenger_is_better(registry, rated):
    assert "no challenger has answered beside version 2" in told("trial", "-u", "films")
    beside(registry, "shadow")

    first, second, *_ = type_in("trial", "-u", "films").output.splitlines()
    found = json.loads(type_in("trial", "-u", "films", "--planned", "30", "--json").output)

    assert first == "version 4 beside version 2, on the same rows: the challenger is better"
    assert "240 and 240 rows with truth" in second
    assert found["verdict"] == "better"
    assert found["loss"]["days"] == 30
    assert "version 1 has answered" in told("trial", "-u", "films", "--version", "1")
    assert "at least 10 days" in told("trial", "-u", "films", "--planned", "5", exit_code=2)

    assert "version 4 of films serves" in type_in("trial", "-u", "films", "--promote").output
    assert registry.ledger.entries("films")[-1].reason.startswith(
        "better in a trial beside version 2"
    )
