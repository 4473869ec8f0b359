"""What a session leaves to the next one in the same process."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ratchet.errors import ConfigError
from ratchet.hooks.project import ProjectHooks


def parameters(name: str) -> dict[str, Any]:
    return {
        "about": {"title": name, "question": "?", "source": "a test"},
        "data": {"key": "id", "columns": {c: {"type": "integer"} for c in ("id", "x", "y")}},
        "features": {"numeric": ["x"]},
        "targets": {
            "y": {
                "column": "y",
                "task": "regression",
                "candidates": {n: {"estimator": n} for n in ("dummy", "ridge")},
            }
        },
    }


def add_use_case(project, name):
    folder = project / f"conf/{name}"
    folder.mkdir()
    (folder / "parameters.yml").write_text(yaml.safe_dump({name: parameters(name)}))


def test_every_session_sees_the_use_cases_of_its_environment(project):
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    for name in ("shop", "bikes"):
        add_use_case(project, name)
    bootstrap_project(project)
    seen = {}

    for env in ("shop", "bikes"):
        with KedroSession.create(project, env=env) as session:
            session.load_context()
            seen[env] = {"shop", "bikes"} & set(pipelines)

    assert seen == {"shop": {"shop"}, "bikes": {"bikes"}}


def test_a_session_reads_its_parameters_once(project, monkeypatch):
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from ratchet.config.kedro_loader import ConfigLoader

    read, asked = ConfigLoader._read, []
    monkeypatch.setattr(
        ConfigLoader, "_read", lambda self, key: asked.append(key) or read(self, key)
    )
    bootstrap_project(project)

    with KedroSession.create(project, runtime_params={"seed": 7}) as session:
        context = session.load_context()
        assert list(pipelines)
        assert context.params["seed"] == 7

    assert asked.count("parameters") == 1


@pytest.mark.parametrize(("value", "shown"), [(1, "1"), (None, "nothing"), ("off", "'off'")])
def test_a_single_value_cannot_take_the_place_of_a_use_case(project, value, shown):
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    for path in (project / "conf/base/parameters").glob("*.yml"):
        if path.stem != "run":
            path.unlink()
    (project / "conf/base/parameters/bikes.yml").write_text(
        yaml.safe_dump({"bikes": parameters("bikes")})
    )
    bootstrap_project(project)

    with (
        KedroSession.create(project, runtime_params={"bikes": value, "mine": 1}) as session,
        pytest.raises(ConfigError, match=f"'bikes' is a use case, and {shown} cannot take"),
    ):
        session.load_context()


def test_a_run_from_a_sub_folder_logs_as_the_project_wants(project):
    """In a process of its own: Kedro looks for the file when it is imported."""
    (project / "notes").mkdir()
    code = f"""
import logging
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project({str(project)!r})
KedroSession.create({str(project)!r}).load_context()
print("LEVEL", logging.getLogger("kedro.io").level == logging.WARNING)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project / "notes",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "LEVEL True" in done.stdout


def start(
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    namespace: str | None,
    as_of: Any = None,
    **changed: Any,
):
    """Begin a run of one phase with the parameters of a shop, changed, and of sound bikes."""
    shop = parameters("shop")
    for part, value in changed.items():
        shop[part] = {**shop.get(part, {}), **value}
    known = {"as_of": as_of, "shop": shop, "bikes": parameters("bikes")}
    monkeypatch.setattr("ratchet.config.loader.project_parameters", lambda: known)
    node = SimpleNamespace(tags={phase}, namespace=namespace)
    ProjectHooks().before_pipeline_run(SimpleNamespace(nodes=[node]))


@pytest.mark.parametrize(
    ("phase", "namespace"),
    [
        *(("classical", "shop.y"), ("recurrent", "shop.y"), ("release", "shop")),
        *(("monitoring", "shop"), ("status", None)),
    ],
)
def test_a_metric_that_cannot_decide_stops_every_run_that_needs_it(monkeypatch, phase, namespace):
    with pytest.raises(ConfigError, match=r"shop\.release\.metric: 'luck'"):
        start(monkeypatch, phase, namespace, release={"metric": "luck"})


@pytest.mark.parametrize(("phase", "namespace"), [("reporting", "shop"), ("release", "bikes")])
def test_a_metric_that_is_not_needed_stops_nothing(monkeypatch, phase, namespace):
    start(monkeypatch, phase, namespace, release={"metric": "luck"})


def test_a_function_that_no_bundle_may_name_stops_runs_that_release(monkeypatch):
    mine = {"derive": {"z": {"function": "os.getcwd"}}}

    start(monkeypatch, "classical", "shop.y", data=mine)
    with pytest.raises(ConfigError, match=r"shop\.data\.derive\.z\.function: 'os\.getcwd' is none"):
        start(monkeypatch, "release", "shop", data=mine)


@pytest.mark.parametrize("phase", ["understanding", "release", "monitoring"])
def test_rows_are_cut_at_a_day_and_by_their_time(monkeypatch, phase):
    columns = parameters("shop")["data"]["columns"] | {"day": {"type": "date"}}
    timed = {"data": {"time": "day", "columns": columns}}

    start(monkeypatch, phase, "shop", as_of="2020-01-31", **timed)
    with pytest.raises(ConfigError, match="parameter as_of: expected a date such as 2020-01-31"):
        start(monkeypatch, phase, "shop", as_of="nov 2020", **timed)
    with pytest.raises(ConfigError, match=r"parameter as_of: shop names no data\.time column"):
        start(monkeypatch, phase, "shop", as_of="2020-01-31")


def refuse(rows):
    raise ValueError(f"a validator has seen {rows['code'].tolist()}")


@pytest.mark.parametrize("entry", ["shop.raw", "{use_case}.raw"])
def test_raw_rows_are_read_as_their_contract_says(tmp_path, entry, caplog):
    from kedro.io import DataCatalog

    (tmp_path / "raw.csv").write_text("id,code\n1,NA\n2,01\n", encoding="utf-8")
    config = {"type": "pandas.CSVDataset", "filepath": str(tmp_path / "raw.csv")}
    checked = {**config, "validator": f"{__name__}.refuse"}
    catalog = DataCatalog.from_config({entry: config, "checked.raw": checked, "other": config})
    columns = {"id": {"type": "integer"}, "code": {"type": "string"}}
    content = {"seed": 1, "shop": {"data": {"key": "id", "columns": columns}}}
    content |= {"checked": content["shop"], "without": content["shop"]}

    ProjectHooks().after_catalog_created(catalog, {"parameters": content}, None, None)

    assert "Replacing" not in caplog.text
    assert catalog.load("shop.raw")["code"].tolist() == ["NA", "01"]
    assert str(catalog.get("shop.raw")._filepath) == config["filepath"]
    assert catalog.load("other")["code"].isna().any()
    with pytest.raises(Exception, match=r"\['NA', '01'\]"):
        catalog.load("checked.raw")
