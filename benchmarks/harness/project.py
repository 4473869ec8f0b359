"""Projects in temporary folders, so that no benchmark touches the data of this one."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.measure import python

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path("data", "01_raw", "samples")


def copy_project(folder: Path) -> Path:
    """Our configuration, with data and tracking of its own."""
    if not (ROOT / SAMPLES).is_dir():
        raise SystemExit(f"{SAMPLES} is missing: make setup fetches the sample data")
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    # Kedro asks for the folder; the package itself is found through .venv.
    (folder / "src").mkdir()
    (folder / SAMPLES.parent).mkdir(parents=True)
    (folder / SAMPLES).symlink_to(ROOT / SAMPLES)
    return folder


def empty_project(folder: Path) -> Path:
    """What ``kedro new`` makes when asked for nothing."""
    options = {"--name": "empty", "--tools": "none", "--example": "no", "--telemetry": "no"}
    python("-m", "kedro", "new", *(part for pair in options.items() for part in pair), cwd=folder)
    return folder / "empty"
