"""The documentation holds together."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
MADE = {"src/ratchet/use_cases/wine.py"}
"""Files that a reader of a page writes."""

LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_modules_exist(page: Path) -> None:
    """Paths of code in a page, from the root of the project or of the package."""
    named = set(re.findall(r"`((?:[\w-]+/)+[\w-]+\.py)", page.read_text()))
    roots = (ROOT, ROOT / "src" / "ratchet", ROOT / "benchmarks")
    assert not {name for name in named if not any((root / name).exists() for root in roots)} - MADE


def test_every_page_is_in_the_index() -> None:
    linked = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/*/*.md")}
    assert pages == linked


def test_every_parameter_is_documented() -> None:
    from ratchet import config

    reference = (ROOT / "docs" / "reference" / "parameters.md").read_text()
    models = (
        config.About,
        config.Alerts,
        config.Candidate,
        config.Column,
        config.Data,
        config.Drift,
        config.Features,
        config.History,
        config.Inventory,
        config.Iterations,
        config.Landing,
        config.Market,
        config.Monitoring,
        config.Network,
        config.Objective,
        config.Release,
        config.Scenario,
        config.Series,
        config.Slices,
        config.Split,
        config.Target,
        config.Watch,
        config.Windows,
    )
    named = {field for model in models for field in model.model_fields}
    assert not {name for name in named if not re.search(rf"\b{name}\b", reference)}
