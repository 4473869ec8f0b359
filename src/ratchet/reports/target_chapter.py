"""The part of the report on one target."""

from __future__ import annotations

from ratchet.reports import errors_by_group, ranking
from ratchet.reports.blocks import Block, Chapter, Text
from ratchet.reports.chapters import results, search_summary, weak_segments
from ratchet.reports.classification import advice as classes_use
from ratchet.reports.classification import results as classes
from ratchet.reports.forecasting import advice as series_use
from ratchet.reports.forecasting.by_series import series_blocks
from ratchet.reports.forecasting.forecasts import forecast_blocks, residual_chart
from ratchet.reports.limitations import findings
from ratchet.reports.naive_forecasts import naive_blocks
from ratchet.reports.regression import advice as values_use
from ratchet.reports.regression import results as values
from ratchet.reports.search.analysis import analyses
from ratchet.reports.search.comparison import comparisons
from ratchet.reports.target_results import TargetResults


def target_chapter(case: TargetResults) -> Chapter:
    """Describe search, result and use of one target."""
    by_task = classes if case.is_classes else values
    use = classes_use if case.is_classes else series_use if case.is_series else values_use
    return Chapter(
        sections={
            "data": by_task.distribution(case),
            "tried": [*search_summary.tried(case), *analyses(case)],
            "results": [
                Text(results.headline(case)),
                ranking.explain(case),
                *results.objectives(case),
                *(naive_blocks(case) if case.is_series else []),
                *ranking.ranking(case),
                *comparisons(case),
                *_details(case),
                *by_task.calibration(case),
                *errors_by_group.over_time(case),
                *errors_by_group.by_group(case),
                *weak_segments.hard_blocks(case),
                *(series_blocks(case) if case.is_series else []),
                *results.importance(case),
            ],
            "use": use.use(case),
        },
        findings=findings(case),
        card=results.card(case),
    )


def _details(case: TargetResults) -> list[Block]:
    """Where the winner is right and wrong."""
    if case.is_classes:
        return classes.per_class(case)
    if case.is_series:
        return [*forecast_blocks(case), *values.errors(case), residual_chart(case)]
    return values.errors(case)
