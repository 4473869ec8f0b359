"""The pipelines by name: one per phase, one per use case, and all of them as the default.

In a run of everything the monitoring comes first: it needs raw rows alone, and so the model that
serves has answered the new rows before another one is trained on them.
"""

from __future__ import annotations

from kedro.pipeline import Pipeline

from ratchet.config.loader import project_parameters, read_use_cases
from ratchet.pipelines import (
    classical,
    evaluation,
    monitoring,
    preprocessing,
    pricing,
    recurrent,
    release,
    reporting,
    status,
    understanding,
)

PHASES = {
    "understanding": understanding.create_pipeline,
    "preprocessing": preprocessing.create_pipeline,
    "classical": classical.create_pipeline,
    "recurrent": recurrent.create_pipeline,
    "evaluation": evaluation.create_pipeline,
    "pricing": pricing.create_pipeline,
    "reporting": reporting.create_pipeline,
    "release": release.create_pipeline,
    "monitoring": monitoring.create_pipeline,
}


def register_pipelines() -> dict[str, Pipeline]:
    """Build the phases of every use case found in the parameters.

    Returns:
        Phase or use case -> pipeline; ``__default__`` runs everything.
    """
    use_cases = read_use_cases(project_parameters())
    built = {
        name: {phase: create(name, use_case) for phase, create in PHASES.items()}
        for name, use_case in use_cases.items()
    }
    phases = {phase: Pipeline([parts[phase] for parts in built.values()]) for phase in PHASES}
    by_use_case = {name: Pipeline(list(parts.values())) for name, parts in built.items()}
    phases["status"] = status.create_pipeline(use_cases)
    return {**phases, **by_use_case, "__default__": Pipeline(list(phases.values()))}
