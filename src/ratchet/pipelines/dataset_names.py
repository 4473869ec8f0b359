"""Names of datasets that several phases share."""

from __future__ import annotations

from ratchet.config import UseCase

CANDIDATE_NOUNS = ("model", "search", "held_out")
"""What modelling leaves of every candidate."""


def candidate_datasets(use_case: str, target: str, candidates: list[str]) -> dict[str, str]:
    """Models of some candidates, their searches and held-out predictions, in this order.

    Returns:
        Name inside of a pipeline, with a sign that no candidate has in its name -> name in the
        catalog.
    """
    return {
        f"{candidate}/{noun}": f"{use_case}.{target}.{candidate}.{noun}"
        for noun in CANDIDATE_NOUNS
        for candidate in candidates
    }


ARTEFACTS = ("best_model", "choice", "scores", "importance")
"""What evaluation leaves of every target."""


def artefact_datasets(name: str, use_case: UseCase) -> dict[str, str]:
    """Where the artefacts of ``release_candidates`` are.

    Args:
        name: name of the use case.
        use_case: the parameters.

    Returns:
        Name of the artefact -> dataset.
    """
    datasets: dict[str, str] = {}
    for target, parameters in use_case.targets.items():
        datasets |= {f"{target}/{noun}": f"{name}.{target}.{noun}" for noun in ARTEFACTS}
        datasets |= {
            f"{target}/{candidate}/model": f"{name}.{target}.{candidate}.model"
            for candidate in parameters.naive_candidates
        }
    return datasets
