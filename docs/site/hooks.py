"""What MkDocs cannot know by itself: the order of the pages."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parents[1]
SECTIONS = {
    "tutorials": "Tutorials",
    "how-to": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Navigate in the order of the table in ``docs/README.md``, which a test holds complete."""
    pages = re.findall(r"\]\(([\w-]+/[\w-]+\.md)\)", (DOCS / "README.md").read_text())
    config.nav = [
        {"Home": "README.md"},
        *(
            {title: [page for page in pages if page.startswith(f"{folder}/")]}
            for folder, title in SECTIONS.items()
        ),
    ]
    return config


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """The front page lists all pages: no navigation beside it."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    return markdown
