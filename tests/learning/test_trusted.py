"""Models come back as they were; nothing that is not on the list comes in, and nothing runs."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from ratchet.learning import trusted
from ratchet.learning.calibration import ConformalRegressor
from ratchet.learning.meta_estimators import LogRegressor, ResidualRegressor, WeightedClassifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.skops"


def fitted() -> Ridge:
    X = np.arange(12.0).reshape(6, 2)
    return Ridge(alpha=0.5).fit(X, X.sum(axis=1))


def test_a_model_comes_back(path):
    trusted.dump(fitted(), path)

    loaded = trusted.load(str(path))

    X = np.ones((3, 2))
    np.testing.assert_array_equal(loaded.predict(X), fitted().predict(X))
    assert trusted.loads(path.read_bytes(), "m").alpha == 0.5
    assert [file.name for file in path.parent.iterdir()] == ["model.skops"]


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


class Stranger(BaseEstimator):
    """An estimator that is not on the list, and says so when it is made."""

    def __setstate__(self, state: Any) -> None:
        Path("exploded").mkdir()


def as_schema() -> bytes:
    """An archive whose schema is a pickle."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("schema.json", pickle.dumps(Bomb()))
    return archive.getvalue()


def as_array() -> bytes:
    """A model whose array is a pickle that NumPy would open, were it allowed to."""
    whole = io.BytesIO(skops.io.dumps(fitted()))
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb()], dtype=object), allow_pickle=True)
    changed = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, objects.getvalue() if name.endswith(".npy") else old.read(name))
    return changed.getvalue()


def as_joblib() -> bytes:
    content = io.BytesIO()
    joblib.dump(Bomb(), content)
    return content.getvalue()


HOSTILE = {
    "pickle": lambda: pickle.dumps(Bomb()),
    "gzip": lambda: gzip.compress(pickle.dumps(Bomb())),
    "joblib": as_joblib,
    "schema": as_schema,
    "array": as_array,
    "stranger": lambda: skops.io.dumps(Stranger()),
    "function": lambda: skops.io.dumps({"model": os.mkdir}),
    "nothing": lambda: b"",
    "text": lambda: b"{}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_anything_else_is_refused_and_not_run(path, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir()
    path.write_bytes(HOSTILE[kind]())

    with pytest.raises(ValueError, match=r"model\.skops cannot be loaded"):
        trusted.load(path)

    assert not Path("exploded").exists()


def test_the_bombs_would_go_off(tmp_path, monkeypatch):
    """Or the test above could not fail."""
    monkeypatch.chdir(tmp_path)
    for kind in ("pickle", "gzip"):
        content = HOSTILE[kind]()
        pickle.loads(gzip.decompress(content) if kind == "gzip" else content)
        Path("exploded").rmdir()
    name = f"{Stranger.__module__}.Stranger"
    skops.io.loads(HOSTILE["stranger"](), trusted=[name])
    assert Path("exploded").exists()


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, keep):
    trusted.dump(fitted(), path)
    content = path.read_bytes()

    with pytest.raises(ValueError, match="half cannot be loaded"):
        trusted.loads(content[: int(keep * len(content))], "half")


def test_a_missing_file(path):
    with pytest.raises(ValueError, match=r"model\.skops cannot be loaded: .*No such file"):
        trusted.load(path)


def test_what_cannot_be_saved_leaves_the_old_file(path):
    trusted.dump(fitted(), path)

    with pytest.raises(RuntimeError):
        trusted.dump(Unsaveable(), path)

    assert trusted.load(path).alpha == 0.5


class Unsaveable(Ridge):
    """A model whose state cannot be read."""

    def __getstate__(self) -> Any:
        raise RuntimeError("no")


def test_every_type_on_the_list_is_there():
    for name in trusted.TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute)


def archive(*sizes: int, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive with parts of zeros."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as made:
        for number, size in enumerate(sizes):
            made.writestr(f"{number}.npy", bytes(size))
    return content.getvalue()


def test_what_grows_beyond_measure_is_refused_before_it_is_unpacked(monkeypatch):
    trusted.check_sizes(archive(40_000_000), "m")  # small enough, however well it is packed
    trusted.check_sizes(archive(60_000_000, compression=zipfile.ZIP_STORED), "m")

    with pytest.raises(ValueError, match="m cannot be loaded: it unpacks to 60 MB, more than 200"):
        trusted.loads(archive(30_000_000, 30_000_000), "m")
    monkeypatch.setattr(trusted, "UNPACKED_MB", 30)
    with pytest.raises(ValueError, match="m cannot be loaded: 40 MB unpacked; 30 are allowed"):
        trusted.loads(archive(40_000_000), "m")
    monkeypatch.setattr(trusted, "PARTS", 2)
    with pytest.raises(ValueError, match="m cannot be loaded: 3 parts; 2 are allowed"):
        trusted.loads(archive(1, 1, 1), "m")


X = np.random.default_rng(0).normal(size=(80, 3))


def forest() -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(2, random_state=0).fit(X, X[:, 0])


def histogram() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5).fit(X, X[:, 0])


