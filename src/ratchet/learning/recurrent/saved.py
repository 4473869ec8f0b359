"""A fitted recurrent regressor as a folder that runs no code when loaded.

``network.keras`` is a plain Keras model from scaled windows to scaled targets, of use without this
project; ``regressor.json`` says how to scale, what columns to give and how well it did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ratchet.learning.atomic_files import atomic_write
from ratchet.learning.recurrent.regressor import RecurrentRegressor
from ratchet.learning.recurrent.scaling import WindowScaler
from ratchet.learning.recurrent.types import TrainResult

_NETWORK, _CARD = "network.keras", "regressor.json"


def save(
    model: RecurrentRegressor, folder: str | Path, metrics: Mapping[str, float] | None = None
) -> None:
    """Write a fitted regressor atomically into a new folder.

    Args:
        model: the regressor.
        folder: where to; its parents are made.
        metrics: its scores, saved beside it.

    Raises:
        FileExistsError: the folder holds something.
        NotFittedError: the regressor is not fitted.
    """
    check_is_fitted(model)
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; a regressor is saved into a new folder")
    with atomic_write(folder, replace=False) as partial:
        partial.mkdir()
        model.keras_model().save(partial / _NETWORK)
        content: dict[str, object] = {**_card(model), "metrics": dict(metrics or {})}
        content["sha256"] = {_NETWORK: _file_hash(partial / _NETWORK), _CARD: _hash(content)}
        (partial / _CARD).write_text(json.dumps(content, indent=1), encoding="utf-8")


def save_files(model: RecurrentRegressor, stem: Path, about: Mapping[str, Any]) -> dict[str, Path]:
    """Write a fitted regressor as separate files, for use without this project.

    Args:
        model: the regressor.
        stem: path of the files without their endings; its folder is made.
        about: what else is known of it.

    Returns:
        ``network`` (``<stem>.keras``, from scaled windows to scaled targets), ``scaler``
        (``<stem>_scaler.json``) and ``card`` (``<stem>.json``, with the hashes of the two).

    Raises:
        NotFittedError: the regressor is not fitted.
    """
    check_is_fitted(model)
    files = {
        "network": stem.with_name(f"{stem.name}.keras"),
        "scaler": stem.with_name(f"{stem.name}_scaler.json"),
        "card": stem.with_name(f"{stem.name}.json"),
    }
    card = dict(_card(model))
    scaler = card.pop("scaler")
    with atomic_write(files["network"]) as partial:
        model.keras_model().save(partial)
    with atomic_write(files["scaler"]) as partial:
        partial.write_text(json.dumps(scaler, indent=1), encoding="utf-8")
    hashes = {files[kind].name: _file_hash(files[kind]) for kind in ("network", "scaler")}
    with atomic_write(files["card"]) as partial:
        content = {**card, **about, "sha256": hashes}
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return files


def load(folder: str | Path) -> RecurrentRegressor:
    """Read a regressor that ``save`` wrote.

    Raises:
        ValueError: the folder is missing, incomplete or damaged.
    """
    import keras

    folder = Path(folder)
    card = read_card(folder)
    network = keras.models.load_model(folder / _NETWORK, compile=False, safe_mode=True)
    trained = TrainResult(weights=network.get_weights(), **card["training"])
    model = RecurrentRegressor(**card["parameters"])
    return model.from_result(
        trained, WindowScaler.from_dict(card["scaler"]), card["signature"]["features"]
    )


def read_card(folder: str | Path) -> Mapping[str, Any]:
    """Read the metadata of a saved network, after checking that neither was changed.

    Returns:
        ``parameters``, ``signature``, ``scaler``, ``training`` and ``metrics``.

    Raises:
        ValueError: the folder is missing, incomplete or damaged.
    """
    folder = Path(folder)
    try:
        card: dict[str, Any] = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        hashes = card.pop("sha256")
        actual = {_NETWORK: _file_hash(folder / _NETWORK), _CARD: _hash(card)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} holds no whole recurrent regressor: {error}") from error
    damaged = [name for name in actual if actual[name] != hashes.get(name)]
    if damaged:
        raise ValueError(f"{folder} is damaged: {', '.join(damaged)} changed after it was saved")
    return card


def _card(model: RecurrentRegressor) -> Mapping[str, object]:
    names = getattr(model, "feature_names_in_", None)
    return {
        "parameters": _plain(model.get_params()),
        "signature": {
            "features": None if names is None else [str(name) for name in names],
            "lookback": model.scaler_.lookback,
            "features_per_step": model.scaler_.features,
            "horizon": int(model.horizon),
            "input_dtype": "float32",
            "output_dtype": "float64",
        },
        "scaler": model.scaler_.as_dict(),
        "training": {
            "history": model.history_,
            "best_epoch": model.best_epoch_,
            "status": model.status_,
        },
    }


def _plain(parameters: Mapping[str, Any]) -> Mapping[str, object]:
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in parameters.items()
    }
    if not isinstance(plain["random_state"], int | None):
        raise ValueError("random_state must be a whole number or None to be saved")
    return plain


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
