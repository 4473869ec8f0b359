"""The notebooks run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
Execute = Callable[..., Any]


@pytest.fixture(scope="module")
def execute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Execute]:
    """Run a notebook in a project, with the interpreter of the tests as its kernel.

    All in one kernel, emptied before each notebook: to load Kedro and pandas takes seconds.
    """
    from ipykernel.kernelspec import write_kernel_spec
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebooks")
    write_kernel_spec(folder / "kernels" / "this")
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    kernel = AsyncKernelManager(kernel_name="this", kernel_spec_manager=specs)

    def run(path: Path, project: Path, use_case: str = "films") -> Any:
        notebook = nbformat.read(path, as_version=4)
        first_code(notebook).source = f'%reset -f\n%cd -q {project}\nuse_case = "{use_case}"'
        # Not allow_errors: Kedro prints tracebacks with rich, which leaves no output of type error.
        client = NotebookClient(notebook, km=kernel, timeout=300)
        return client.execute()

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KEDRO_ENV", "test")
        environment.delenv("MPLBACKEND", raising=False)  # plots are drawn into the notebook
        environment.setenv("IPYTHONDIR", str(folder / "ipython"))
        environment.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        yield run
    run_sync(kernel.shutdown_kernel)(now=True)


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


@pytest.fixture(scope="module")
def empty_project(
    tmp_path_factory: pytest.TempPathFactory, make_project: Callable[[Path], Path]
) -> Path:
    """A project in which nothing was run."""
    return make_project(tmp_path_factory.mktemp("empty"), ["films"])


@pytest.mark.slow
@every_notebook
def test_names_the_pipeline_to_run(notebook: Path, empty_project: Path, execute: Execute) -> None:
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError) as stopped:
        execute(notebook, empty_project)
    assert stopped.value.ename == "FileNotFoundError"
    assert re.search("has not been made yet.*ARGS='--pipelines [a-z]+ --", stopped.value.evalue)
