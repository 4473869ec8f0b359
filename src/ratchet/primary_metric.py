"""Primary target and metric of a use case, by which the gate decides which model serves."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.config import Release, Target, UseCase


def primary_metric(use_case: UseCase) -> tuple[str, str]:
    """Names of the primary target and of its metric."""
    name = primary_target(use_case.release, use_case.targets)
    return name, metric_of(use_case.release, use_case.targets, name)


def primary_target(release: Release, targets: Mapping[str, Target]) -> str:
    """Name of the primary target: the first one, unless ``release.target`` names another."""
    return release.target or next(iter(targets))


def metric_of(release: Release, targets: Mapping[str, Target], name: str) -> str:
    """Metric of a target: that of its search, or ``release.metric`` of the primary target."""
    from ratchet.learning.metrics import from_scorer

    if name == primary_target(release, targets) and release.metric:
        return release.metric
    target = targets[name]
    return from_scorer(target.scorer, 0.0, target.task)[0]
