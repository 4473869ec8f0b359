"""What is bundled: the chosen models, and the naive ones where nothing serves yet."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ratchet.config import Target, UseCase
from ratchet.modelling.calibrate_and_refit import refit
from ratchet.modelling.choice import best_naive


@dataclass(frozen=True)
class ReleaseCandidate:
    """Models of all targets that want to serve.

    Attributes:
        candidates: target -> name of the candidate.
        contents: what goes into the bundle, ``bundle.writer.BundleContents``.
    """

    candidates: Mapping[str, str]
    contents: Any


def release_candidates(
    use_case: UseCase, contents: Any, artefacts: Mapping[str, Any], *, first: bool
) -> list[ReleaseCandidate]:
    """Give the chosen models and, before anything serves, the best naive ones.

    The naive ones are judged after the chosen ones were not promoted: something has to serve, and
    what nothing beats may well do it.

    Args:
        use_case: the parameters.
        contents: a ``BundleContents`` without models, metrics and importance.
        artefacts: ``<target>/<artefact>``, see ``ARTEFACTS``, and ``<target>/<naive>/model``.
        first: whether nothing serves yet.
    """
    choices = {target: artefacts[f"{target}/choice"] for target in use_case.targets}
    chosen = {target: str(choice["best"]) for target, choice in choices.items()}
    naive = {
        target: best_naive(parameters, choices[target])
        for target, parameters in use_case.targets.items()
    }
    candidates = [_release_candidate(chosen, contents, artefacts)]
    if first and naive != chosen:
        candidates.append(_release_candidate(naive, contents, artefacts))
    return candidates


def _release_candidate(
    candidates: Mapping[str, str], contents: Any, artefacts: Mapping[str, Any]
) -> ReleaseCandidate:
    best = {target: artefacts[f"{target}/choice"]["best"] for target in candidates}

    def of(target: str, candidate: str) -> Any:
        name = "best_model" if candidate == best[target] else f"{candidate}/model"
        return artefacts[f"{target}/{name}"]

    return ReleaseCandidate(
        candidates,
        replace(
            contents,
            models={target: of(target, name) for target, name in candidates.items()},
            metrics={
                target: artefacts[f"{target}/scores"][name] for target, name in candidates.items()
            },
            importance={  # of the best models alone it was measured
                target: artefacts[f"{target}/importance"]
                for target, name in candidates.items()
                if name == best[target]
            },
        ),
    )


def refit_on_all(candidate: ReleaseCandidate, rows: Any, judged: Any) -> ReleaseCandidate:
    """A candidate whose models are fitted once more, with their scores and calibration as before.

    Args:
        candidate: what the gate has seen.
        rows: all rows whose truth is known: train, validation and test.
        judged: the ``Bundle`` that the gate has seen: test rows that are learned from now tell
            nothing of the new models, so that its scores on them stay.
    """
    targets = candidate.contents.use_case.targets
    models = {
        target: refit(model, rows, targets[target])
        for target, model in candidate.contents.models.items()
    }
    contents = replace(
        candidate.contents, models=models, metrics=judged.metrics, test_rows=judged.test_rows
    )
    return replace(candidate, contents=contents)


def folder_name() -> str:
    """A name for a new bundle that sorts by the time it was made."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def naive_rows(target: Target, choice: Mapping[str, Any], predictions: Any) -> Any:
    """Tidy test rows of the best naive candidate.

    Args:
        target: the target.
        choice: the choice among its candidates.
        predictions: tidy rows of every candidate on validation and test.
    """
    is_its = predictions["candidate"] == best_naive(target, choice)
    return predictions[is_its & (predictions["split"] == "test")]
