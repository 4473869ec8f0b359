"""Profile, predictions and scores -> report, workbook and plots."""

from kedro.pipeline import Pipeline, node

from ratchet.params import Target, UseCase
from ratchet.pipelines.model_input import candidate_datasets
from ratchet.pipelines.reporting.names import data_charts, plot, target_charts
from ratchet.pipelines.reporting.nodes import (
    describe_data,
    describe_target,
    draw_images,
    draw_plots,
    write_report,
    write_tables,
)


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    by_target = [_target_pipeline(name, use_case, *item) for item in use_case.targets.items()]
    chapters = {f"{target}_chapter": f"{name}.{target}.chapter" for target in use_case.targets}
    everything = ["params:targets", "data_chapter", *chapters]
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
        inputs={part: f"{name}.{part}" for part in ("profile", "selection", "primary")} | chapters,
        tags="reporting",
    )
    return sum(by_target, Pipeline([])) + together


def _draw(chapter: str, charts: list[str]):
    outputs = {plot(chart): plot(chart) for chart in charts}
    return node(draw_plots, inputs=chapter, outputs=outputs, name="draw_plots")


def _target_pipeline(use_case: str, parameters: UseCase, name: str, target: Target) -> Pipeline:
    searches = {
        inside: outside
        for inside, outside in candidate_datasets(use_case, name, target.contenders).items()
        if inside.endswith("_search")
    }
    return Pipeline(
        [
            node(
                describe_target,
                inputs=[
                    "primary",
                    "predictions",
                    "scores",
                    "choice",
                    "judgement",
                    "importance",
                    "params:data",
                    "params:features",
                    "params:target",
                    "params:targets",
                    "params:seed",
                    *searches,
                ],
                outputs="chapter",
                name="describe_target",
            ),
            _draw("chapter", target_charts(target, parameters.data, parameters.features)),
        ],
        namespace=f"{use_case}.{name}",
        inputs={"primary": f"{use_case}.primary"}
        | {
            part: f"{use_case}.{name}.{part}"
            for part in ("predictions", "scores", "choice", "judgement", "importance")
        }
        | searches,
        outputs={"chapter": f"{use_case}.{name}.chapter"},
        parameters={
            "params:seed": "params:seed",
            "params:target": f"params:{use_case}.targets.{name}",
            "params:targets": f"params:{use_case}.targets",
            "params:data": f"params:{use_case}.data",
            "params:features": f"params:{use_case}.features",
        },
        tags="reporting",
    )
