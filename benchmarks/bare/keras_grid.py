"""The grid of recurrent networks as a Python loop of Keras ``fit`` calls, and nothing of ours.

`python bare/keras_grid.py points.json epochs folder`: trains each point on ``folder/windows.npz``
with early stopping and checkpoints, and writes to ``folder/keras.json`` what each point took: CPU
and wall seconds until its first epoch was done, and of a later epoch (the median).
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np

LAYERS = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


def now() -> np.ndarray:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([usage.ru_utime + usage.ru_stime, time.perf_counter()])


class Clock(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.ends = [now()]

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.ends.append(now())


def train(point: dict, data: list, epochs: int, folder: Path) -> dict[str, list[float]]:
    X, y, X_val, y_val = data
    clock = Clock()
    model = keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            LAYERS[point["architecture"]](point["units"]),
            keras.layers.Dropout(point["dropout"]),
            keras.layers.Dense(y.shape[1]),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(point["learning_rate"]), loss="mse")
    model.fit(
        X,
        y,
        validation_data=(X_val, y_val),
        batch_size=point["batch_size"],
        epochs=epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=epochs, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True),
            clock,
        ],
    )
    took = np.diff(clock.ends, axis=0)
    later = [statistics.median(column) for column in took[1:].T]
    return {"first": took[0].tolist(), "later": later}


def main() -> None:
    points, epochs, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    with np.load(folder / "windows.npz") as windows:
        data = [windows[name] for name in windows.files]
    took = [train(point, data, epochs, folder) for point in json.loads(points.read_text())]
    (folder / "keras.json").write_text(json.dumps(took))


if __name__ == "__main__":
    main()
