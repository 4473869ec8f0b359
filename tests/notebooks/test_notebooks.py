"""The notebooks run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
Execute = Callable[..., Any]


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Run a notebook in a project, with the interpreter of the tests as its kernel."""
    from ipykernel.kernelspec import write_kernel_spec
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    monkeypatch.setenv("KEDRO_ENV", "test")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # plots are drawn into the notebook
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    write_kernel_spec(tmp_path / "kernels" / "this")
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")])

    def run(path: Path, project: Path, use_case: str = "films") -> Any:
        notebook = nbformat.read(path, as_version=4)
        first_code(notebook).source = f'use_case = "{use_case}"'
        manager = AsyncKernelManager(kernel_name="this", kernel_spec_manager=specs)
        place = {"metadata": {"path": str(project)}}
        # Not allow_errors: Kedro prints tracebacks with rich, which leaves no output of type error.
        return NotebookClient(notebook, km=manager, resources=place, timeout=300).execute(
            cleanup_kc=True
        )

    return run


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def first_code(notebook: Any) -> Any:
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


def test_there_are_notebooks() -> None:
    phases = [path.stem.split("_")[0] for path in NOTEBOOKS]
    assert {"1", "2", "3", "4", "5"} <= set(phases)


@every_notebook
def test_is_committed_without_outputs(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    assert outputs(content) == []
    assert [cell.execution_count for cell in content.cells if cell.cell_type == "code"] == [
        None for cell in content.cells if cell.cell_type == "code"
    ]


@every_notebook
def test_asks_for_the_use_case_first(notebook: Path) -> None:
    assert first_code(nbformat.read(notebook, as_version=4)).source == 'use_case = "films"'


@pytest.mark.slow
@pytest.mark.parametrize("use_case", ["films", "power"])
@every_notebook
def test_runs(
    notebook: Path, use_case: str, execute: Execute, request: pytest.FixtureRequest
) -> None:
    executed = execute(notebook, request.getfixturevalue(f"{use_case}_project"), use_case)
    assert [o for o in outputs(executed) if o.output_type == "error"] == []
    images = [o for o in outputs(executed) if "image/png" in o.get("data", {})]
    assert images, "no plot was drawn"


@pytest.mark.slow
@every_notebook
def test_names_the_pipeline_to_run(notebook: Path, project: Path, execute: Execute) -> None:
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError) as stopped:
        execute(notebook, project)
    assert stopped.value.ename == "FileNotFoundError"
    assert re.search("has not been made yet.*ARGS='--pipelines [a-z]+ --", stopped.value.evalue)
