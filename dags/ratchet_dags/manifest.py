"""The manifest that the DAGs are drawn from; ``kedro ratchet manifest`` writes it."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
MANIFEST = "RATCHET_MANIFEST"
"""Environment variable that names another manifest, for tests."""

FORMAT = 1


@cache
def manifest() -> dict[str, Any]:
    """Read it once in a process."""
    path = Path(os.environ.get(MANIFEST) or PROJECT / "dags" / "manifest.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path}: expected format {FORMAT}, found {content['format']}; "
            f"write it anew with `kedro ratchet manifest`"
        )
    return content
