"""What a session leaves to the next one in the same process."""

from __future__ import annotations

import os
import subprocess
import sys

import yaml


def add_use_case(project, name):
    folder = project / f"conf/{name}"
    folder.mkdir()
    use_case = {
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
    (folder / "parameters.yml").write_text(yaml.safe_dump({name: use_case}))


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
