"""Kedro hooks: what happens around a run, whatever runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class RunParams(TypedDict):
    """What Kedro passes to hooks about a run, as far as they use it."""

    run_id: str
    env: str | None
    pipeline_names: list[str] | None
    namespaces: list[str] | None
    runtime_params: Mapping[str, object]
    runner: str | None
