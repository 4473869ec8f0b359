"""The target and the metric by which it is decided which model serves."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.config import Release, Target, UseCase


def primary_metric(use_case: UseCase) -> tuple[str, str]:
    """Name the target that decides, and its metric."""
    name = primary_target(use_case.release, use_case.targets)
    return name, metric_of(use_case.release, use_case.targets, name)


def primary_target(release: Release, targets: Mapping[str, Target]) -> str:
    """Name the target that decides: the first one, unless another is named."""
    return release.target or next(iter(targets))


def metric_of(release: Release, targets: Mapping[str, Target], name: str) -> str:
    """Name the metric of a target: that of its search, unless it decides and another is named."""
    from ratchet.learning.metrics import from_scorer

    if name == primary_target(release, targets) and release.metric:
        return release.metric
    target = targets[name]
    return from_scorer(target.scorer, 0.0, target.task)[0]
