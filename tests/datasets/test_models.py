"""Models come back as they were; nothing else comes in, and a save is whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from kedro.io import DatasetError
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor

from ratchet.datasets import SkopsDataset
from ratchet.learning.atomic_files import sweep
from ratchet.learning.calibration import ConformalRegressor, TemperatureScaling
from ratchet.learning.classical import ESTIMATORS, build_estimator
from ratchet.learning.stacking import prediction_columns, stack


@pytest.fixture
def dataset(tmp_path: Path) -> SkopsDataset:
    return SkopsDataset(filepath=str(tmp_path / "models" / "model.skops"))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    return pd.DataFrame(values, columns=["a", "b", "naive_persistence", "naive_seasonal"])


def fitted(task: str, name: str, X: pd.DataFrame) -> Any:
    """A model as the pipelines store it: fitted, and calibrated."""
    signal = X["a"] + X["b"] / 2
    model = build_estimator(task, name, seed=0)
    if "kernel__n_components" in model.get_params():
        model.set_params(kernel__n_components=10)
    if task != "classification":
        frozen = FrozenEstimator(model.fit(X, signal))
        return ConformalRegressor(estimator=frozen, bounds=(-9, 9)).fit(X, signal)
    y = np.where(signal > 0, "up", "down").astype(object)
    y[::7] = "level"
    model.fit(X, y)
    scaling = TemperatureScaling(list(model.classes_))
    return stack([model], scaling.fit(prediction_columns(model.predict_proba(X), classes=True), y))


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, table in ESTIMATORS.items() for name in table]
)
def test_every_model_comes_back_as_it_was(dataset, rows, task, name):
    if name.startswith("unscaled"):
        rows = rows.assign(series_level=1.0, series_scale=2.0)
    model = fitted(task, name, rows)

    dataset.save(model)
    loaded = dataset.load()

    method = "predict_proba" if task == "classification" else "predict_interval"
    np.testing.assert_array_equal(getattr(loaded, method)(rows), getattr(model, method)(rows))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))


def test_the_mean_of_models_that_see_different_columns_comes_back(dataset, rows):
    y = rows["a"] + rows["b"] ** 2
    members = []
    for name in ("a", "b"):
        columns = ColumnTransformer([("columns", "passthrough", make_column_selector(f"^{name}$"))])
        member = Pipeline([("columns", columns), ("model", DecisionTreeRegressor())]).fit(rows, y)
        members.append((name, FrozenEstimator(member)))
    mean = VotingRegressor(members).fit(rows[:1], y[:1])  # the frozen learn nothing from it

    dataset.save(mean)
    predicted = dataset.load().predict(rows)

    np.testing.assert_array_equal(predicted, mean.predict(rows))
    np.testing.assert_allclose(predicted, sum(m.predict(rows) for _, m in members) / 2)


def test_missing_file(dataset):
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"model\.skops cannot be loaded: .*No such file"):
        dataset.load()


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_a_pickle_is_refused_and_not_run(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(dataset._filepath)
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Bomb()))

    with pytest.raises(DatasetError, match="cannot be loaded"):
        dataset.load()

    assert not Path("exploded").exists()


def test_a_pickle_inside_of_the_archive_is_refused_and_not_run(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset.save(Ridge())
    with zipfile.ZipFile(dataset._filepath, "w") as archive:
        archive.writestr("schema.json", pickle.dumps(Bomb()))

    with pytest.raises(DatasetError, match="cannot be loaded"):
        dataset.load()

    assert not Path("exploded").exists()


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(dataset, rows, keep):
    dataset.save(fitted("regression", "ridge", rows))
    path = Path(dataset._filepath)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])

    with pytest.raises(DatasetError, match="cannot be loaded"):
        dataset.load()


class Stranger(BaseEstimator):
    """An estimator that is not on the list."""

    def fit(self, X: Any, y: Any = None) -> Stranger:
        self.fitted_ = True
        return self


def test_a_foreign_type_is_refused(dataset):
    dataset.save(Stranger().fit(None))

    with pytest.raises(DatasetError, match=r"cannot be loaded: .*Stranger"):
        dataset.load()


def test_a_function_is_refused(dataset):
    dataset.save({"model": os.system})

    with pytest.raises(DatasetError, match="cannot be loaded"):
        dataset.load()


def files_beside(dataset: SkopsDataset) -> list[str]:
    return [path.name for path in Path(dataset._filepath).parent.iterdir()]


def test_a_failed_save_leaves_the_old_file(dataset):
    dataset.save(Ridge(alpha=1))

    with pytest.raises(DatasetError):
        dataset.save(Unsaveable())

    assert dataset.load().alpha == 1
    assert files_beside(dataset) == ["model.skops"]


class Unsaveable(Ridge):
    """A model whose state cannot be read."""

    def __getstate__(self) -> Any:
        raise RuntimeError("no")


def test_a_save_that_is_killed_leaves_the_old_file(dataset):
    dataset.save(Ridge(alpha=1))
    path = Path(dataset._filepath)
    child = multiprocessing.get_context("fork").Process(target=save_and_hang, args=(path,))
    child.start()
    for _ in range(1000):
        if any(partial.stat().st_size for partial in path.parent.glob(f".{path.name}.*/*")):
            break
        time.sleep(0.01)

    child.kill()
    child.join()

    assert len(files_beside(dataset)) == 2
    assert dataset.load().alpha == 1
    assert len(sweep(path.parent)) == 1
    dataset.save(Ridge(alpha=3))
    assert dataset.load().alpha == 3
    assert files_beside(dataset) == ["model.skops"]


def save_and_hang(path: Path) -> None:
    """Save as far as the middle of the file."""

    def write_half(model: Any, file: Path, **_: Any) -> None:
        file.write_bytes(skops.io.dumps(model)[:100])
        time.sleep(60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skops.io, "dump", write_half)
        SkopsDataset(filepath=str(path)).save(Ridge(alpha=2))


def test_it_says_what_it_is(dataset):
    assert "model.skops" in str(dataset)
