"""What a report is made of: texts, lists, tables and charts, gathered in chapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ratchet.frames import DataFrame
from ratchet.reports.chart import Chart

SECTIONS = {
    "question": "What was asked",
    "data": "What the data is",
    "preparation": "What was done with the data",
    "search": "What was tried",
    "results": "What came out",
    "advice": "What it can be used for",
    "limits": "Limits",
    "steps": "Next steps",
}
"""Sections of the report in their order; they follow the phases of CRISP-DM."""


@dataclass(frozen=True)
class Text:
    """One paragraph; with a title it starts a subsection."""

    block: ClassVar[str] = "text"
    text: str
    title: str = ""


@dataclass(frozen=True)
class Points:
    """A list of sentences, with a title or without."""

    block: ClassVar[str] = "points"
    items: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the report and a sheet of the workbook.

    Attributes:
        name: name of the sheet.
        title: caption.
        frame: values as numbers; they are rounded where they are shown.
        formats: column -> ``count``, ``number`` or ``share``; other columns are text.
        shown: number of rows in the report; ``None`` for all, 0 for a table of the workbook only.
    """

    block: ClassVar[str] = "table"
    name: str
    title: str
    frame: DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    shown: int | None = None


Block = Text | Points | Table | Chart


@dataclass(frozen=True)
class Finding:
    """A limit of the results, and the next step that follows from it.

    Attributes:
        fact: the limit, in a sentence with its number; empty when there is only something to do.
        step: what to do about it, in a sentence with its number; empty when nothing follows.
    """

    fact: str
    step: str = ""


@dataclass(frozen=True)
class Card:
    """Summary of one target.

    Attributes:
        headline: one or two sentences.
        objectives: statement, and whether it is met: ``yes``, ``no`` or ``doubt``.
        key_value: the most important number.
        key_label: what that number is.
        use: a sentence on what it can be used for.
    """

    headline: str
    key_value: str
    key_label: str
    use: str = ""
    objectives: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Chapter:
    """What the report says of the data or of one target.

    Attributes:
        sections: name, see ``SECTIONS`` -> blocks.
        findings: the limits and next steps.
        card: the result in a few words.
    """

    sections: dict[str, list[Block]]
    findings: Sequence[Finding] = ()
    card: Card | None = None

    @property
    def charts(self) -> list[Chart]:
        """All charts in the order of the report."""
        return [block for block in self._blocks() if isinstance(block, Chart)]

    @property
    def tables(self) -> list[Table]:
        """All tables in the order of the report."""
        return [block for block in self._blocks() if isinstance(block, Table)]

    def _blocks(self) -> list[Block]:
        return [block for name in SECTIONS for block in self.sections.get(name, [])]
