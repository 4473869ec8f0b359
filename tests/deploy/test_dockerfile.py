"""The Dockerfile, as far as it can be checked without building it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
TARGETS = ("serve", "train", "airflow")


def stages() -> dict[str, tuple[str, list[str]]]:
    """Name of each stage -> what it is built on, and its instructions."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            found[name] = (base, [])
        elif found and line and not line.startswith("#"):
            found[name][1].append(" ".join(line.split()))
    return found


def instructions(target: str) -> list[str]:
    """Instructions of a target, those of the stages below it first."""
    if target not in stages():
        return []
    base, own = stages()[target]
    return [*instructions(base), *own]


def last(target: str, instruction: str) -> str:
    return [line for line in instructions(target) if line.startswith(f"{instruction} ")][-1]


def test_the_linter_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)

    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_an_ordinary_user_and_gets_signals(target):
    assert last(target, "USER") == "USER 10001"
    entrypoint = json.loads(last(target, "ENTRYPOINT").removeprefix("ENTRYPOINT "))
    assert entrypoint[:2] == ["dumb-init", "--"]
    # To the children as well, and the log of predictions would lose its writer at every stop.
    assert any("DUMB_INIT_SETSID=0" in line for line in instructions(target))
    assert last(target, "WORKDIR") == "WORKDIR /app"
    assert last(target, "VOLUME") == "VOLUME /app/data"


@pytest.mark.parametrize("target", TARGETS)
def test_packages_are_those_of_a_lock_and_stay_apart_from_what_installs_them(target):
    copied = re.findall(r"COPY --from=(\S+)", "\n".join(instructions(target)))

    assert "installer" not in copied
    assert not any("pip install" in line for line in instructions(target))
    for stage in copied:
        installs = [line for line in instructions(stage) if "pip install" in line]
        assert all("--require-hashes" in line for line in installs)


def test_what_comes_from_the_project_may_be_read_by_the_user_of_the_image():
    """A checkout under umask 077 has modes that only its owner can read."""
    for target in TARGETS:
        for line in instructions(target):
            assert not line.startswith("COPY ") or "--from=" in line or "MODELS" in line, line
    for stage, folder in (("source", "src"), ("project", ".")):
        lines = stages()[stage][1]
        after = max(number for number, line in enumerate(lines) if line.startswith("COPY ")) + 1
        assert lines[after].partition(" && ")[0] == f"RUN chmod -R a+rX {folder}"


def test_the_service_says_how_it_is():
    command = last("serve", "HEALTHCHECK").partition("CMD ")[2]

    assert json.loads(command)[0] == "python"
    assert "/health/live" in command
    assert last("serve", "EXPOSE") == "EXPOSE 8000"


def test_nothing_but_what_is_copied_is_in_the_build_context():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    admitted = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    named = [
        source
        for stage in stages()
        for line in stages()[stage][1]
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]

    assert rules[0] == "*"
    assert rules.index("conf/local") > rules.index("!conf")
    named = [re.sub(r"\$\{MODELS:-(.*)/.gitkeep\}", r"\1", source) for source in named]
    assert set(named) == {
        *(source for source in named if source.startswith("requirements/")),
        *(admitted - {"requirements"}),
    }
