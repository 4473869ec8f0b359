"""Who may import whom, and what no command may load at start-up."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "ratchet"

SHARED = {
    *("config", "errors", "frames", "dates", "values", "progress", "database", "provenance"),
    *("locks", "primary_metric", "json_values"),
}
"""Modules at the root, and the parameters: they name things for everybody."""

DOMAIN = {
    *("learning", "preparation", "compiled", "modelling", "bundle", "registry", "gate"),
    *("monitoring", "production", "reports", "dvc"),
}
"""What Ratchet computes and decides, without Kedro."""

ALL = {
    *(SHARED | DOMAIN),
    *("airflow", "catalog", "cli", "commands", "config.checks", "config.loader", "datasets"),
    *("environment_checks", "hooks", "ingest", "kedro_private", "pipeline_registry", "pipelines"),
    *("project_context", "replay", "reproducibility", "runner", "sandbox", "search_job"),
    *("settings", "use_cases", "webhook"),
}
"""Everything but ``serving``, which only its command imports."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "frames": set(),
    "values": set(),
    "provenance": set(),
    "json_values": set(),
    "environment_checks": set(),
    "locks": {"errors"},
    "webhook": {"errors"},
    "database": {"errors", "locks"},
    "dates": {"errors", "config"},
    "config": {"errors"},
    "config.loader": {"errors", "config"},
    "config.checks": {"errors", "config", "learning"},
    "progress": {"learning", "webhook"},
    "learning": {"provenance"},
    "use_cases": {"learning"},
    "preparation": {"learning", "errors", "frames", "dates", "config", "values"},
    "compiled": {"learning", "preparation", "errors", "frames", "dates", "config", "values"},
    "modelling": {"learning", *SHARED},
    "primary_metric": {"learning", "config"},
    "gate": {"learning", "config", "primary_metric", "json_values"},
    "bundle": {
        *("learning", "preparation", "compiled", "primary_metric", "json_values", "provenance"),
        *("errors", "frames", "dates", "config", "values"),
    },
    "registry": {"learning", "bundle", "errors", "database", "locks", "json_values"},
    "monitoring": {
        *("learning", "errors", "frames", "dates", "config", "database", "values"),
        "json_values",
    },
    "production": {
        *("learning", "preparation", "modelling", "bundle", "registry", "gate", "monitoring"),
        *(
            "config",
            "errors",
            "dates",
            "frames",
            "values",
            "primary_metric",
            "database",
            "json_values",
        ),
    },
    "dvc": {"learning", "bundle", "registry", "config", "errors", "locks"},
    "reports": {
        *("learning", "preparation", "modelling", "bundle", "registry", "gate", "monitoring"),
        *("production", *SHARED),
    },
    "pipelines": DOMAIN | SHARED,
    "replay": DOMAIN | SHARED | {"config.checks", "config.loader", "pipelines", "project_context"},
    "airflow": {"errors", "config", "config.loader"},
    "serving": {
        *("compiled", "learning", "preparation", "bundle", "registry", "gate", "monitoring"),
        *("config.loader", "webhook", *SHARED),
    },
    "datasets": {
        *("learning", "registry", "monitoring", "errors", "database", "provenance", "config"),
    },
    "project_context": {"config", "config.loader", "datasets", "errors", "registry"},
    "runner": {
        "learning",
        "kedro_private",
        "config",
        "config.loader",
        "errors",
        "progress",
        "webhook",
    },
    "catalog": {"learning", "kedro_private"},
    "kedro_private": set(),
    "pipeline_registry": {"pipelines", "config", "config.loader"},
    "sandbox": {"errors", "learning"},
    "ingest": {
        *("config", "config.loader", "datasets", "errors", "learning", "preparation"),
        "project_context",
    },
    "reproducibility": {
        *("config.loader", "database", "datasets", "errors", "json_values", "learning"),
        *("monitoring", "project_context", "provenance", "sandbox"),
    },
    "settings": {"config", "hooks", "catalog"},
    "search_job": DOMAIN
    | SHARED
    | {"config.loader", "pipelines", "project_context", "sandbox", "serving"},
    "hooks": ALL,
    "cli": ALL,
    "commands": ALL | {"serving"},
}
"""Part of the package -> the other parts of it that it may import."""


def modules_imported(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Dotted names that a module imports, at the top or inside of a function.

    Args:
        path: the module.
        package: names of the package it lies in, ``("ratchet", "hooks")``, for relative imports.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*stem, alias.name]) for alias in node.names)


