"""The documentation holds together."""

import json
import os
import re
import subprocess
import sys
from inspect import getclosurevars
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from fastapi.routing import APIRoute

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


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    """Strict: dead links and anchors, pages without a place, docstrings that do not fit."""
    command = (sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict")
    built = subprocess.run(
        (*command, "--config-file", "docs/site/mkdocs.yml", "--site-dir", tmp_path),
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    pages = {str(page.relative_to(tmp_path)) for page in tmp_path.rglob("*.html")}
    assert pages >= {"index.html", "reference/parameters.html", "python/ratchet/gate/verdict.html"}
    description = json.loads((tmp_path / "reference" / "openapi.json").read_text())
    assert "/predict/{use_case}" in description["paths"]
    assert (tmp_path / "assets" / "openapi" / "swagger-ui-bundle.js").exists()
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]*src="?https?:|<link[^>]*href="?https?:""")
    assert not [page for page in pages if loaded.search((tmp_path / page).read_text())]


def test_pages_link_within_the_docs() -> None:
    """Other files are named as code: a link to them would lead out of the site."""
    docs = ROOT / "docs"
    outside = {
        (str(page.relative_to(ROOT)), link)
        for page in docs.glob("**/*.md")
        for link in LINK.findall(page.read_text())
        if not (page.parent / link).resolve().is_relative_to(docs)
    }
    assert not outside


def test_every_page_is_in_the_index() -> None:
    linked = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/*/*.md")}
    assert pages == linked


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return run_path(str(ROOT / "docs" / "site" / "generate.py"))


def test_generated_parts_of_pages_are_up_to_date(generator: dict[str, Any]) -> None:
    stale = [
        page for page in PAGES if generator["with_blocks"](page.read_text()) != page.read_text()
    ]
    assert not stale, "call `make docs`"


def test_every_command_and_section_of_the_settings_is_in_the_reference(
    generator: dict[str, Any],
) -> None:
    from ratchet.config import UseCase

    sections = [
        model.__name__
        for field in UseCase.model_fields.values()
        for model, _ in generator["_models"](field.annotation, "")
    ]
    sources = re.findall(r"<!-- generated: (.+?) -->", "".join(map(Path.read_text, PAGES)))
    assert sorted(sources) == sorted(
        [
            "commands",
            *(f"command {name}" for name in generator["_listed"]()),
            "sections of ratchet.config.UseCase",
            *(f"keys of ratchet.config.{name}" for name in sections),
            "keys of ratchet.airflow.config.AirflowSettings",
            "keys of ratchet.serving.settings.Settings",
        ]
    )


def test_the_table_of_routes_has_all_that_openapi_has_with_their_scopes() -> None:
    app = run_path(str(ROOT / "docs" / "site" / "hooks.py"))["service"]()
    routes = {
        (method, route.path): (_scope(route), route.include_in_schema)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (?:`(\w+)` )?\|", page, re.MULTILINE)
    documented = {(method, path): scope for method, path, scope in rows}

    assert documented.items() <= {route: scope for route, (scope, _) in routes.items()}.items()
    assert documented.keys() >= {route for route, (_, in_schema) in routes.items() if in_schema}


def _scope(route: APIRoute) -> str:
    """What a key must be for, to use a route; empty where none is needed."""
    calls = [each.call for each in route.dependant.dependencies]
    (scope,) = [
        getclosurevars(call).nonlocals["scope"]
        for call in calls
        if call.__qualname__.startswith("require_scope")
    ] or [""]
    return scope
