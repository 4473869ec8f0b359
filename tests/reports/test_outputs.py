"""Report, workbook and pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ratchet.pipelines.reporting import (
    create_pipeline,
    describe_plots,
    draw_images,
    draw_plots,
    write_report,
    write_tables,
)
from ratchet.reports.blocks import Chapter, Table
from ratchet.reports.data_chapter import data_chapter
from ratchet.reports.target_chapter import target_chapter
from ratchet.reports.target_results import TargetResults
from ratchet.reports.workbook import workbook


@pytest.fixture(scope="module")
def chapters(
    use_case: Any, data_inputs: dict[str, Any], make_results: Callable[..., TargetResults]
) -> dict[str, Any]:
    parts = use_case()
    about = data_chapter(
        **data_inputs,
        about=parts.about,
        data=parts.data,
        features=parts.features,
        targets=parts.targets,
    )
    by_target = [target_chapter(make_results(name)) for name in parts.targets]
    return {"use_case": parts, "all": (about, *by_target)}


class _Outside(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data") and value:
                self.fetched.append(value)


def test_report_needs_nothing_else(chapters: dict[str, Any]) -> None:
    parts = chapters["use_case"]
    html = write_report(parts.about, parts.targets, *chapters["all"])
    parser = _Outside()
    parser.feed(html)
    assert all(link.startswith(("#", "data:")) for link in parser.fetched)
    assert "link" not in {*parser.tags} - {"link"}
    styles = re.findall(r"(?s)<style>(.*?)</style>", html)
    assert not re.search(r"url\(|@import", "".join(styles))
    assert html.count("window.vegaEmbed=") == 1
    assert html.count("data-chart=") == sum(len(c.charts) for c in chapters["all"])
    ids = re.findall(r'\sid="([^"]+)"', re.sub(r"(?s)<script.*?</script>", "", html))
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in parser.fetched if link.startswith("#")} <= set(ids)


def test_users_words_are_escaped(chapters: dict[str, Any]) -> None:
    parts = chapters["use_case"]
    html = write_report(parts.about, parts.targets, *chapters["all"])
    assert "<h1>Things &lt;made up&gt;</h1>" in html
    assert "&lt;b&gt;" in html  # names of rows
    assert "<b>" not in re.sub(r"(?s)<script.*?</script>", "", html)


def test_workbook_can_be_read_back(chapters: dict[str, Any], tmp_path: Path) -> None:
    from kedro_datasets.pandas import ExcelDataset

    sheets = write_tables(chapters["use_case"].targets, *chapters["all"])
    dataset = ExcelDataset(
        filepath=str(tmp_path / "tables.xlsx"),
        load_args={"sheet_name": None, "engine": "openpyxl"},
        save_args={"index": False},
    )
    dataset.save(sheets)
    loaded = dataset.load()
    assert list(loaded) == list(sheets)
    assert {name: len(frame) for name, frame in loaded.items()} == {
        name: len(frame) for name, frame in sheets.items()
    }
    assert loaded["grade borderline"]["name"].str.startswith("'=Thing").all()
    scores = loaded["grade scores"].set_index("candidate")
    assert scores.loc["stack", "accuracy"] == pytest.approx(sheets["grade scores"]["accuracy"][0])


def test_sheets_have_names_that_a_spreadsheet_takes() -> None:
    frame = pd.DataFrame({"a": ["\x07bell"]})
    tables = [Table(name, "", frame) for name in ("x" * 40, "X" * 40, "a/b:c")]
    sheets = workbook({"long": Chapter({"data": [*tables]})})
    assert all(len(name) <= 31 and not re.search(r"[\[\]:*?/\\]", name) for name in sheets)
    assert len({name.lower() for name in sheets}) == 3
    assert next(iter(sheets.values()))["a"][0] == "bell"


def test_plots_and_images_show_the_same_charts(chapters: dict[str, Any]) -> None:
    plots = [name for chapter in chapters["all"] for name in draw_plots(chapter)]
    images = draw_images(chapters["use_case"].targets, *chapters["all"])
    assert len(plots) == len(images)
    assert {"missing.png", "grade_confusion.png", "points_truth.png"} <= set(images)
    assert all(image.startswith(b"\x89PNG") for image in images.values())


def test_every_plot_is_in_the_index_with_its_title(chapters: dict[str, Any]) -> None:
    drawn = draw_plots(chapters["all"][0])

    index = describe_plots(**drawn)

    assert set(index) == set(drawn)
    titles = [chart.title for chart in chapters["all"][0].charts]
    assert all(titles)
    assert [*index.values()] == titles


@pytest.mark.parametrize("full", [True, False])
def test_pipeline_names_every_plot(use_case: Any, full: bool) -> None:
    pipeline = create_pipeline("things", use_case(time=full, text=full, groups=full))
    outputs = pipeline.all_outputs()
    # The plots go into their index: Kedro-Viz draws what nothing takes outside of its use case.
    loose = {"things.report", "things.tables", "things.images", "things.plots"}
    assert pipeline.outputs() == loose
    assert ("things.rows_over_time_plot" in outputs) is full
    assert ("things.grade.error_by_tags_plot" in outputs) is full
    assert all(re.fullmatch(r"things\.(\w+\.)?\w+", name) for name in outputs)


def test_columns_with_odd_names_make_plain_file_names(use_case: Any) -> None:
    from ratchet.config import Data, Features
    from ratchet.reports.chart_ids import group_charts

    plain = Data.model_validate({"key": "id", "columns": {"id": {"type": "integer"}}})
    odd = Features(numeric=["od280/od315 of wine", "mean radius"])
    assert list(group_charts(odd, plain)) == [
        "error_by_od280_od315_of_wine",
        "error_by_mean_radius",
    ]
