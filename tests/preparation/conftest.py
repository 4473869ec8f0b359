"""Small slices of the shipped use cases, as their pipelines read and prepare them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd
import pytest

from ratchet.config import UseCase

AS_OF = {
    **{"films": "1945-12-31", "stock": "2001-01-15", "prices": "2014-12-31"},
    "market": "2015-06-28",
}
SAMPLES = Path(__file__).resolve().parents[2] / "data" / "01_raw" / "samples"


@dataclass(frozen=True)
class Slice:
    """A use case, with its first rows."""

    use_case: UseCase
    typed: pd.DataFrame

    @property
    def is_series(self) -> bool:
        return self.use_case.data.series is not None

    @cached_property
    def built(self) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Features as the pipelines make them for training, and statistics."""
        from ratchet.pipelines.preprocessing import (
            build_features,
            build_windows,
            select_rows,
            select_series,
        )

        data, features = self.use_case.data, self.use_case.features
        targets = dict(self.use_case.targets)
        if self.is_series:
            primary, _ = select_series(self.typed, data, features, targets)
            return build_windows(primary, data, features, targets)
        primary, _ = select_rows(self.typed, data, targets, 0)
        return build_features(primary, data, features, targets), None


@pytest.fixture(scope="session")
def slice_of(
    tmp_path_factory: pytest.TempPathFactory, make_project: Callable[[Path], Path]
) -> Callable[[str], Slice]:
    """First rows of a shipped use case, in the small settings of the tests."""
    if not (SAMPLES / "lock.txt").exists():
        pytest.skip("there are no sample data: make setup fetches them")
    from kedro.framework.startup import bootstrap_project
    from kedro.io import DataCatalog

    from ratchet.config.loader import project_loader
    from ratchet.preparation.contract import typed_rows

    project = make_project(tmp_path_factory.mktemp("slices"))
    bootstrap_project(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        loader, _ = project_loader("test")
        parameters, entries = loader["parameters"], loader["catalog"]

    @cache
    def read(name: str) -> Slice:
        if name == "stock":  # with products that are not sold on every day
            parameters[name]["data"]["prepare"]["arguments"]["at_least"] = 112
            # A row for each day: rows of paths are those of test_paths.py.
            parameters[name]["features"]["windows"]["horizon"] = 1
        use_case = UseCase.model_validate(parameters[name])
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project)
            raw = DataCatalog.from_config({f"{name}.raw": entries[f"{name}.raw"]}).load(
                f"{name}.raw"
            )
        targets = dict(use_case.targets)
        return Slice(use_case, typed_rows(raw, use_case.data, targets, AS_OF.get(name)))

    return read
