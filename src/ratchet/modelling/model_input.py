"""Reading the model input: which columns are features, which rows have the target."""

from __future__ import annotations

from ratchet.config import TARGET_PREFIX, Target
from ratchet.frames import DataFrame, Series

CANDIDATE_NOUNS = ("model", "search", "held_out")
"""What modelling leaves of every candidate."""


def features_and_target(frame: DataFrame, target: Target) -> tuple[DataFrame, Series]:
    """Features and one target of the rows that have it.

    Args:
        frame: train, validation or test.
        target: the target; classes come as text, numbers as float.

    Returns:
        Features of shape (n, features) and targets of shape (n,), both indexed by the row key.
    """
    from ratchet.values import as_text

    column = f"{TARGET_PREFIX}{target.column}"
    rows = frame[frame[column].notna()]
    y = as_text(rows[column]) if target.is_classes else rows[column].astype(float)
    return rows.loc[:, ~rows.columns.str.startswith(TARGET_PREFIX)], y


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
