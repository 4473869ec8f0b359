"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import jinja2
from markupsafe import Markup

from ratchet.config import About
from ratchet.learning.atomic_files import atomic_write
from ratchet.reports.blocks import SECTIONS, Chapter, Points, Table
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import column
from ratchet.reports.vega_lite import to_png, to_script, to_svg, vega_lite_sheet, vega_script

_DATE = re.compile(r"(\d{4}-\d\d-\d\d(?: \d\d:\d\d UTC)?)")


def template_environment(*packages: str) -> jinja2.Environment:
    """Templates of some packages, and those of the reports behind them.

    The filter ``dated`` keeps dates from being broken at their hyphens, ``to_script`` specifies a
    chart, and ``table_rows`` formats the cells of a table.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package) for package in (*packages, "ratchet.reports")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["dated"] = _dated
    environment.globals |= {"to_script": to_script, "table_rows": _table_rows}
    return environment


def _dated(text: str) -> Markup:
    parts = _DATE.split(text)  # every second one is a date
    spans = [Markup('<span class="date">{}</span>').format(part) for part in parts[1::2]]
    return Markup("").join(
        piece for pair in zip_longest(parts[::2], spans, fillvalue="") for piece in pair
    )


def render(about: About, data_chapter: Chapter, targets: Mapping[str, Chapter]) -> str:
    """Write the report, with styles, scripts and charts inside."""
    return (
        template_environment()
        .get_template("report.html.j2")
        .render(
            about=about,
            titles=SECTIONS,
            sections=_sections(about, data_chapter, targets),
            cards={name: chapter.card for name, chapter in targets.items()},
            source=about.source,
            vega=vega_script(),
        )
    )


def render_charts(charts: Sequence[Chart]) -> str:
    """Write a page of nothing but charts."""
    page = template_environment().get_template("only_charts.html.j2")
    return page.render(charts=charts, vega=vega_script())


def write_charts(charts: Sequence[Chart], path: Path) -> None:
    """Draw charts into a file, one below the other.

    Args:
        charts: what to draw.
        path: file whose ending gives the format: ``.png``, ``.svg`` or ``.html``.
    """
    with atomic_write(path) as partial:
        match path.suffix.lower():
            case ".png":
                partial.write_bytes(to_png(vega_lite_sheet(charts)))
            case ".svg":
                partial.write_text(to_svg(vega_lite_sheet(charts)), encoding="utf-8")
            case _:
                partial.write_text(render_charts(charts), encoding="utf-8")


def _sections(
    about: About, data_chapter: Chapter, targets: Mapping[str, Chapter]
) -> dict[str, list[tuple[str, list]]]:
    """Name of a section -> heading and blocks, without those that have nothing to say."""
    chapters = {"": data_chapter, **targets}
    sections: dict[str, list[tuple[str, list]]] = {
        name: [
            (heading, chapter.sections[name])
            for heading, chapter in chapters.items()
            if chapter.sections.get(name)
        ]
        for name in SECTIONS
    }
    facts = {name: [f.fact for f in c.findings if f.fact] for name, c in chapters.items()}
    steps = {name: [f.step for f in c.findings if f.step] for name, c in chapters.items()}
    sections["limits"] = [
        *([("", [Points(about.limits, title="Known from the start")])] if about.limits else []),
        *((name, [Points(sentences, title="")]) for name, sentences in facts.items() if sentences),
    ]
    sections["steps"] = [
        (name, [Points(sentences)]) for name, sentences in steps.items() if sentences
    ]
    return {name: parts for name, parts in sections.items() if parts}


def _table_rows(table: Table) -> list[list[tuple[str, bool]]]:
    """Cells of the rows shown: text, and whether it is aligned to the right, as numbers are."""
    frame = table.frame if table.shown is None else table.frame.head(table.shown)
    columns = []
    for position, name in enumerate(frame.columns):
        form = table.formats.get(str(name), "text")
        texts = column(frame.iloc[:, position].to_list(), form)
        columns.append([(text, form != "text") for text in texts])
    return [list(row) for row in zip(*columns, strict=True)]
