"""Nodes of reporting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet.config import (
    HISTORY_PREFIX,
    About,
    Data,
    Features,
    Inventory,
    Market,
    Target,
    plain,
    read_targets,
)
from ratchet.frames import DataFrame


def describe_data(
    profile: dict[str, Any],
    selection: dict[str, Any],
    primary: DataFrame,
    about: About,
    data: Data,
    features: Features,
    targets: dict[str, Any],
) -> Any:
    """Say what was asked, what the data is and what was done with it.

    Returns:
        A ``blocks.Chapter``.
    """
    from ratchet.reports.data_chapter import data_chapter

    return data_chapter(profile, selection, primary, about, data, features, read_targets(targets))


def describe_target(
    primary: DataFrame,
    predictions: DataFrame,
    scores: dict[str, Any],
    choice: dict[str, Any],
    judgement: dict[str, Any],
    importance: DataFrame,
    data: Data,
    features: Features,
    target: Target,
    targets: dict[str, Any],
    seed: int,
    inventory: Inventory | None = None,
    **tables: Any,
) -> Any:
    """Say what came out for one target, and what it can be used for.

    Args:
        primary: all rows with their columns.
        predictions: predictions of every candidate on validation and test rows.
        scores: candidate -> part -> metric -> value, low, high.
        choice: the winner and why.
        judgement: the winner against baseline and objectives, and details.
        importance: what the winner lives on.
        data: key and time of the rows.
        features: columns that group the rows.
        target: what was predicted.
        targets: all targets, to know what this one is called.
        seed: seed of the intervals.
        inventory: how goods are ordered, where a forecast is used for that.
        tables: ``<candidate>_search`` of ``target.all_candidates``, ``<search>_curves``
            of ``target.networks``.

    Returns:
        A ``blocks.Chapter``.
    """
    from ratchet.dates import on_clock
    from ratchet.reports.target_chapter import target_chapter
    from ratchet.reports.target_results import HISTORY, TargetResults

    if "time" in predictions:
        predictions = predictions.assign(time=on_clock(predictions["time"], data.timezone))
    results = TargetResults(
        name=next(name for name, other in read_targets(targets).items() if other == target),
        target=target,
        data=data,
        features=features,
        seed=seed,
        primary=primary.set_index(data.key),
        predictions=predictions,
        scores=scores,
        choice={**choice, **judgement},
        importance=importance.assign(
            source=importance["source"]
            .str.replace(f"^{HISTORY_PREFIX}", HISTORY, regex=True)
            .map(plain)
        ),
        searches={name: tables[f"{name}_search"] for name in target.all_candidates},
        curves={name: tables[f"{name}_curves"] for name in target.networks},
        inventory=inventory,
    )
    return target_chapter(results)


def describe_market(
    market: Market,
    recommendations: DataFrame,
    demand_book: Any,
    training_history: DataFrame,
    price_replay: DataFrame,
    replay_history: DataFrame,
) -> Any:
    """Say what moves demand, which prices earn more, and what speaks for that.

    Args:
        market: the parameters.
        recommendations: a row per segment.
        demand_book: what prices the segments.
        training_history: of the iterations on all rows.
        price_replay: earlier recommendations against later rows.
        replay_history: of the iterations on the first part.

    Returns:
        A ``blocks.Chapter``.
    """
    from ratchet.reports.market_chapter import MarketResults, market_chapter

    return market_chapter(
        MarketResults(
            market=market,
            prices=recommendations,
            book=demand_book,
            history=training_history,
            replay=price_replay,
            replay_history=replay_history,
        )
    )


def draw_plots(chapter: Any) -> dict[str, Any]:
    """Specify the charts of a chapter.

    Returns:
        Name of the data set -> Vega-Lite specification.
    """
    from ratchet.reports.chart_ids import plot
    from ratchet.reports.vega_lite import vega_lite

    return {plot(chart.name): vega_lite(chart) for chart in chapter.charts}


def describe_plots(**plots: Any) -> dict[str, str]:
    """Say what each plot shows, for pages and programs that offer them.

    Returns:
        Name of the plot -> its title.
    """
    return {name: " ".join(specification["title"]) for name, specification in plots.items()}


def draw_images(targets: dict[str, Any], data_chapter: Any, *chapters: Any) -> dict[str, bytes]:
    """Draw all charts.

    Returns:
        Name of the file -> PNG.
    """
    from ratchet.reports.vega_lite import to_png, vega_lite

    named = {"": data_chapter, **_by_heading(targets, chapters)}
    return {
        f"{name}{'_' if name else ''}{chart.name}.png": to_png(vega_lite(chart))
        for name, chapter in named.items()
        for chart in chapter.charts
    }


def write_tables(targets: dict[str, Any], data_chapter: Any, *chapters: Any) -> dict[str, Any]:
    """Put every table of the report into a sheet.

    Returns:
        Name of the sheet -> frame.
    """
    from ratchet.reports.workbook import workbook

    return workbook({"": data_chapter, **_by_heading(targets, chapters)})


def write_report(about: About, targets: dict[str, Any], data_chapter: Any, *chapters: Any) -> str:
    """Write the report as one HTML file that needs nothing else."""
    from ratchet.reports.html import render

    return render(about, data_chapter, _by_heading(targets, chapters))


def _by_heading(targets: dict[str, Any], chapters: Sequence[Any]) -> dict[str, Any]:
    """Chapters of the targets in their order, and that of a market at the end."""
    from ratchet.reports.chart_ids import MARKET

    headings = [*targets, *([MARKET] if len(chapters) > len(targets) else [])]
    return dict(zip(headings, chapters, strict=True))
