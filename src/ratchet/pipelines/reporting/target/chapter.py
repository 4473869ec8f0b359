"""The part of the report on one target."""

from __future__ import annotations

from ratchet.pipelines.reporting.case import Case
from ratchet.pipelines.reporting.classes import results as classes
from ratchet.pipelines.reporting.classes import use as classes_use
from ratchet.pipelines.reporting.page.blocks import Chapter, Text
from ratchet.pipelines.reporting.target import groups, harder, ranking, results, tried
from ratchet.pipelines.reporting.target.limits import findings
from ratchet.pipelines.reporting.values import results as values
from ratchet.pipelines.reporting.values import use as values_use


def target_chapter(case: Case) -> Chapter:
    """Describe search, result and use of one target."""
    by_task = classes if case.is_classes else values
    return Chapter(
        sections={
            "data": by_task.distribution(case),
            "tried": tried.tried(case),
            "results": [
                Text(results.headline(case)),
                ranking.explain(case),
                *results.objectives(case),
                *ranking.ranking(case),
                *(classes.per_class(case) if case.is_classes else values.errors(case)),
                *by_task.calibration(case),
                *groups.over_time(case),
                *groups.by_group(case),
                *harder.hard_blocks(case),
                *results.importance(case),
            ],
            "use": (classes_use if case.is_classes else values_use).use(case),
        },
        findings=findings(case),
        card=results.card(case),
    )