def parts_imported(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Parts of our package that a module imports; arguments as of ``modules_imported``."""
    for name in modules_imported(path, package):
        first, _, rest = name.partition(".")
        if first == "ratchet" and rest:
            yield part_of(rest)


def part_of(name: str) -> str:
    """Part that a module belongs to: a package or module at the root, or a module of ``config``."""
    module = ".".join(name.split(".")[:2])
    return module if module in MAY_IMPORT else module.partition(".")[0]


def breaches(src: Path) -> list[str]:
    """Imports that the table does not allow, and parts that it does not know."""
    found = []
    for path in sorted(src.rglob("*.py")):
        inside = path.relative_to(src)
        part = part_of(".".join(inside.with_suffix("").parts))
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
        ("learning/deep/x.py", "from ratchet import config", "learning may not import config"),
        ("learning/x.py", "def f():\n    from ratchet.errors import DataError", "import errors"),
        ("learning/x.py", "from ..errors import DataError", "learning may not import errors"),
        ("learning/x.py", "from .. import errors", "learning may not import errors"),
        ("pipelines/x/nodes.py", "from ratchet.serving.app import app", "may not import serving"),
        ("pipelines/x.py", "from ratchet.hooks import tracking", "may not import hooks"),
        ("gate/verdict.py", "import ratchet.pipelines as p", "gate may not import pipelines"),
        ("monitoring/drift.py", "import ratchet.registry", "monitoring may not import registry"),
        ("serving/app.py", "from ratchet import pipelines", "serving may not import pipelines"),
        ("hooks/x.py", "import ratchet.serving", "hooks may not import serving"),
        ("cli.py", "from ratchet import serving", "cli may not import serving"),
        (
            "use_cases/films.py",
            "import ratchet.preparation.raw_schema",
            "use_cases may not import preparation",
        ),
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
        ("pipelines/x.py", "from ratchet.config import Target\nimport ratchet.learning.search"),
        ("cli.py", "from ratchet import pipelines, registry"),
        ("__init__.py", ""),
    ],
)
def test_an_allowed_import_is_not_found(tmp_path, module, code):
    path = tmp_path / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)

    assert breaches(tmp_path) == []


def cycle_between_files(src: Path) -> list[str]:
    """Files that import each other in a circle, the first one named again last; empty for none."""
    names = {
        path: ("ratchet", *path.relative_to(src).with_suffix("").parts)
        for path in src.rglob("*.py")
    }
    modules = {".".join(n[:-1] if n[-1] == "__init__" else n): path for path, n in names.items()}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        imported = modules_imported(path, names[path][:-1])
        # ``from package import name``: a module of the package, or what its ``__init__`` holds.
        targets = {n if n in modules else n.rpartition(".")[0] for n in imported}
        imports[module] = {name for name in targets if name in modules and name != module}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other():
    assert cycle_between_files(SRC) == []


@pytest.mark.parametrize(
    ("files", "cycle"),
    [
        ({"a": "from ratchet.b import f", "b": "def f():\n    import ratchet.a"}, {"a", "b"}),
        (
            {"a": "from ratchet import b", "b": "from .c import f", "c": "import ratchet.a"},
            {*"abc"},
        ),
        ({"p/__init__": "from ratchet.p.a import f", "p/a": "from . import f"}, {"p", "p.a"}),
        ({"p/__init__": "from ratchet.p.a import f", "p/a": "from . import b", "p/b": ""}, set()),
        ({"a": "from ratchet.b import f", "b": "import ratchet.c", "c": "import numpy"}, set()),
    ],
)
def test_a_cycle_is_found(tmp_path, files, cycle):
    for name, code in files.items():
        path = (tmp_path / name).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)

    assert set(cycle_between_files(tmp_path)) == {f"ratchet.{name}" for name in cycle}


HEAVY = (
    *("pandas", "sklearn", "mlflow", "tensorflow", "xgboost", "matplotlib", "vl_convert"),
    *("sqlalchemy", "kedro_viz.integrations"),
)


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


def test_help_of_no_command_loads_models_or_data():
    code = f"""
import sys
from click.testing import CliRunner
from ratchet.commands import COMMANDS, RENAMED, ratchet
loaded = {{}}
for name in (*COMMANDS, *RENAMED):
    result = CliRunner().invoke(ratchet, [name, "--help"])
    assert "Usage:" in result.output, (name, result.output)
    for module in {[name for name in HEAVY if name != "sqlalchemy"]}:
        if module in sys.modules:
            loaded.setdefault(module, name)
print(*(f"{{module}} by {{name}}" for module, name in loaded.items()), sep=chr(10))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split("\n") == ["", ""]


@pytest.mark.slow
def test_a_classical_run_loads_no_tensorflow(project):
    command = ["run", "--env", "test", "--namespaces", "films", "--params", "as_of=1950-12-31"]
    pipelines = "understanding,preprocessing,classical"

    loaded = loaded_by([*command, "--pipelines", pipelines], project)

    assert "sklearn" in loaded  # the look works
    assert "tensorflow" not in loaded
