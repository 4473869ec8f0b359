"""The private names of Kedro that this project uses are still there, and used in one module."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.io import AbstractVersionedDataset, DataCatalog
from kedro.runner import SequentialRunner
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset, ExcelDataset
from kedro_viz.integrations.kedro.run_hooks import PipelineRunStatusHook

from ratchet.kedro_private import READ_IN

SRC = Path(__file__).parents[1] / "src" / "ratchet"

METHODS: list[tuple[type, str, list[str]]] = [
    (KedroContext, "_get_catalog", ["self", "catalog_class", "save_version", "load_versions"]),
    (AbstractVersionedDataset, "_get_save_path", ["self"]),
    (SequentialRunner, "_run", ["self", "pipeline", "catalog", "hook_manager", "run_id"]),
    (SequentialRunner, "_suggest_resume_scenario", ["self", "pipeline", "done_nodes", "catalog"]),
    (OmegaConfigLoader, "_is_valid_config_path", ["self", "path"]),
    (OmegaConfigLoader, "_is_hidden", ["self", "path_str"]),
    (OmegaConfigLoader, "_get_conf_env_path", ["self", "env"]),
    (
        OmegaConfigLoader,
        "_read_dir_configs",
        [
            *("self", "conf_path", "patterns", "key", "processed_files"),
            "read_environment_variables",
        ],
    ),
    (PipelineRunStatusHook, "_add_event", ["self", "event", "flush"]),
]
ATTRIBUTES: dict[str, list[str]] = {
    "DataCatalog": ["_datasets", "_lazy_datasets"],
    "SequentialRunner": ["_is_async"],
    "OmegaConfigLoader": ["_fs", "_globals", "_protocol"],
    "PipelineRunStatusHook": [
        *("_all_nodes", "_current_dataset", "_current_node", "_current_operation", "_events"),
        "_should_collect_events",
    ],
    "CSVDataset": ["_filepath", "_protocol", "_version"],
    "ExcelDataset": ["_writer_args"],
    "MatplotlibDataset": ["_overwrite", "_fs_open_args_save"],
}


def gone(what: str) -> str:
    found = {package: version(package) for package in READ_IN}
    return (
        f"{what} is not what ratchet.kedro_private expects: it was read in {READ_IN}, installed is "
        f"{found}. Look for its successor in the new version, and change that module"
    )


@pytest.fixture
def objects(tmp_path) -> dict[str, Any]:
    file = str(tmp_path / "file")
    return {
        "DataCatalog": DataCatalog(),
        "SequentialRunner": SequentialRunner(),
        "OmegaConfigLoader": OmegaConfigLoader(conf_source=str(tmp_path)),
        "PipelineRunStatusHook": PipelineRunStatusHook(),
        "CSVDataset": CSVDataset(filepath=file),
        "ExcelDataset": ExcelDataset(filepath=f"{file}.xlsx"),
        "MatplotlibDataset": MatplotlibDataset(filepath=file),
    }


@pytest.mark.parametrize(("owner", "name", "expected"), METHODS, ids=str)
def test_a_private_method_is_there_and_takes_the_same(owner, name, expected):
    method = getattr(owner, name, None)
    parameters = [] if method is None else [*inspect.signature(method).parameters]

    assert parameters == expected, gone(f"{owner.__name__}.{name}")


@pytest.mark.parametrize("owner", ATTRIBUTES)
def test_private_attributes_are_there(owner, objects):
    missing = [name for name in ATTRIBUTES[owner] if not hasattr(objects[owner], name)]

    assert not missing, gone(f"{owner}: {missing}")


def test_a_session_has_its_hooks():
    assert "self._hook_manager = " in inspect.getsource(KedroSession), gone("_hook_manager")


def test_no_other_module_uses_a_private_name_of_kedro():
    names = {name for _, name, _ in METHODS} | {n for each in ATTRIBUTES.values() for n in each}
    # ``self._filepath`` of a dataset of ours is ours, and ``_run`` is what a runner has to have.
    used = re.compile(rf"(?<!self)\.(?:{'|'.join(sorted(names - {'_run'}))}|_hook_manager)\b")

    lines = [
        f"{path.relative_to(SRC)}: {line.strip()}"
        for path in sorted(SRC.rglob("*.py"))
        if path.name != "kedro_private.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if used.search(line)
    ]

    assert lines == []
