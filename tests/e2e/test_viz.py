"""Kedro-Viz as a static site."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_static_site_shows_layers_metrics_and_plots(films_project, make_project, tmp_path):
    project = make_project(tmp_path)
    (project / "data/test").symlink_to(films_project / "data/test")
    build = [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"]
    env = {**os.environ, "KEDRO_ENV": "test"}
    subprocess.run(build, cwd=project, env=env, check=True, capture_output=True, timeout=300)
    site = project / "build"
    pipelines = json.loads((site / "api" / "main").read_text())
    shown = {
        node["name"]: json.loads((site / "api" / "nodes" / node["id"]).read_text())
        for node in pipelines["nodes"]
        if node["type"] == "data"
    }

    layers = "raw intermediate primary feature model_input models model_output reporting"
    assert pipelines["layers"] == layers.split()
    assert "films" in {pipeline["id"] for pipeline in pipelines["pipelines"]}
    assert shown["films.metrics"]["preview"]
    plots = [n for n in shown if n.startswith("films.") and n.endswith("_plot")]
    assert plots
    # The first look: use cases, and of their datasets those alone that come in or go out.
    top = {child["id"] for child in pipelines["modular_pipelines"]["__root__"]["children"]}
    names = {node["id"]: node["name"] for node in pipelines["nodes"]}
    assert {"films", "market", "power", "prices", "stock"} <= top
    assert not {names[each] for each in top} & set(plots)
    png = "iVBORw0KGgo"  # in base64
    assert all(shown[name]["preview"].startswith(png) for name in plots)
