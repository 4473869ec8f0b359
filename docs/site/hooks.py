"""What MkDocs cannot know by itself: the order of the pages, and what the page OpenAPI shows."""

from __future__ import annotations

import json
import re
import tempfile
from importlib.resources import files as files_of
from pathlib import Path

from fastapi import FastAPI
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from ratchet.serving.app import create_app
from ratchet.serving.settings import Settings

DOCS = Path(__file__).parents[1]
SECTIONS = {
    "tutorials": "Tutorials",
    "how-to": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
}
ASSETS = "assets/openapi"
SWAGGER_UI = f"""
<div id="swagger-ui"></div>
<script src="../{ASSETS}/swagger-ui-bundle.js"></script>
<script src="../{ASSETS}/openapi.js"></script>
"""
# A tree of its own, which the style of the theme does not reach. The description is in the script
# for pages that are opened from files: these fetch nothing. No service is there to be asked.
SCRIPT = f"""
const root = document.getElementById("swagger-ui").attachShadow({{mode: "open"}});
root.innerHTML = `
  <link rel="stylesheet" href="../{ASSETS}/swagger-ui.css">
  <style>
    .scheme-container {{display: none}}
    .highlight-code {{filter: var(--code-filter)}}
  </style>
  <div></div>`;
SwaggerUIBundle({{
  spec: SCHEMA,
  domNode: root.querySelector("div"),
  presets: [SwaggerUIBundle.presets.apis],
  supportedSubmitMethods: [],
  validatorUrl: null,
}});
"""


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


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the description of the service, and what shows it."""
    schema = json.dumps(service().openapi(), indent=1)
    script = SCRIPT.replace("SCHEMA", schema)
    files.append(File.generated(config, "reference/openapi.json", content=schema))
    files.append(File.generated(config, f"{ASSETS}/openapi.js", content=script))
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):  # the service shows its pages by them
        path = str(files_of("fastapi_offline") / "static" / name)
        files.append(File.generated(config, f"{ASSETS}/{name}", abs_src_path=path))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Show the description on its page; the front page lists all pages instead of navigation."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    if page.file.src_uri == "reference/openapi.md":
        page.meta["hide"] = ["toc"]
        return markdown + SWAGGER_UI
    return markdown


class NothingServes:
    """Models of a service before its first promotion."""

    def use_cases(self) -> tuple[str, ...]:
        """None."""
        return ()


def service() -> FastAPI:
    """A service without models, whose use cases would add routes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(keys_file=Path(folder) / "keys.json", state=Path(folder))
        return create_app(settings, NothingServes())  # type: ignore[arg-type]
