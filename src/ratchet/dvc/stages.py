"""``dvc.yaml``: the phases of every use case as stages of DVC, drawn from the pipelines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kedro.utils import load_obj

from ratchet.config import UseCase
from ratchet.dvc.parameters import ACTING, Configuration
from ratchet.dvc.used_code import used_code

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

    def path(self, dataset: str) -> str | None:
        """File of a dataset; None where it has none."""
        path = self.entry(dataset).get("filepath")
        return None if path is None else str(path)


def dvc_text(project: Project) -> str:
    """The file ``dvc.yaml``, the same for the same project."""
    configuration = Configuration(project.folder)
    stages = {
        f"{phase}_{name}": _stage(project, configuration, phase, name)
        for name, pipelines in sorted(project.pipelines.items())
        for phase, pipeline in pipelines.items()
        if phase not in ACTING and pipeline.nodes
    }
    return _HEADER + yaml.safe_dump({"stages": stages}, sort_keys=False, width=100)


def _stage(project: Project, configuration: Configuration, phase: str, name: str) -> dict[str, Any]:
    pipeline = project.pipelines[name][phase]
    raw = f"{name}.raw"
    files = {raw} | {d for each in project.pipelines[name].values() for d in _outputs(each)}
    inputs = [dataset for dataset in _data(pipeline.inputs()) if dataset in files]
    parameters = [d.removeprefix("params:") for d in pipeline.inputs() if d.startswith("params:")]
    code = used_code(project.folder, _modules(project, phase, name))
    return {
        "desc": f"{project.use_cases[name].about.title}: {phase}",
        "cmd": f"{PYTHON} -m kedro run --env {ENV} --pipelines {phase} --namespaces {name}",
        "deps": [
            *sorted(path for d in inputs if (path := project.path(d))),
            *([RAW_ENTRIES] if raw in inputs else []),
            *code,
            LIBRARIES,
        ],
        "params": configuration.tracked(parameters, raw if raw in inputs else None),
        **_results(project, pipeline),
    }


def _outputs(pipeline: Pipeline) -> set[str]:
    return {dataset for node in pipeline.nodes for dataset in node.outputs}


def _data(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("params:"))


def _results(project: Project, pipeline: Pipeline) -> dict[str, Any]:
    """Outputs as DVC tells them apart: files, scores that it compares, pictures that it shows."""
    result: dict[str, list[Any]] = {"outs": [], "metrics": [], "plots": []}
    for dataset in _data(_outputs(pipeline)):
        path = project.path(dataset)
        if path is None:
            continue
        if dataset.endswith(".best_scores"):
            result["metrics"].append({path: {"cache": False}})
        elif project.entry(dataset)["type"].endswith("MatplotlibDataset"):
            result["plots"].append(path)
        else:
            result["outs"].append(path)
    return {kind: paths for kind, paths in result.items() if paths}


def _modules(project: Project, phase: str, name: str) -> set[str]:
    """Modules in which the functions, datasets and derived columns of a phase are."""
    pipeline = project.pipelines[name][phase]
    modules = {f"ratchet.pipelines.{phase}.pipeline"}
    modules |= {node.func.__module__ for node in pipeline.nodes}
    if f"{name}.raw" in pipeline.inputs():  # which a hook has read by the contract
        modules.add("ratchet.datasets.raw")
    types = {str(project.entry(dataset).get("type")) for dataset in _data(pipeline.datasets())}
    ours = {load_obj(kind) for kind in types if kind.startswith("ratchet.")}
    called = [derived.function for derived in project.use_cases[name].data.functions.values()]
    return modules | {kind.__module__ for kind in ours} | {f.rpartition(".")[0] for f in called}
