"""Who may import whom, and what no command may load at start-up."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "ratchet"

LOOSE = {
    *("params", "errors", "frames", "dates", "schemas", "values", "progress", "config"),
    "database",
    "provenance",
}
"""Modules at the root that name things for everybody."""

ALL = {
    *("commands", "datasets", "environment", "hooks", "learning", "monitoring", "orchestration"),
    *("pipelines", "preparation", "release", "use_cases", "pipeline_registry", "cli", "settings"),
    *("replay", "webhook", "runner", "catalog", "locks", "compiled"),
    *LOOSE,
}
"""Everything but ``serving``, which nobody imports."""

MAY_IMPORT: dict[str, set[str]] = {
    "learning": set(),
    "use_cases": {"learning"},
    "preparation": {"learning", "errors", "frames", "dates", "params", "schemas", "values"},
    "release": {
        *("learning", "preparation", "compiled", "errors", "frames", "dates", "params"),
        *("database", "values", "locks"),
    },
    "monitoring": {"learning", "errors", "frames", "dates", "params", "database", "values"},
    "replay": {
        *("learning", "preparation", "release", "monitoring"),
        *("errors", "params", "frames", "dates"),
    },
    "pipelines": {"learning", "preparation", "release", "monitoring", *LOOSE} - {"config"},
    "compiled": {"learning", "preparation", "errors", "frames", "dates", "params", "values"},
    "serving": {
        *("compiled", "learning", "preparation", "release", "monitoring", *LOOSE, "locks"),
        "webhook",
    },
    "datasets": {
        *("learning", "release", "monitoring", "errors", "database", "provenance", "params"),
    },
    "orchestration": {"errors", "params", "config"},
    "hooks": ALL,
    "cli": ALL,
    "commands": ALL | {"serving"},
    "settings": {"hooks", "catalog"},
    "catalog": {"learning"},
    "runner": {"learning", "config", "errors", "params", "progress", "webhook"},
    "pipeline_registry": {"pipelines", "config"},
    "environment": set(),
    "errors": set(),
    "database": {"errors", "locks"},
    "locks": {"errors"},
    "provenance": set(),
    "webhook": {"errors"},
    "frames": set(),
    "params": {"errors"},
    "progress": {"learning", "webhook"},
    "dates": {"errors", "params"},
    "schemas": {"errors", "dates", "params", "values"},
    "values": set(),
    "config": {"errors", "params", "learning"},
}
"""Part of the package -> the other parts of it that it may import."""


def parts_imported(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Parts of our package that a module imports, at the top or inside of a function.

    Args:
        path: the module.
        package: names of the package it lies in, ``("ratchet", "hooks")``, for relative imports.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            names = [".".join([*stem, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "ratchet" and rest:
                yield rest.split(".")[0]


def breaches(src: Path) -> list[str]:
    """Imports that the table does not allow, and parts that it does not know."""
    found = []
    for path in sorted(src.rglob("*.py")):
        inside = path.relative_to(src)
        part = inside.parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        if part not in MAY_IMPORT:
            found.append(f"{inside}: add '{part}' to MAY_IMPORT")
            continue
        package = ("ratchet", *inside.parts[:-1])
        found += [
            f"{inside}: {part} may not import {other}"
            for other in parts_imported(path, package)
            if other != part and other not in MAY_IMPORT[part]
        ]
    return found


def test_imports_point_one_way():
    assert breaches(SRC) == []


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        (
            "learning/search.py",
            "import ratchet.pipelines.classical",
            "learning may not import pipe",
        ),
        ("learning/deep/x.py", "from ratchet import params", "learning may not import params"),
        ("learning/x.py", "def f():\n    from ratchet.errors import DataError", "import errors"),
        ("learning/x.py", "from ..errors import DataError", "learning may not import errors"),
        ("learning/x.py", "from .. import errors", "learning may not import errors"),
        ("pipelines/x/nodes.py", "from ratchet.serving.app import app", "may not import serving"),
        ("pipelines/x.py", "from ratchet.hooks import tracking", "may not import hooks"),
        ("release/gate.py", "import ratchet.pipelines as p", "release may not import pipelines"),
        ("monitoring/drift.py", "import ratchet.release", "monitoring may not import release"),
        ("serving/app.py", "from ratchet import pipelines", "serving may not import pipelines"),
        ("hooks/x.py", "import ratchet.serving", "hooks may not import serving"),
        ("cli.py", "from ratchet import serving", "cli may not import serving"),
        ("use_cases/films.py", "import ratchet.schemas", "use_cases may not import schemas"),
        ("new/x.py", "", "add 'new' to MAY_IMPORT"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, module, code, told):
    path = tmp_path / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)

    found = breaches(tmp_path)

    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("learning/x.py", "from ratchet.learning.search import run_search\nimport numpy"),
        ("learning/deep/x.py", "from ..search import run_search"),
        ("pipelines/x.py", "from ratchet.params import Target\nimport ratchet.learning.search"),
        ("cli.py", "from ratchet import pipelines, release"),
        ("__init__.py", ""),
    ],
)
def test_an_allowed_import_is_not_found(tmp_path, module, code):
    path = tmp_path / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)

    assert breaches(tmp_path) == []


HEAVY = ("pandas", "sklearn", "mlflow", "tensorflow", "xgboost", "matplotlib", "plotly")


def loaded_by(command: list[str], folder: Path, first: str = "") -> set[str]:
    """Heavy libraries in ``sys.modules`` after a kedro command.

    TensorFlow is there in name: an attempt to import it is seen even where it is not installed.
    """
    stub = folder / "stub" / "tensorflow" / "__init__.py"
    stub.parent.mkdir(parents=True)
    stub.touch()
    code = (
        f"import sys, atexit\n{first}\n"
        f"heavy = {HEAVY}\n"
        "atexit.register(lambda: print('LOADED', *[m for m in heavy if m in sys.modules]))\n"
        "from kedro.framework.cli.cli import main\n"
        f"sys.argv[1:] = {command}\n"
        "main()\n"
    )
    path = os.pathsep.join([str(stub.parents[1]), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_an_import_of_tensorflow_is_seen(project):
    assert loaded_by(["--version"], project, first="import tensorflow") == {"tensorflow"}


@pytest.mark.parametrize("command", [["--version"], ["registry", "list"]], ids=" ".join)
def test_commands_that_touch_no_data_load_nothing_heavy(project, command):
    assert loaded_by(command, project) == set()


@pytest.mark.slow
def test_a_classical_run_loads_no_tensorflow(project):
    command = ["run", "--env", "test", "--namespaces", "films", "--params", "as_of=1950-12-31"]
    pipelines = "understanding,preprocessing,classical"

    loaded = loaded_by([*command, "--pipelines", pipelines], project)

    assert "sklearn" in loaded  # the look works
    assert "tensorflow" not in loaded
