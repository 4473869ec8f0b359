"""The part of the report on one target."""

from __future__ import annotations

from ratchet.pipelines.reporting.case import Case
from ratchet.pipelines.reporting.classes import results as classes
from ratchet.pipelines.reporting.classes import use as classes_use
from ratchet.pipelines.reporting.page.blocks import Block, Chapter, Text
from ratchet.pipelines.reporting.search.analysis import analyses
from ratchet.pipelines.reporting.search.comparison import comparisons
from ratchet.pipelines.reporting.series import use as series_use
from ratchet.pipelines.reporting.series.by_series import series_blocks
from ratchet.pipelines.reporting.series.forecasts import forecast_blocks, residual_chart
from ratchet.pipelines.reporting.series.naive import naive_blocks
from ratchet.pipelines.reporting.target import groups, harder, ranking, results, tried
from ratchet.pipelines.reporting.target.limits import findings
from ratchet.pipelines.reporting.values import results as values
from ratchet.pipelines.reporting.values import use as values_use


def target_chapter(case: Case) -> Chapter:
    """Describe search, result and use of one target."""
    by_task = classes if case.is_classes else values
    use = classes_use if case.is_classes else series_use if case.is_series else values_use
    return Chapter(
        sections={
            "data": by_task.distribution(case),
            "tried": [*tried.tried(case), *analyses(case)],
            "results": [
                Text(results.headline(case)),
                ranking.explain(case),
                *results.objectives(case),
                *(naive_blocks(case) if case.is_series else []),
                *ranking.ranking(case),
                *comparisons(case),
                *_details(case),
                *by_task.calibration(case),
                *groups.over_time(case),
                *groups.by_group(case),
                *harder.hard_blocks(case),
                *(series_blocks(case) if case.is_series else []),
                *results.importance(case),
            ],
            "use": use.use(case),
        },
        findings=findings(case),
        card=results.card(case),
    )


def _details(case: Case) -> list[Block]:
    """Where the winner is right and wrong."""
    if case.is_classes:
        return classes.per_class(case)
    if case.is_series:
        return [*forecast_blocks(case), *values.errors(case), residual_chart(case)]
    return values.errors(case)
