"""The folders of the layers follow from one root; environments are merged as Kedro merges them."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from ratchet.config.kedro_loader import ConfigLoader, deep_merge
from ratchet.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).resolve().parents[2]


def load(folder: Path, **files: str) -> ConfigLoader:
    """Loader of a configuration: the root of all layers is ``data`` in base."""
    base = {"globals": "paths: {data: data}", "catalog": ENTRIES}
    for env, texts in (("base", base), ("local", files)):
        (folder / env).mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / env / f"{name}.yml").write_text(text)
    return ConfigLoader(str(folder), **CONFIG_LOADER_ARGS)


ENTRIES = """
"{use_case}.model": {type: a, filepath: "${globals:paths.data}/06_models/{use_case}/m"}
"{use_case}.scores": {type: a, filepath: "${globals:paths.data}/07_model_output/{use_case}/s"}
run: {type: a}
"""


def paths(loader: ConfigLoader) -> list[str]:
    return [entry["filepath"] for entry in loader["catalog"].values() if "filepath" in entry]


def test_one_root_moves_every_layer(tmp_path):
    loader = load(tmp_path, globals="paths: {data: /mnt/data}")

    assert paths(loader) == [
        "/mnt/data/06_models/{use_case}/m",
        "/mnt/data/07_model_output/{use_case}/s",
    ]
    assert loader["globals"]["paths"]["reporting"] == "/mnt/data/08_reporting"


def test_a_layer_that_has_a_folder_of_its_own_is_moved_alone(tmp_path):
    loader = load(tmp_path, globals="paths: {models: /mnt/models}")

    assert paths(loader) == ["/mnt/models/{use_case}/m", "data/07_model_output/{use_case}/s"]


def test_entries_of_yours_may_name_the_folder_of_a_layer(tmp_path):
    loader = load(tmp_path, catalog="mine: {type: a, filepath: '${globals:paths.primary}/x'}")

    assert loader["catalog"]["mine"]["filepath"] == "data/03_primary/x"


def test_globals_without_a_root_are_left_alone(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "base/globals.yml").write_text("seed: 1")

    assert ConfigLoader(str(tmp_path), **CONFIG_LOADER_ARGS)["globals"] == {"seed": 1}


@pytest.mark.parametrize("env", ["test", "replay", "tetouan"])
@pytest.mark.parametrize("key", ["globals", "parameters"])
def test_environments_are_merged_as_kedro_merges_them(env, key):
    ours, kedros = (
        kind(str(ROOT / "conf"), env=env, **CONFIG_LOADER_ARGS)[key]
        for kind in (ConfigLoader, OmegaConfigLoader)
    )

    assert {**ours, "paths": None} == {**kedros, "paths": None}


def test_lists_and_empty_values_replace_what_there_was():
    base = {"a": {"b": [1, 2], "c": {"d": 1}}, "e": {"f": 1}, "g": None}
    other = {"a": {"b": [3], "c": None}, "e": 2, "g": {"h": 1}, "i": 1}

    assert deep_merge(base, other) == {
        "a": {"b": [3], "c": None},
        "e": 2,
        "g": {"h": 1},
        "i": 1,
    }
    assert base["a"] == {"b": [1, 2], "c": {"d": 1}}
