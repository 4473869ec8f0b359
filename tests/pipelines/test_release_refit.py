"""A promotion that was killed after the model was fitted once more does not fit it again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ratchet.pipelines.release import REFIT_OF, refit_promoted

JUDGED = {"version": "7", "bundle": "seen", "digest": "d7", "verdict": {"decision": "PROMOTE"}}


def again(folder: Any, **tags: str) -> list[dict[str, Any]]:
    """The verdicts; without a version that is known, the missing parameters stop it."""
    version = SimpleNamespace(number="8", bundle="fitted", folder=folder, tags=tags)
    registry = SimpleNamespace(versions=lambda name: [version])
    rows: dict[str, Any] = dict.fromkeys(
        ("typed", "primary", "features", "encoder", "train", "validation", "test")
    )
    return refit_promoted(registry, {}, "films", {}, None, [JUDGED], **rows)


def test_what_was_fitted_is_taken(tmp_path):
    (judged,) = again(tmp_path, **{REFIT_OF: "d7", "digest": "d8"})

    assert judged == {**JUDGED, "version": "8", "bundle": "fitted", "digest": "d8", "judged": "7"}
