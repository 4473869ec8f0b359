"""Conventions of the catalog and of the nodes, each tried on one that breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Pipeline, node

from ratchet.config.kedro_loader import LAYERS, ConfigLoader
from ratchet.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).parents[2]

FOLDERS = {
    "raw": r"\$\{globals:paths\.(raw|samples)\}/",
    **{layer: rf"\$\{{globals:paths\.data\}}/{folder}/" for layer, folder in LAYERS.items()},
}
"""Layer -> what the path of each of its files starts with."""
SHARED = {"search_cache", "trials", "registry", "run", "prediction_log", "status"}
"""Entries that belong to no use case."""

VERBS = {
    *("read", "profile", "select", "build", "encode", "search", "stack", "choose", "score", "fit"),
    *("judge", "explain", "collect", "describe", "draw", "write", "register", "release", "refit"),
    *("join", "check", "assess", "act", "prepare", "iterate", "recommend", "replay"),
}

Catalog = Mapping[str, Mapping[str, Any]]
"""Catalog file, such as ``06_models.yml`` -> its entries, as they are written."""


def read_catalog(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.yml"))
    }


def entries(catalog: Catalog) -> Iterator[tuple[str, str, Any]]:
    """File, name and content of every entry. Keys that start with ``_`` hold what entries share."""
    for file, content in catalog.items():
        for name, entry in content.items():
            if not name.startswith("_"):
                yield file, name, entry


def without_layer(catalog: Catalog) -> list[str]:
    """Every entry names a layer that there is, for Kedro-Viz."""
    return [
        name
        for _, name, entry in entries(catalog)
        if entry.get("metadata", {}).get("kedro-viz", {}).get("layer") not in FOLDERS
    ]


def in_another_file(catalog: Catalog) -> list[str]:
    """Every layer has its file, ``06_models.yml`` for ``models``."""
    return [
        name
        for file, name, entry in entries(catalog)
        if re.sub(r"^\d\d_|\.yml$", "", file)
        != entry.get("metadata", {}).get("kedro-viz", {}).get("layer")
    ]


def in_another_folder(catalog: Catalog) -> list[str]:
    """Files lie under the folder of their layer, and their root is named in globals.yml only."""
    return [
        name
        for file, name, entry in entries(catalog)
        if "filepath" in entry
        and not re.match(FOLDERS.get(re.sub(r"^\d\d_|\.yml$", "", file), "$"), entry["filepath"])
    ]


def catch_all(catalog: Catalog) -> list[str]:
    """Every pattern ends in a word of its own: one that takes everything hides typing errors."""
    return [
        name
        for _, name, _ in entries(catalog)
        if "{" in name and not re.search(r"[._][a-z_]+$", name.rpartition("}")[2])
    ]


def patterns_of_raw(catalog: Catalog) -> list[str]:
    """Raw data are entries, one for each use case; everything after them comes from patterns."""
    return [
        name
        for file, name, _ in entries(catalog)
        if (file == "01_raw.yml") == ("{" in name) and name not in SHARED
    ]


def badly_named(catalog: Catalog) -> list[str]:
    """``<use_case>.<noun>``, with target and candidate between them where there are such."""
    word, place = "[a-z][a-z0-9_]*", r"\{[a-z_]+\}"
    form = rf"({word}|{place})(\.{place})*(\.weighted_ensemble)?\.({place}_)?{word}"
    return [n for _, n, _ in entries(catalog) if n not in SHARED and not re.fullmatch(form, n)]


def flat(catalog: Catalog) -> dict[str, Any]:
    """Name -> entry, with the paths of globals.yml filled in."""
    text = yaml.safe_dump({name: entry for _, name, entry in entries(catalog)})
    text = re.sub(r"\$\{globals:paths\.([a-z_]+)\}", r"data/\1", text)
    return yaml.safe_load(re.sub(r"\$\{globals:([a-z_]+)\}", r"\1", text))


def resolve(names: set[str], catalog: Catalog) -> dict[str, Mapping[str, Any]]:
    """What the catalog says of datasets; nothing for one that Kedro would keep in memory."""
    config = flat(catalog)
    resolver = CatalogConfigResolver({k: v for k, v in config.items() if "{" in k})
    return {
        name: config.get(name)
        or (resolver.resolve_pattern(name) if resolver.match_dataset_pattern(name) else {})
        for name in sorted(names)
    }


def datasets(pipeline: Pipeline) -> set[str]:
    return {name for name in pipeline.datasets() if name.partition(":")[0] not in {"params"}}


def unknown(pipeline: Pipeline, catalog: Catalog) -> list[str]:
    """Every dataset has an entry or a pattern: none is in memory by oversight."""
    return [name for name, entry in resolve(datasets(pipeline), catalog).items() if not entry]


def passed_in_memory(phases: Mapping[str, Pipeline], catalog: Catalog) -> list[str]:
    """What one phase hands to another is a file, so that each phase can run by itself."""
    handed_over = {
        name
        for phase, pipeline in phases.items()
        for other, receiver in phases.items()
        if other != phase
        for name in pipeline.all_outputs() & receiver.inputs()
    }
    resolved = resolve(handed_over, catalog)
    return [name for name, entry in resolved.items() if not entry.get("filepath")]


def badly_named_nodes(pipeline: Pipeline) -> list[str]:
    """A node is called by what it does: verb, or verb_noun."""
    names = [node.name.rpartition(".")[2] for node in pipeline.nodes]
    return [n for n in names if not re.fullmatch(rf"({'|'.join(VERBS)})(_[a-z]+)*", n)]


RULES = [
    without_layer,
    in_another_file,
    in_another_folder,
    catch_all,
    patterns_of_raw,
    badly_named,
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "folder", sorted((ROOT / "conf").glob("*/catalog")), ids=lambda folder: folder.parent.name
)
def test_convention(rule, folder):
    assert rule(read_catalog(folder)) == []


def entry(
    layer: str = "models", folder: str = "${globals:paths.data}/06_models", **more: Any
) -> dict[str, Any]:
    return {
        "type": "pickle.PickleDataset",
        "filepath": f"{folder}/x.pkl",
        "metadata": {"kedro-viz": {"layer": layer}},
        **more,
    }


PRIMARY = "${globals:paths.data}/03_primary"

GOOD = {
    "01_raw.yml": {"films.raw": entry("raw", "${globals:paths.samples}")},
    "06_models.yml": {
        "{use_case}.{target}.model": entry(),
        "{use_case}.{chart}_plot": entry(),
        "search_cache": entry(),
    },
}


def test_small_grids_overwrite_no_results():
    base, test = (
        ConfigLoader(str(ROOT / "conf"), env=env, **CONFIG_LOADER_ARGS)["globals"]["paths"]
        for env in ("base", "test")
    )

    assert test == {
        name: path if name in {"raw", "samples"} else path.replace("data", "data/test", 1)
        for name, path in base.items()
    }


@pytest.mark.parametrize("rule", RULES)
def test_a_catalog_that_keeps_the_conventions_passes(rule):
    assert rule(GOOD) == []


@pytest.mark.parametrize(
    ("rule", "file", "name", "content"),
    [
        (without_layer, "06_models.yml", "{use_case}.x", {"type": "MemoryDataset"}),
        (without_layer, "06_models.yml", "{use_case}.x", entry("model")),
        (in_another_file, "06_models.yml", "{use_case}.x", entry("primary")),
        (in_another_file, "models.yaml", "{use_case}.x", entry("models")),
        (
            in_another_folder,
            "06_models.yml",
            "{use_case}.x",
            entry(folder=PRIMARY),
        ),
        (in_another_folder, "06_models.yml", "{use_case}.x", entry(folder="data/06_models")),
        (in_another_folder, "09_more.yml", "{use_case}.x", entry()),
        (catch_all, "06_models.yml", "{dataset}", entry()),
        (catch_all, "06_models.yml", "{use_case}.{noun}", entry()),
        (catch_all, "06_models.yml", "films.{noun}", entry()),
        (patterns_of_raw, "01_raw.yml", "{use_case}.raw", entry("raw", "${globals:paths.raw}")),
        (patterns_of_raw, "06_models.yml", "films.model", entry()),
        (badly_named, "06_models.yml", "model", entry()),
        (badly_named, "06_models.yml", "films#model", entry()),
        (badly_named, "06_models.yml", "{use_case}.Best-Model", entry()),
    ],
)
def test_a_breach_is_found(rule, file, name, content):
    broken = {**GOOD, file: {**GOOD.get(file, {}), name: content}}

    assert rule(broken) == [name]


@pytest.fixture
def pipelines(project):
    bootstrap_project(project)
    from kedro.framework.project import pipelines

    return dict(pipelines)


@pytest.fixture(scope="module")
def base() -> Catalog:
    return read_catalog(ROOT / "conf/base/catalog")


def test_every_dataset_is_in_the_catalog(pipelines, base):
    assert len(datasets(pipelines["__default__"])) > 50
    assert unknown(pipelines["__default__"], base) == []


def test_phases_hand_over_files(pipelines, base):
    from ratchet.pipeline_registry import PHASES

    phases = {name: pipelines[name] for name in PHASES}

    assert all(phases[name].nodes for name in PHASES)
    assert passed_in_memory(phases, base) == []


def test_nodes_are_named_by_what_they_do(pipelines):
    assert badly_named_nodes(pipelines["__default__"]) == []


def test_default_pipeline_is_everything(pipelines):
    parts = {name: set(part.nodes) for name, part in pipelines.items() if name != "__default__"}

    assert set(pipelines["__default__"].nodes) == set().union(*parts.values())


pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")


def same(*values: Any) -> Any:
    return values[0]


def step(inputs: str, outputs: str, name: str = "build") -> Pipeline:
    return Pipeline([node(same, inputs, outputs, name=name)])


def test_a_dataset_that_is_in_no_catalog_is_found():
    chain = step("films.raw", "films.rows") + step("films.rows", "films.rating.model", "stack")

    assert unknown(chain, GOOD) == ["films.rows"]


@pytest.mark.parametrize("content", [None, {"type": "MemoryDataset"}])
def test_a_hand_over_in_memory_is_found(content):
    phases = {
        "first": step("films.raw", "films.rows")
        + step("films.rows", "films.rating.model", "stack"),
        "second": step("films.rating.model", "films.x_plot")
        + step("films.rows", "films.y", "stack"),
    }
    more = {"02_more.yml": {"films.rows": content}} if content else {}

    assert passed_in_memory(phases, {**GOOD, **more}) == ["films.rows"]


def test_memory_inside_of_one_phase_is_no_hand_over():
    phase = step("films.raw", "films.rows") + step("films.rows", "films.rating.model", "stack")

    assert passed_in_memory({"first": phase, "second": step("films.raw", "films.x")}, GOOD) == []


@pytest.mark.parametrize("name", ["model", "rows_build", "Build", "building_rows", "build-rows"])
def test_a_badly_named_node_is_found(name):
    assert badly_named_nodes(step("a", "b", name)) == [name]


@pytest.mark.parametrize("name", ["build", "build_rows", "choose_best"])
def test_a_well_named_node_is_not_found(name):
    assert badly_named_nodes(step("a", "b", name)) == []
