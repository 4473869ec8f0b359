"""Too little memory: one message, and everything before it as it was."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

GIGABYTE = 10**9
ROWS = 80_000_000
TRACEBACK = "(kedro run --verbose shows the traceback)"
PHASES = "understanding,preprocessing,classical"


def run(project: Path, limit: float) -> subprocess.CompletedProcess[str]:
    """The real command, in a process that may take so many bytes of addresses."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))

    command = [sys.executable, "-m", "kedro", "run", "--env", "shop", "--pipelines", PHASES]
    return subprocess.run(
        command, cwd=project, preexec_fn=restrict, capture_output=True, text=True, check=False
    )


def files(project: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (project / "data").rglob("*")
        if path.is_file() and "samples" not in path.parts and path.stem != "shop"
    }


@pytest.fixture
def shop(project: Path, add_shop: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
    add_shop(project)
    (project / "conf/shop/mlflow.yml").write_text("enabled: false")
    return project


def test_a_limit_below_what_libraries_take_is_refused_at_once(shop):
    before = files(shop)

    done = run(shop, 0.9 * GIGABYTE)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: this process may take 0.9 GB of memory (ulimit -v), and")
    assert files(shop) == before


@pytest.mark.slow
def test_a_file_that_memory_does_not_hold_leaves_what_was_there(shop):
    assert run(shop, 20 * GIGABYTE).returncode == 0
    before = files(shop)
    assert [path for path in before if path.suffix == ".skops"]
    nothing = np.zeros(ROWS)  # a small file, of which each column takes 0.6 GB once it is read
    rows = pa.table(dict.fromkeys(("id", "size", "price"), nothing))
    pq.write_table(rows, shop / "data/01_raw/shop.parquet")
    catalog = shop / "conf/shop/catalog.yml"
    text = catalog.read_text().replace("CSV", "Parquet").replace("shop.csv", "shop.parquet")
    catalog.write_text(text)

    done = run(shop, 2 * GIGABYTE)

    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line]
    assert [line.partition(":")[0] for line in told] == ["Error", "file", TRACEBACK]
    assert "memory has run out" in told[0]
    assert files(shop) == before
