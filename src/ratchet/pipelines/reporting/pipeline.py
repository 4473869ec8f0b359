"""Profile, predictions and scores -> report, workbook and plots."""

from collections import Counter

from kedro.pipeline import Pipeline, node

from ratchet.config import Target, UseCase
from ratchet.errors import ConfigError
from ratchet.pipelines.reporting.nodes import (
    describe_data,
    describe_market,
    describe_plots,
    describe_target,
    draw_images,
    draw_plots,
    write_report,
    write_tables,
)
from ratchet.reports.chart_ids import (
    MARKET,
    MARKET_CHARTS,
    data_charts,
    plot,
    target_charts,
)


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
    return target_charts(target, use_case.data, use_case.features, use_case.inventory)


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
