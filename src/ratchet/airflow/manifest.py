"""The manifest: everything that Airflow has to know of the use cases, without importing them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ratchet.airflow.config import AirflowSettings
from ratchet.config import Target, UseCase

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

FORMAT = 1
"""Layout of the manifest; the DAGs refuse any other."""

RETRAINING = (
    *("understanding", "preprocessing", "classical", "recurrent", "evaluation"),
    *("pricing", "release", "reporting"),
)
"""Phases of a retraining, in their order."""

FILES = ("report", "verdicts", "watch")
"""Datasets of every use case whose files the DAGs name."""

_JUDGED = "judge_challengers"
_AFTER = ("refit_promoted", "release_challengers")


def build_manifest(
    settings: AirflowSettings,
    use_cases: Mapping[str, UseCase],
    pipelines: Mapping[str, Pipeline],
    catalog: Mapping[str, str],
) -> dict[str, object]:
    """Gather what the DAGs are drawn from.

    Args:
        settings: ``airflow.yml``.
        use_cases: name -> parameters.
        pipelines: phase -> pipeline of all use cases.
        catalog: pattern of a dataset -> its file, relative to the project.

    Returns:
        Values that JSON knows, the same for the same project.
    """
    nodes = {phase: _nodes(pipelines[phase]) for phase in (*RETRAINING, "monitoring")}
    return {
        "format": FORMAT,
        "timezone": settings.timezone,
        "runner": settings.runner.model_dump(mode="json"),
        "mlflow_url": settings.mlflow_url,
        "defaults": settings.defaults.model_dump(mode="json"),
        "use_cases": {
            name: {
                **_about(use_case),
                "time": use_case.data.time is not None,
                "landing": use_case.landing is not None and use_case.landing.source is not None,
                "job": settings.job(name).model_dump(mode="json"),
                "phases": {phase: of[name] for phase, of in nodes.items() if name in of},
                "gate": _gate(name, nodes["release"][name]),
                "targets": {
                    target: _candidates(result) for target, result in use_case.targets.items()
                },
                "files": {
                    noun: catalog[f"{{use_case}}.{noun}"].replace("{use_case}", name)
                    for noun in FILES
                },
            }
            for name, use_case in sorted(use_cases.items())  # files are read in any order
        },
    }


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """The manifest as it is written."""
    return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def _about(use_case: UseCase) -> dict[str, str]:
    about = use_case.about
    words = {
        name: " ".join(getattr(about, name).split()) for name in ("question", "goal", "source")
    }
    return {"title": about.title, **words}


def _nodes(phase: Pipeline) -> dict[str, list[str]]:
    """Use case -> its nodes in a phase, in order; those without any are left out."""
    nodes: dict[str, list[str]] = {}
    for node in phase.nodes:
        nodes.setdefault((node.namespace or "").partition(".")[0], []).append(node.name)
    return nodes


def _gate(name: str, release: Collection[str]) -> dict[str, str]:
    """The node that ends the judging, and the one that the rest of the release begins with."""
    after = next(f"{name}.{node}" for node in _AFTER if f"{name}.{node}" in release)
    return {"until": f"{name}.{_JUDGED}", "after": after}


def _candidates(target: Target) -> dict[str, list[str]]:
    """What may be chosen from: naive candidates are always there."""
    return {"candidates": target.trained_candidates, "networks": list(target.networks)}
