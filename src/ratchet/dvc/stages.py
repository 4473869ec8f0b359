"""``dvc.yaml``: the phases of every use case as stages of DVC, and which code each one runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kedro.utils import load_obj

from ratchet.config import UseCase
from ratchet.dvc.parameters import ACTING, Configuration

if TYPE_CHECKING:
    from kedro.io import CatalogConfigResolver
    from kedro.pipeline import Pipeline

PYTHON = ".venv/bin/python"  # as a module, and not by .venv/bin/kedro: see the Makefile
ENV = "dvc"  # conf/local, which git does not have, would change results unseen
LIBRARIES = "requirements/run.txt"
RAW_ENTRIES = "conf/base/catalog/01_raw.yml"

_HEADER = """\
# Written by `kedro ratchet dvc` from the pipelines, the catalog and the parameters: do not edit.
# What it is for: docs/how-to/version-data-and-models.md

"""


@dataclass(frozen=True)
class Project:
    """What the stages are drawn from.

    Attributes:
        folder: the project folder.
        use_cases: name -> parameters.
        pipelines: use case -> phase -> pipeline.
        catalog: finds the entry of a dataset.
    """

    folder: Path
    use_cases: Mapping[str, UseCase]
    pipelines: Mapping[str, Mapping[str, Pipeline]]
    catalog: CatalogConfigResolver

    def entry(self, dataset: str) -> dict[str, Any]:
        """The catalog's entry of a dataset; empty without one."""
        return dict(self.catalog.resolve_pattern(dataset) or {})

    def paths(self, datasets: Iterable[str]) -> set[str]:
        """Files of those datasets that have one."""
        entries = map(self.entry, datasets)
        return {str(entry["filepath"]) for entry in entries if "filepath" in entry}


def dvc_text(project: Project) -> str:
    """The file ``dvc.yaml``, the same for the same project."""
    configuration = Configuration(project.folder)
    stages = {
        f"{phase}_{name}": _stage(project, configuration, phase, name)
        for name, pipelines in sorted(project.pipelines.items())
        for phase, pipeline in pipelines.items()
        if phase not in ACTING and pipeline.nodes
    }
    content = {"stages": stages, "plots": _pictures(project)}
    return _HEADER + yaml.safe_dump(content, sort_keys=False, width=100)


class _Keys(list[str]):
    """Keys of a file, on one line."""


yaml.SafeDumper.add_representer(
    _Keys,
    lambda dumper, keys: dumper.represent_sequence("tag:yaml.org,2002:seq", keys, flow_style=True),
)


def _stage(project: Project, configuration: Configuration, phase: str, name: str) -> dict[str, Any]:
    phases = project.pipelines[name].values()
    written = project.paths({dataset for each in phases for dataset in each.datasets()})
    pipeline, raw = project.pipelines[name][phase], f"{name}.raw"
    inputs = pipeline.inputs() & {raw}.union(*(each.all_outputs() for each in phases))
    outputs = pipeline.all_outputs()
    scores = {dataset for dataset in outputs if dataset.endswith(".best_scores")}
    parameters = [d.removeprefix("params:") for d in pipeline.inputs() if d.startswith("params:")]
    stage = {
        "desc": f"{project.use_cases[name].about.title}: {phase}",
        "cmd": f"{PYTHON} -m kedro run --env {ENV} --pipelines {phase} --namespaces {name}",
        "deps": [
            *_by_folder(project.paths(inputs), written, name),
            *([RAW_ENTRIES] if raw in inputs else []),
            *used_code(project.folder, _modules(project, phase, name)),
            LIBRARIES,
        ],
        "params": [
            {file: _Keys(keys)}
            for entry in configuration.tracked(parameters, raw if raw in inputs else None)
            for file, keys in entry.items()
        ],
        "outs": _by_folder(project.paths(outputs - scores), written, name),
    }
    if scores:  # which DVC compares, and git keeps
        stage["metrics"] = [{path: {"cache": False}} for path in sorted(project.paths(scores))]
    return stage


def _by_folder(paths: set[str], all_files: set[str], use_case: str) -> list[str]:
    """Files that a stage reads, or writes; a folder in place of all the files in it.

    Args:
        paths: the files.
        all_files: every file of the use case: DVC empties the folders that a stage writes.
        use_case: its name. Folders that others have files in are never taken.
    """
    result = set()
    for path in paths:
        place = path
        for folder in Path(path).parents:
            inside = {file for file in all_files if Path(file).is_relative_to(folder)}
            if use_case not in folder.parts or not inside <= paths:
                break
            place = folder.as_posix() if len(inside) > 1 else place
        result.add(place)
    return sorted(result)


def _pictures(project: Project) -> list[str]:
    """Folders of the pictures that ``dvc plots`` shows."""
    images = [f"{name}.images" for name in sorted(project.use_cases)]
    return sorted(project.paths(images))


def _modules(project: Project, phase: str, name: str) -> set[str]:
    """Modules in which the functions, datasets and derived columns of a phase are."""
    pipeline = project.pipelines[name][phase]
    modules = {f"ratchet.pipelines.{phase}.pipeline"}
    modules |= {node.func.__module__ for node in pipeline.nodes}
    if f"{name}.raw" in pipeline.inputs():  # which a hook has read by the contract
        modules.add("ratchet.datasets.raw")
    types = {str(project.entry(dataset).get("type")) for dataset in pipeline.datasets()}
    ours = {load_obj(kind) for kind in types if kind.startswith("ratchet.")}
    called = [derived.function for derived in project.use_cases[name].data.functions.values()]
    return modules | {kind.__module__ for kind in ours} | {f.rpartition(".")[0] for f in called}


def used_code(project: Path, modules: Iterable[str]) -> list[str]:
    """Packages of ours, and modules beside them, of which something is needed.

    Only the phases of ``pipelines`` count one by one: of another package the whole folder counts.

    Args:
        project: the project folder.
        modules: see ``used_modules``.

    Returns:
        Paths relative to the project, in order.
    """
    source = project / "src"
    files = used_modules(source, modules)
    paths = {_place(path.relative_to(source)) for path in files}
    return sorted(f"src/{place.as_posix()}" for place in paths if place is not None)


def used_modules(source: Path, modules: Iterable[str]) -> set[Path]:
    """Files of ours that some modules need, with their own.

    Imports inside of functions count, too.

    Args:
        source: the folder that contains our package.
        modules: dotted names; those of other packages are left out.
    """
    visited: set[Path] = set()
    to_read = [_file(source, module) for module in modules]
    while to_read:
        path = to_read.pop()
        if path is not None and path not in visited:
            visited.add(path)
            to_read += [_file(source, name) for name in _imported(source, path)]
    return visited


@cache
def _file(source: Path, name: str) -> Path | None:
    """The module that a dotted name leads to; it may go on with something inside of it."""
    parts = name.split(".")
    while parts[0] == "ratchet" and len(parts) > 1:
        stem = source.joinpath(*parts)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
        parts.pop()
    return None


@cache
def _imported(source: Path, path: Path) -> tuple[str, ...]:
    package = path.relative_to(source).parent.parts
    return tuple(_names(ast.parse(path.read_text(encoding="utf-8")), package))


def _names(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    """Dotted names of everything that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def _place(module: Path) -> Path | None:
    """Entry of the list that covers a module; None for the ``__init__.py`` above the packages."""
    path = Path(*module.parts[: 3 if module.parts[1] == "pipelines" else 2])
    return None if path.name == "__init__.py" else path