def boosted() -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=2, n_jobs=1).fit(X, X[:, 0])


def spoil_forest(model: Any, name: str, value: int) -> None:
    getattr(model.estimators_[1].tree_, name)[0] = value


def spoil_histogram(model: Any, name: str, value: int) -> None:
    names = {"children_left": "left", "children_right": "right", "feature": "feature_idx"}
    model._predictors[1][0].nodes[names[name]][0] = value


def spoil_boosted(model: Any, name: str, value: int) -> None:
    import json

    names = {"children_left": "left_children", "children_right": "right_children"}
    content = json.loads(bytes(model.get_booster().save_raw("json")))
    tree = content["learner"]["gradient_booster"]["model"]["trees"][1]
    tree[names.get(name, "split_indices")][0] = value
    model.get_booster().load_model(bytearray(json.dumps(content).encode()))


KINDS = {"forest": spoil_forest, "histogram": spoil_histogram, "boosted": spoil_boosted}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("children_left", 10**6, "a child that is not there"),
        ("children_right", 0, "a child that is not there"),  # round in circles
        ("children_left", 1, "is the child of two"),
        ("feature", 3, "a feature that is not there"),
    ],
)
def test_trees_that_lead_astray_are_told(kind, name, value, message):
    from sklearn.pipeline import make_pipeline

    model = {"forest": forest, "histogram": histogram, "boosted": boosted}[kind]()
    chain = make_pipeline(model)
    trusted.check_trees([chain])
    if message == "is the child of two":
        spoil_twice(kind, model)
    else:
        KINDS[kind](model, name, value)

    with pytest.raises(ValueError, match=message):
        trusted.check_trees([chain])


def spoil_twice(kind: str, model: Any) -> None:
    """Both children of the root are the same one."""
    for side in ("children_left", "children_right"):
        KINDS[kind](model, side, 1)


def test_a_tree_of_more_features_than_its_rows_have():
    model = forest()
    model.estimators_[0].n_features_in_ = 2

    with pytest.raises(ValueError, match="a tree of 3 features"):
        trusted.check_trees(model)


def as_written_before(content: bytes, module: str, former: str) -> bytes:
    """The file as it was when the classes of ``module`` still stood in ``former``."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as new, zipfile.ZipFile(written, "w") as old:
        for name in new.namelist():
            part = new.read(name)
            if name == "schema.json":
                assert f'"{module}"'.encode() in part
                part = part.replace(f'"{module}"'.encode(), f'"{former}"'.encode())
            old.writestr(name, part)
    return written.getvalue()


@pytest.mark.parametrize(
    ("former", "model"),
    [
        ("weighting", lambda: WeightedClassifier(LogisticRegression())),
        ("conformal", lambda: ConformalRegressor(estimator=Ridge())),
        ("residual", lambda: ResidualRegressor(base=Ridge(), estimator=Ridge())),
        ("relative", lambda: LogRegressor(estimator=Ridge())),
    ],
)
def test_a_file_from_before_a_class_moved_still_opens(path, monkeypatch, former, model):
    former = f"ratchet.learning.{former}"
    monkeypatch.delitem(sys.modules, former, raising=False)
    X = np.arange(120.0).reshape(60, 2)
    before = model().fit(X, 1 + np.arange(60) % 3)
    trusted.dump(before, path)
    content = as_written_before(path.read_bytes(), type(before).__module__, former)

    loaded = trusted.loads(content, "m")

    assert type(loaded) is type(before)
    np.testing.assert_array_equal(loaded.predict(X), before.predict(X))


def test_every_moved_module_has_trusted_classes():
    for former, module in trusted.MOVED.items():
        assert any(name.startswith(f"{former}.") for name in trusted.FORMERLY_TRUSTED)
        assert any(name.startswith(f"{module}.") for name in trusted.TRUSTED)


def test_former_modules_lead_to_nothing_else(path):
    trusted.dump(fitted(), path)
    content = as_written_before(
        path.read_bytes(), "sklearn.linear_model._ridge", "ratchet.learning.naive"
    )

    with pytest.raises(ValueError, match=r"m cannot be loaded: .*ratchet\.learning\.naive\.Ridge"):
        trusted.loads(content, "m")
