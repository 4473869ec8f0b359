"""Reporting: profile, predictions and scores -> report, workbook and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import (
    HISTORY_PREFIX,
    About,
    Data,
    Features,
    Inventory,
    Market,
    Release,
    Target,
    UseCase,
    plain,
    read_targets,
)
from ratchet.errors import ConfigError
from ratchet.frames import DataFrame
from ratchet.reports.blocks import Chapter
from ratchet.reports.chart_ids import MARKET, MARKET_CHARTS, data_charts, plot, target_charts
from ratchet.reports.phase_outputs import Choice, Judgement, Profile, Scores, Selection


def describe_data(
    profile: Profile,
    selection: Selection,
    primary: DataFrame,
    about: About,
    data: Data,
    features: Features,
    targets: Mapping[str, Any],
) -> Chapter:
    """Describe the question, the data and its preparation."""
    from ratchet.reports.data_chapter import data_chapter

    return data_chapter(profile, selection, primary, about, data, features, read_targets(targets))


def describe_target(
    primary: DataFrame,
    predictions: DataFrame,
    scores: Scores,
    choice: Choice,
    judgement: Judgement,
    importance: DataFrame,
    data: Data,
    features: Features,
    target: Target,
    targets: Mapping[str, Any],
    seed: int,
    inventory: Inventory | None = None,
    **others: Any,
) -> Chapter:
    """Describe the search, the results and the use of one target.

    Args:
        primary: all rows with their columns.
        predictions: predictions of every candidate on validation and test rows.
        scores: of every candidate.
        choice: the winner and why.
        judgement: the winner against baseline and objectives, on test rows.
        importance: of the sources of features, for the winner.
        data: key and time of the rows.
        features: columns that group the rows.
        target: what was predicted.
        targets: all targets, which say what this one is called.
        seed: of the intervals.
        inventory: how goods are ordered, where a forecast is used for that.
        others: tables, ``<candidate>_search`` for each of ``target.all_candidates``, and
            ``<search>_curves`` for each of ``target.networks``; and where parameters have it
            ``release``, what the gate asks of a new model.
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
        searches={name: others[f"{name}_search"] for name in target.all_candidates},
        curves={name: others[f"{name}_curves"] for name in target.networks},
        inventory=inventory,
        release=Release.model_validate(others.get("release", {})),
    )
    return target_chapter(results)


