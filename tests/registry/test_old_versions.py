"""Models, registry and ledger as an earlier commit wrote them: they open, answer and verify.

``tests/fixtures/version_09d69bd/README.md`` says how they were made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import sqlalchemy as sa

from ratchet.bundle.reader import open_bundle
from ratchet.registry.actions import promote, roll_back
from ratchet.registry.registry import Registry

FIXTURE = Path(__file__).parents[1] / "fixtures" / "version_09d69bd"
FOLDERS = sorted(path for path in FIXTURE.glob("bundles/*/*") if path.is_dir())
NETWORK = FIXTURE / "bundles" / "nights" / "20261201T040129-2127f5f7"
"""The bundle whose model is a network: its answers take TensorFlow, which loads for seconds."""

CLASSES = {
    "ratchet.learning.calibration.TemperatureScaling",
    "ratchet.learning.classical.WithoutFlags",
    "ratchet.learning.conformal.ConformalRegressor",
    "ratchet.learning.features.encoders.CyclicEncoder",
    "ratchet.learning.features.encoders.MultiHotEncoder",
    "ratchet.learning.features.encoders.NumericEncoder",
    "ratchet.learning.features.encoders.TextEncoder",
    "ratchet.learning.naive.Persistence",
    "ratchet.learning.naive.SeasonalNaive",
    "ratchet.learning.recurrent.regressor.RecurrentRegressor",
    "ratchet.learning.recurrent.scaling.WindowScaler",
    "ratchet.learning.relative.RelativeRegressor",
    "ratchet.learning.residual.ResidualRegressor",
    "ratchet.learning.stacking.Predictions",
    "ratchet.learning.weighting.WeightedClassifier",
}
"""Our classes that models could hold at that commit, by the names in the files. These names are
data and stay, wherever the classes move: every one of them is in the files of the fixture."""

SERVES = {"films": "2", "nights": "2", "weather": "1"}


@pytest.fixture
def registry(tmp_path: Path, old_registry: Callable[[Path], Registry]) -> Registry:
    """A copy of the registry, with its ledger and its bundles."""
    return old_registry(tmp_path)


def classes_in(folder: Path) -> set[str]:
    """Dotted names of our classes in the skops files of a bundle."""

    def names(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if str(node.get("__module__")).startswith("ratchet."):
                yield f"{node['__module__']}.{node['__class__']}"
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                yield from names(each)

    found = set[str]()
    for path in folder.rglob("*.skops"):
        with ZipFile(path) as archive:
            found |= set(names(json.loads(archive.read("schema.json"))))
    return found


def test_files_hold_every_class_that_models_had() -> None:
    assert set().union(*map(classes_in, FOLDERS)) == CLASSES


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(
            folder,
            id=f"{folder.parent.name}-{folder.name}",
            marks=[pytest.mark.slow] if folder == NETWORK else [],
        )
        for folder in FOLDERS
    ],
)
def test_bundle_answers_as_it_did(folder: Path) -> None:
    bundle = open_bundle(folder)
    bundle.check_contents()
    bundle.check_trees()
    bundle.check_golden()
    assert bundle.compiled is not None  # which answers the same rows


def test_ledger_is_whole(registry: Registry) -> None:
    assert registry.verify() == []
    assert [(row.use_case, row.event, row.version) for row in registry.ledger.entries()] == [
        ("films", "promote", "2"),
        ("films", "hold", "2"),
        ("nights", "promote", "2"),
        ("nights", "hold", "3"),
        ("nights", "promote", "3"),
        ("nights", "rollback", "2"),
        ("weather", "promote", "2"),
        ("weather", "reject", "3"),
        ("weather", "promote", "1"),
    ]


def test_changed_decision_is_noticed(registry: Registry) -> None:
    ledger = registry.ledger
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER ratchet_ledger_no_update")
        connection.execute(
            sa.text("UPDATE ratchet_ledger SET reason = 'x' WHERE use_case = 'films' AND seq = 1")
        )
    assert "films: decision 1 was changed" in registry.verify()


def test_what_served_serves(registry: Registry) -> None:
    for use_case, version in SERVES.items():
        assert registry.champion(use_case) == version
        bundle = open_bundle(registry.folder(use_case, version))
        assert bundle.digest == registry.version(use_case, version).tags["digest"]
        assert bundle.manifest["code_commit"].startswith("09d69bd")
    assert registry.open_bundle("films", "2").use_case.about.title == "Films"
    assert registry.previous("weather") == "2"
    assert registry.ledger.state("nights").quarantined == ("3",)


def test_decisions_go_on(registry: Registry) -> None:
    """The present code adds to the chain of then, through its triggers and aliases."""

    def check(folder: Path) -> None:
        open_bundle(folder).check_golden()

    back = roll_back(registry, "weather", reason="it errs", actor="ada@host", check=check)
    assert (back.champion, back.parent) == ("2", registry.ledger.digest("weather", 3))
    again = promote(registry, "weather", "1", reason="it does not", actor="ada@host", check=check)
    assert (again.event, again.champion, again.previous) == ("override", "1", "2")
    assert registry.verify() == []
