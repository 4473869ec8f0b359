"""``dvc.yaml`` says what the pipelines say."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from ratchet.commands import ratchet
from ratchet.config.loader import project_loader
from ratchet.dvc.parameters import Configuration, overrides_text
from ratchet.dvc.stages import used_code
from ratchet.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def dvc(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    bootstrap_project(folder)
    monkeypatch.chdir(folder)
    return CliRunner().invoke(ratchet, ["dvc", *options])


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    stages: dict[str, Any] = drawn()["stages"]
    return stages


def drawn() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    return content


def paths(entries: list[Any]) -> set[str]:
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def results(stage: dict[str, Any]) -> set[str]:
    return paths([*stage["outs"], *stage.get("metrics", [])])


def overlap(path: str, other: str) -> bool:
    """Whether one is the other, or lies inside of it."""
    return Path(path).is_relative_to(other) or Path(other).is_relative_to(path)


def test_the_stages_are_up_to_date(monkeypatch):
    told = dvc(ROOT, monkeypatch, "--check")

    assert told.exit_code == 0, told.output


def test_every_data_file_is_raw_or_comes_from_one_other_stage(stages):
    made = [path for stage in stages.values() for path in results(stage)]

    assert not [pair for pair in combinations(made, 2) if overlap(*pair)]  # DVC refuses such
    for name, stage in stages.items():
        needed = {path for path in paths(stage["deps"]) if path.startswith("data/")}
        assert needed, name
        for path in needed:
            assert path.startswith("data/01_raw/") or any(overlap(path, out) for out in made), name
            assert not any(overlap(path, own) for own in results(stage)), name


def test_a_stage_is_a_phase_of_a_use_case_and_hangs_on_its_code_and_keys(stages):
    stage = stages["evaluation_power"]
    keys = {file: names for entry in stage["params"] for file, names in entry.items()}

    assert stage["cmd"] == (
        ".venv/bin/python -m kedro run --env dvc --pipelines evaluation --namespaces power"
    )
    assert {"src/ratchet/pipelines/evaluation.py", "src/ratchet/learning"} <= set(stage["deps"])
    assert not any("release" in path or "/classical" in path for path in stage["deps"])
    assert "power.targets" in keys["conf/base/parameters/power.yml"]
    assert "power.targets" in keys["params.yaml"]
    assert stage["metrics"] == [{"data/07_model_output/power/best_scores.json": {"cache": False}}]
    assert not any(name.startswith(("release", "monitoring")) for name in stages)


def test_pictures_are_shown_out_of_the_folder_of_all_plots(stages):
    assert "data/08_reporting/power/plots" in stages["reporting_power"]["outs"]
    assert "data/08_reporting/power/plots/png" in drawn()["plots"]


def test_a_folder_stands_for_its_files_where_all_are_of_one_stage(stages):
    folder = "data/06_models/power/demand/candidates"

    assert folder.replace("power/demand", "films/success") in stages["classical_films"]["outs"]
    assert f"{folder}/ridge.skops" in stages["classical_power"]["outs"]
    assert f"{folder}/recurrent.skops" in stages["recurrent_power"]["outs"]
    assert folder in stages["evaluation_power"]["deps"]


def test_code_and_files_that_are_named_exist(stages):
    for stage in stages.values():
        ours = {path for path in paths(stage["deps"]) if not path.startswith("data/")}
        keys = {file for entry in stage["params"] for file in entry}
        assert not [path for path in ours | keys if not (ROOT / path).exists()]


def test_a_changed_configuration_makes_the_file_stale(project, monkeypatch):
    for path in project.glob("conf/*/parameters/*.yml"):
        if path.stem not in ("power", "run"):
            path.unlink()
    first = dvc(project, monkeypatch)
    same = dvc(project, monkeypatch, "--check")
    parameters = project / "conf/base/parameters/power.yml"
    shutil.move(parameters, parameters.with_name("load.yml"))
    stale = dvc(project, monkeypatch, "--check")

    assert first.exit_code == same.exit_code == 0
    assert "up to date" in same.output
    assert stale.exit_code == 1
    assert (project / "params.yaml").read_text().count("{}") == 4  # about, data, features, targets
    assert "dvc.yaml is stale: regenerate it with `kedro ratchet dvc`" in stale.output


def test_imports_are_followed_also_inside_of_functions(tmp_path):
    modules = {
        "ratchet/__init__.py": "",
        "ratchet/pipelines/fit/__init__.py": "",
        "ratchet/pipelines/fit/nodes.py": "def f():\n    from ratchet.learning.a import b",
        "ratchet/pipelines/other/nodes.py": "import ratchet.config",
        "ratchet/learning/a.py": "from . import c\nimport numpy",
        "ratchet/learning/c/__init__.py": "import ratchet.frames",
        "ratchet/frames.py": "",
        "ratchet/params/x.py": "",
    }
    for name, text in modules.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert used_code(tmp_path, ["ratchet.pipelines.fit.nodes", "os.path"]) == [
        "src/ratchet/frames.py",
        "src/ratchet/learning",
        "src/ratchet/pipelines/fit",
    ]


def configuration(folder: Path, files: dict[str, str]) -> Configuration:
    for name, text in files.items():
        path = folder / "conf/base" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Configuration(folder)


def test_keys_behind_globals_are_tracked_where_they_are_written(tmp_path):
    files = {
        "parameters/shop.yml": """
            shop:
              data: {key: product}
              targets: {units: {cv: 2, candidates: "${globals:candidates.few}"}}
            """,
        "parameters/run.yml": "seed: ${globals:seed}",
        "globals.yml": "{seed: 1, paths: {raw: data}, until: '2020-01-01'}",
        "globals_candidates.yml": "candidates: {few: {ridge: {}}, many: {}}",
        "catalog/01_raw.yml": "shop.raw: {filepath: '${globals:paths.raw}/${globals:until}'}",
    }

    assert configuration(tmp_path, files).tracked(
        ["shop.targets.units.candidates.ridge", "shop.data", "shop.data.key", "seed"], "shop.raw"
    ) == [
        {"conf/base/globals.yml": ["seed", "until"]},
        {"conf/base/globals_candidates.yml": ["candidates.few.ridge"]},
        {"conf/base/parameters/run.yml": ["seed"]},
        {"conf/base/parameters/shop.yml": ["shop.data", "shop.targets.units.candidates"]},
    ]


def test_what_experiments_have_changed_is_kept():
    parameters = {"seed": 1, "shop": {"data": {}, "targets": {}, "release": {}, "about": {}}}
    now = "shop: {data: {rows: 5}}"

    text = overrides_text(parameters, now)

    assert yaml.safe_load(text) == {
        "as_of": None,
        "shop": {"data": {"rows": 5}, "targets": {}, "about": {}},
    }
    assert overrides_text(parameters, text) == text


def test_runs_of_dvc_take_what_experiments_have_changed(project, monkeypatch):
    (project / "params.yaml").write_text("power: {features: {min_count: 7}}")
    link = project / "conf/dvc/parameters.yml"
    link.unlink()  # the copy of it
    link.symlink_to((ROOT / "conf/dvc/parameters.yml").readlink())
    bootstrap_project(project)
    monkeypatch.chdir(project)

    assert project_loader("dvc")[0]["parameters"]["power"]["features"]["min_count"] == 7


def test_a_date_that_dvc_would_fail_at_is_named(tmp_path):
    found = configuration(tmp_path, {"parameters.yml": "shop: {data: {days: [1, 2020-02-01]}}"})

    with pytest.raises(ConfigError, match=r"parameters.yml: shop.data.days\[1\]: .* quotes"):
        found.tracked(["shop.data"], None)
