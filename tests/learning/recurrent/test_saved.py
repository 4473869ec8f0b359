"""A folder gives the same regressor back, or says what is wrong with it."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from ratchet.learning.recurrent import saved
from ratchet.learning.recurrent.regressor import RecurrentRegressor


def windows(columns=6, horizon=1):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, columns)) * 1e3, columns=list("abcdefgh")[:columns])
    y = X.to_numpy()[:, :horizon] / 7 + 1e5
    return X, y[:, 0] if horizon == 1 else y


@pytest.fixture(scope="module")
def fitted() -> RecurrentRegressor:
    return RecurrentRegressor(units=4, epochs=2, lookback=3, compiled=False).fit(*windows())


@pytest.fixture(scope="module")
def original(fitted, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "models" / "gru"
    saved.save(fitted, folder, metrics={"rmse": 12.5})
    return folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "gru"))


def test_it_comes_back_as_it_was(fitted, folder):
    X, _ = windows()

    loaded = saved.load(folder)

    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    assert loaded.feature_names_in_.tolist() == list("abcdef")
    for name in ("best_epoch_", "n_epochs_", "status_", "n_features_in_"):
        assert getattr(loaded, name) == getattr(fitted, name)
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(X[X.columns[::-1]])


@pytest.mark.parametrize(
    ("options", "horizon"),
    [
        ({"architecture": "lstm", "activation": "swish", "lookback": 2}, 3),
        ({"architecture": "multi_path", "activation": "mish", "lookback": 6}, 1),
        ({"units": np.int64(3), "dropout": np.float32(0.5), "random_state": None}, 1),
    ],
)
def test_so_do_others(tmp_path, options, horizon):
    X, y = windows(horizon=horizon)
    parameters = {"units": 2, "epochs": 1, "compiled": False, "horizon": horizon, **options}
    model = RecurrentRegressor(**parameters).fit(X.to_numpy(), y)

    saved.save(model, str(tmp_path / "model"))
    loaded = saved.load(str(tmp_path / "model"))

    np.testing.assert_array_equal(loaded.predict(X.to_numpy()), model.predict(X.to_numpy()))
    assert not hasattr(loaded, "feature_names_in_")


def test_the_network_is_of_use_without_this_project(fitted, folder):
    import keras

    X, _ = windows()
    card = json.loads((folder / "regressor.json").read_text())
    low, span = (np.array(card["scaler"][name]) for name in ("low", "span"))
    scaled = (X.to_numpy().reshape(-1, 3, 2) - low) / span

    network = keras.models.load_model(folder / "network.keras", safe_mode=True)
    forecast = network.predict(scaled, verbose=0)[:, 0]

    forecast = forecast * card["scaler"]["target_span"] + card["scaler"]["target_low"]
    np.testing.assert_allclose(forecast, fitted.predict(X), rtol=1e-6)


def test_the_card_says_what_it_takes_and_how_good_it_is(folder):
    card = saved.read_card(folder)
    assert card["metrics"] == {"rmse": 12.5}
    assert card["signature"] == {
        "features": list("abcdef"),
        "lookback": 3,
        "features_per_step": 2,
        "horizon": 1,
        "input_dtype": "float32",
        "output_dtype": "float64",
    }


def test_nothing_else_is_left_behind(original):
    assert [path.name for path in original.parent.iterdir()] == ["gru"]
    assert {path.name for path in original.iterdir()} == {"network.keras", "regressor.json"}


def change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_scaler(path: Path) -> None:
    card = json.loads(path.read_text())
    card["scaler"]["target_span"] *= 2
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("network.keras", Path.unlink, "holds no whole recurrent regressor"),
        ("regressor.json", Path.unlink, "holds no whole recurrent regressor"),
        ("network.keras", change_byte, "is damaged: network.keras changed"),
        ("network.keras", lambda path: path.write_bytes(b""), "is damaged: network.keras changed"),
        ("regressor.json", change_scaler, "is damaged: regressor.json changed"),
        ("regressor.json", lambda path: path.write_text("{"), "no whole recurrent regressor"),
        ("regressor.json", lambda path: path.write_text("[]"), "no whole recurrent regressor"),
        ("regressor.json", lambda path: path.write_text("{}"), "no whole recurrent regressor"),
        ("regressor.json", lambda path: path.write_bytes(b"\xff"), "no whole recurrent regressor"),
        ("", shutil.rmtree, "holds no whole recurrent regressor"),
    ],
)
def test_a_damaged_folder_is_refused(folder, name, change, message):
    change(folder / name)
    with pytest.raises(ValueError, match=message):
        saved.load(folder)


def test_a_network_that_holds_code_is_refused_and_not_run(folder, tmp_path, monkeypatch):
    """With the right hashes: whoever can change the network can change them, too."""
    import keras

    monkeypatch.chdir(tmp_path)
    code = keras.layers.Lambda(lambda x: __import__("os").mkdir("exploded") or x)
    keras.Sequential([keras.Input((3, 2)), code]).save(folder / "network.keras")
    Path("exploded").rmdir()  # it ran when it was made
    card = json.loads((folder / "regressor.json").read_text())
    card["sha256"]["network.keras"] = saved._file_hash(folder / "network.keras")
    (folder / "regressor.json").write_text(json.dumps(card))
    assert saved.read_card(folder)

    with pytest.raises(ValueError, match="Lambda"):
        saved.load(folder)

    assert not Path("exploded").exists()


def test_what_cannot_be_saved(tmp_path, fitted, folder):
    with pytest.raises(FileExistsError, match="gru is not empty"):
        saved.save(fitted, folder)
    assert saved.load(folder).n_epochs_ == 2
    with pytest.raises(NotFittedError):
        saved.save(RecurrentRegressor(), tmp_path / "new")
    generator = np.random.RandomState(0)
    model = RecurrentRegressor(units=1, epochs=1, compiled=False, random_state=generator)
    with pytest.raises(ValueError, match="random_state must be a whole number or None"):
        saved.save(model.fit(*windows()), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["gru"]


def test_a_save_that_is_killed_leaves_no_folder(tmp_path, fitted):
    arguments = (fitted, tmp_path)
    child = multiprocessing.get_context("fork").Process(target=save_and_hang, args=arguments)
    child.start()
    for _ in range(1000):
        if list(tmp_path.glob(".gru.*/gru/network.keras")):
            break
        time.sleep(0.01)

    child.kill()
    child.join()

    assert list(tmp_path.glob(".gru.*/gru/network.keras"))
    assert not (tmp_path / "gru").exists()
    saved.save(fitted, tmp_path / "gru")  # and the left-over is in nobody's way
    assert saved.load(tmp_path / "gru").n_epochs_ == 2


class HalfWritten:
    """Stands in for a network: half of it is written, and then nothing more."""

    def save(self, path: Path) -> None:
        path.write_bytes(b"half")
        time.sleep(60)


def save_and_hang(model: RecurrentRegressor, parent: Path) -> None:
    model.keras_model = HalfWritten
    saved.save(model, parent / "gru")
