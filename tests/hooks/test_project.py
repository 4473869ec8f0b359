"""What a session leaves to the next one in the same process."""

from __future__ import annotations

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
