"""The workflow of CI: valid, without known weaknesses, and about what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CI = ROOT / ".github" / "workflows" / "ci.yml"
BINARIES = Path(sys.executable).parent


def jobs(path: Path = CI) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return content


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in WORKFLOWS),
        ("vendor.dependabot", ROOT / ".github" / "dependabot.yml"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_files_fit_their_schema(schema, path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_weakness_is_known():
    zizmor = shutil.which("zizmor", path=f"{BINARIES}{os.pathsep}{os.environ['PATH']}")
    assert zizmor is not None, "make setup-dev installs it"
    command = [zizmor, "--offline", "--no-progress", str(ROOT / ".github")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path):
    """With the version beside it, which Dependabot changes along."""
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
    versions = {one.partition("@")[0]: set() for one in used}
    for one in used:
        versions[one.partition("@")[0]].add(one.partition("@")[2])
    assert all(len(pins) == 1 for pins in versions.values()), versions


def test_jobs_may_do_what_they_have_to():
    content = yaml.safe_load(CI.read_text())
    assert content["permissions"] == {}
    for name, job in jobs().items():
        writes = {key for key, value in job["permissions"].items() if value == "write"}
        allowed = {"packages", "id-token", "attestations"} if name == "publish" else set()
        assert writes == allowed, name
        assert job["timeout-minutes"] <= 120
    assert "refs/tags/v" in jobs()["publish"]["if"]
    assert set(jobs()["publish"]["needs"]) == {"test", "images"}


def test_every_image_is_built_and_published():
    stages = re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.M)
    for name in ("images", "publish"):
        targets = jobs()[name]["strategy"]["matrix"]["target"]
        assert sorted(targets) == ["airflow", "serve", "train"]
        assert set(targets) <= set(stages)


@pytest.mark.parametrize("name", ["run", "try-serve-image"])
def test_scripts_can_be_run(name):
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = [step.get("run", "") for job in jobs().values() for step in job["steps"]]
    assert any(f".ci/{name}" in step for step in steps)