def describe_market(
    market: Market,
    recommendations: DataFrame,
    demand_book: Any,
    training_history: DataFrame,
    price_replay: DataFrame,
    replay_history: DataFrame,
) -> Chapter:
    """Describe what moves demand, which prices earn more, and the evidence for that.

    Args:
        market: the parameters.
        recommendations: a row per segment.
        demand_book: a ``learning.demand.book.DemandBook``.
        training_history: of the iterations on all rows.
        price_replay: earlier recommendations against later rows.
        replay_history: of the iterations on the first part.
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


def draw_plots(chapter: Chapter) -> dict[str, object]:
    """Specify the charts of a chapter.

    Returns:
        Name of the data set -> Vega-Lite specification.
    """
    from ratchet.reports.vega_lite import vega_lite

    return {plot(chart.name): vega_lite(chart) for chart in chapter.charts}


def describe_plots(**plots: Any) -> dict[str, str]:
    """Say what each plot shows, for pages and programs that offer them.

    Returns:
        Name of the plot -> its title.
    """
    return {name: " ".join(specification["title"]) for name, specification in plots.items()}


def draw_images(
    targets: Mapping[str, Any], data_chapter: Chapter, *chapters: Chapter
) -> dict[str, bytes]:
    """Draw all charts.

    Returns:
        Name of the file -> PNG.
    """
    from ratchet.reports.vega_lite import to_png, vega_lite

    return {
        f"{name}{'_' if name else ''}{chart.name}.png": to_png(vega_lite(chart))
        for name, chapter in {"": data_chapter, **_by_heading(targets, chapters)}.items()
        for chart in chapter.charts
    }


def write_tables(
    targets: Mapping[str, Any], data_chapter: Chapter, *chapters: Chapter
) -> dict[str, DataFrame]:
    """Put every table of the report into a sheet.

    Returns:
        Name of the sheet -> frame.
    """
    from ratchet.reports.workbook import workbook

    return workbook({"": data_chapter, **_by_heading(targets, chapters)})


def write_report(
    about: About, targets: Mapping[str, Any], data_chapter: Chapter, *chapters: Chapter
) -> str:
    """Write the report as one HTML file that needs nothing else."""
    from ratchet.reports.html import render

    return render(about, data_chapter, _by_heading(targets, chapters))


def _by_heading(targets: Mapping[str, Any], chapters: Sequence[Chapter]) -> dict[str, Chapter]:
    """Chapters of the targets in their order, and that of a market at the end."""
    headings = [*targets, *([MARKET] if len(chapters) > len(targets) else [])]
    return dict(zip(headings, chapters, strict=True))


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    by_target = [_target_pipeline(name, use_case, *item) for item in use_case.targets.items()]
    chapters = {f"{target}/chapter": f"{name}.{target}.chapter" for target in use_case.targets}
    if use_case.market:
        by_target.append(_market_pipeline(name))
        chapters[f"{MARKET}/chapter"] = f"{name}.{MARKET}.chapter"
    everything = ["params:targets", "data_chapter", *chapters]
    shown = {
        plot(f"{target}_{chart}"): f"{name}.{target}.{plot(chart)}"
        for target, parameters in use_case.targets.items()
        for chart in _charts(parameters, use_case)
    }
    if use_case.market:
        shown |= {
            plot(f"{MARKET}_{chart}"): f"{name}.{MARKET}.{plot(chart)}" for chart in MARKET_CHARTS
        }
    plots = [*map(plot, data_charts(use_case.data)), *shown]
    _check_files(name, use_case)
    together = Pipeline(
        [
            node(
                describe_data,
                inputs=[
                    "profile",
                    "selection",
                    "primary",
                    "params:about",
                    "params:data",
                    "params:features",
                    "params:targets",
                ],
                outputs="data_chapter",
                name="describe_data",
            ),
            _draw("data_chapter", data_charts(use_case.data)),
            node(
                describe_plots,
                inputs={each.removesuffix("_plot"): each for each in plots},
                outputs="plots",
                name="describe_plots",
            ),
            node(draw_images, inputs=everything, outputs="images", name="draw_images"),
            node(write_tables, inputs=everything, outputs="tables", name="write_tables"),
            node(
                write_report,
                inputs=["params:about", *everything],
                outputs="report",
                name="write_report",
            ),
        ],
        namespace=name,
        inputs={
            **{part: f"{name}.{part}" for part in ("profile", "selection", "primary")},
            **chapters,
            **shown,
        },
        tags="reporting",
    )
    return Pipeline([*by_target, together])


def _check_files(name: str, use_case: UseCase) -> None:
    """Make sure that no two plots are one file, as names of targets and charts put together can be.

    Raises:
        ConfigError: two are.
    """
    if use_case.market and MARKET in use_case.targets:
        raise ConfigError(
            f"parameter {name}.targets: '{MARKET}' is the name of the chapter on prices; call the "
            f"target otherwise"
        )
    plots = data_charts(use_case.data) + [
        f"{target}_{chart}"
        for target, parameters in use_case.targets.items()
        for chart in _charts(parameters, use_case)
    ]
    if twice := [one for one, n in Counter(map(str.casefold, plots)).items() if n > 1]:
        raise ConfigError(
            f"parameter {name}.targets: the plots {twice} would be drawn twice into one file; "
            f"call a target or network otherwise"
        )


def _market_pipeline(use_case: str) -> Pipeline:
    shared = {
        part: f"{use_case}.{part}"
        for part in (
            *("recommendations", "demand_book", "training_history"),
            *("price_replay", "replay_history"),
        )
    }
    return Pipeline(
        [
            node(
                describe_market,
                inputs=["params:market", *shared],
                outputs="chapter",
                name="describe_market",
            ),
            _draw("chapter", MARKET_CHARTS),
        ],
        namespace=f"{use_case}.{MARKET}",
        inputs=shared,
        outputs={"chapter": f"{use_case}.{MARKET}.chapter"},
        parameters={"params:market": f"params:{use_case}.market"},
        tags="reporting",
    )


def _charts(target: Target, use_case: UseCase) -> list[str]:
    parts = use_case.data, use_case.features, use_case.inventory, use_case.evaluation
    return target_charts(target, *parts)


def _draw(chapter: str, charts: list[str]):
    outputs = {plot(chart): plot(chart) for chart in charts}
    return node(draw_plots, inputs=chapter, outputs=outputs, name="draw_plots")


def _target_pipeline(use_case: str, parameters: UseCase, name: str, target: Target) -> Pipeline:
    tables = _tables(use_case, name, target)
    shared = {
        part: f"{use_case}.{name}.{part}"
        for part in ("predictions", "scores", "choice", "judgement", "importance")
    }
    settings = {
        "data": f"params:{use_case}.data",
        "features": f"params:{use_case}.features",
        "target": f"params:{use_case}.targets.{name}",
        "targets": f"params:{use_case}.targets",
        "seed": "params:seed",
    }
    if parameters.inventory:
        settings["inventory"] = f"params:{use_case}.inventory"
    # In the order of the function's arguments: by their place Kedro finds the types of parameters.
    inputs = {
        **{part: part for part in ("primary", *shared)},
        **{setting: f"params:{setting}" for setting in settings},
        **{table: table for table in tables},
    }
    if target.is_series and parameters.release != Release():  # last, as not all have it
        settings["release"] = f"params:{use_case}.release"
        inputs["release"] = "params:release"
    return Pipeline(
        [
            node(describe_target, inputs=inputs, outputs="chapter", name="describe_target"),
            _draw("chapter", _charts(target, parameters)),
        ],
        namespace=f"{use_case}.{name}",
        inputs={"primary": f"{use_case}.primary"} | shared | tables,
        outputs={"chapter": f"{use_case}.{name}.chapter"},
        parameters={f"params:{setting}": path for setting, path in settings.items()},
        tags="reporting",
    )


def _tables(use_case: str, name: str, target: Target) -> dict[str, str]:
    """Tables of the searches, and of the losses of networks by epoch: name -> data set."""
    return {
        **{f"{c}_search": f"{use_case}.{name}.{c}.search" for c in target.all_candidates},
        **{f"{n}_curves": f"{use_case}.{name}.{n}.curves" for n in target.networks},
    }
