"""What modelling left of the candidates."""

from __future__ import annotations

from typing import Any

from ratchet.config import Target
from ratchet.errors import ConfigError
from ratchet.frames import DataFrame


def by_candidate(target: Target, fitted: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Models, searches and held-out predictions, each by candidate."""
    names = target.all_candidates
    starts = range(0, len(fitted), len(names))
    return [dict(zip(names, fitted[i : i + len(names)], strict=True)) for i in starts]


def fold_scores(search: DataFrame, target: Target) -> tuple[str, dict[str, float]]:
    """Our name of the search's metric, and its mean with the lowest and the highest fold.

    Raises:
        ConfigError: the search was made with another scoring.
    """
    from ratchet.learning.metrics import from_scorer

    best = search.iloc[0]
    check_unchanged(target, "scoring", found=best.get("scoring"), asked=target.scorer)
    folds = best[search.columns.str.fullmatch(r"split\d+_test_score")]
    values = [from_scorer(target.scorer, score, target.task)[1] for score in folds]
    name, mean = from_scorer(target.scorer, best["mean_test_score"], target.task)
    return name, {"value": mean, "low": min(values), "high": max(values)}


def check_unchanged(target: Target, name: str, *, found: Any, asked: Any) -> None:
    """Make sure that what was fitted, maybe in an earlier run, was fitted with a parameter."""
    if found != asked:
        raise ConfigError(
            f"parameter targets.<target of column '{target.column}'>.{name}: it is {asked}, but "
            f"the candidates were made with {found}; run the modelling pipelines again"
        )
