"""The table at the end says what came out."""

from __future__ import annotations

from pathlib import Path

from ratchet.hooks.summary import COLUMNS, SummaryHooks, summary_rows


def score(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


EVALUATION = {
    "best": {"success": "stack", "rating": "ridge"},
    "metric": {"success": "log_loss", "rating": "rmse"},
    "baseline": {
        "success": {"test": {"log_loss": score(0.9)}},
        "rating": {"test": {"rmse": score(0.7)}},
    },
    "objectives": {
        "success": {"accuracy": {**score(0.8), "aim": 0.75, "met": True}},
        "rating": {
            "r2": {**score(0.36), "aim": 0.6, "met": False},
            "rmse": {**score(0.5), "aim": 0.4, "met": False},
        },
    },
}
METRICS = {
    "success": {"stack": {"cv": {"log_loss": score(0.5)}, "test": {"log_loss": score(0.45678)}}},
    "rating": {"ridge": {"cv": {"rmse": score(0.55)}, "test": {"rmse": score(0.5)}}},
}


def test_a_row_per_target():
    rows = list(summary_rows("films", EVALUATION, METRICS))

    assert rows == [
        (
            *("films", "success", "stack", "log_loss", "0.500", "0.457", "0.900"),
            "accuracy 0.800, aim 0.75: met",
        ),
        (
            *("films", "rating", "ridge", "rmse", "0.550", "0.500", "0.700"),
            "r2 0.360, aim 0.6: not met\nrmse 0.500, aim 0.4: not met",
        ),
    ]
    assert {len(row) for row in rows} == {len(COLUMNS)}


class Node:
    def __init__(self, *outputs: str) -> None:
        self.outputs = outputs


class Pipeline:
    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes


class Catalog:
    """Two results and a report."""

    def __init__(self, project: Path) -> None:
        self._filepath = project / "data/08_reporting/films/report.html"

    def load(self, name: str):
        return {"films.evaluation": EVALUATION, "films.metrics": METRICS}[name]

    def get(self, name: str):
        return self


class Context:
    def __init__(self, project: Path) -> None:
        self.project_path = project


def shown(tmp_path, capsys, *nodes: Node) -> str:
    hooks = SummaryHooks()
    hooks.after_context_created(Context(tmp_path))
    hooks.after_pipeline_run(Pipeline(*nodes), Catalog(tmp_path))
    return capsys.readouterr().out


def test_table_and_report_of_a_whole_run(tmp_path, capsys):
    text = shown(tmp_path, capsys, Node("films.evaluation", "films.metrics"), Node("films.report"))

    assert all(column in text for column in COLUMNS)
    assert "stack" in text
    assert "accuracy 0.800, aim 0.75: met" in text  # the width of a log is enough
    assert "Report: data/08_reporting/films/report.html" in text


def test_nothing_is_said_of_what_did_not_run(tmp_path, capsys):
    assert shown(tmp_path, capsys, Node("films.typed")) == ""
    assert "Report" not in shown(tmp_path, capsys, Node("films.evaluation"))
