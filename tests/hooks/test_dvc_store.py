"""Versions are kept beside a run, and never in its way."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ratchet.dvc import store
from ratchet.dvc.store import DvcStoreError
from ratchet.hooks.dvc_store import DvcStoreHooks

NODE = SimpleNamespace(outputs=["films.challengers"])
RUN = SimpleNamespace(nodes=[NODE])


class Catalog(dict[str, Any]):
    """Datasets with a file, and a registry."""

    def load(self, name: str) -> str:
        return name


def hooks_in(project: Path, **settings: Any) -> DvcStoreHooks:
    hooks = DvcStoreHooks()
    loader = {
        "versioning": {"enabled": True, "push": True, "folder": "data/versions", **settings},
        "parameters": {"films": {"targets": {"rating": {}}}},
    }
    hooks.after_context_created(SimpleNamespace(config_loader=loader, project_path=project))
    return hooks


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data/versions/.dvc").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the hooks ask for."""
    found: list[tuple[str, Any]] = []
    monkeypatch.setattr(store, "store_versions", lambda *a: found.append(("keep", a[4])))
    monkeypatch.setattr(store, "push_versions", lambda *a: found.append(("push", a[2])))
    return found


def test_files_that_are_there_are_kept_and_pushed_at_the_end(project, asked):
    (project / "train.parquet").touch()
    files = {"films.train": "train.parquet", "films.test": "none.parquet"}
    catalog = Catalog(
        {name: SimpleNamespace(_filepath=project / file) for name, file in files.items()}
    )
    hooks = hooks_in(project)

    hooks.after_node_run(SimpleNamespace(outputs=["films.decision"]), catalog)
    assert asked == []
    hooks.after_node_run(NODE, catalog)
    assert asked == [("keep", {"films.train": project / "train.parquet"})]
    hooks.after_pipeline_run(RUN, catalog)
    assert [what for what, _ in asked] == ["keep", "keep", "push"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"enabled": False}, []),
        ({"folder": "data/test/versions"}, []),  # no DVC repository
        ({"push": False}, ["keep", "keep"]),
    ],
)
def test_it_can_be_turned_off(project, asked, settings, expected):
    hooks = hooks_in(project, **settings)

    hooks.after_node_run(NODE, Catalog())
    hooks.after_pipeline_run(RUN, Catalog())

    assert [what for what, _ in asked] == expected


def test_trouble_is_told_and_does_not_stop_the_run(project, monkeypatch, caplog):
    def fail(*_: Any) -> None:
        raise DvcStoreError("the disk is full")

    monkeypatch.setattr(store, "store_versions", fail)
    monkeypatch.setattr(store, "push_versions", fail)
    hooks = hooks_in(project)

    with caplog.at_level(logging.WARNING):
        hooks.after_node_run(NODE, Catalog())
        hooks.after_pipeline_run(RUN, Catalog())

    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("films: data and model are not kept in DVC, the next run tries again")
    assert "kedro ratchet push --use-case films" in told[-1]
    assert all(line.endswith("the disk is full") for line in told)


def test_a_worker_of_a_parallel_runner_has_no_configuration_and_does_nothing(asked):
    DvcStoreHooks().after_node_run(NODE, Catalog())

    assert asked == []


def test_dvc_is_imported_only_where_it_is_used():
    code = "import ratchet.settings, ratchet.dvc.store, sys; print('dvc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
