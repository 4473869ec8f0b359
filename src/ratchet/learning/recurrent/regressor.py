"""Recurrent networks with the interface of a scikit-learn regressor."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict
from numbers import Integral, Real
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from ratchet.learning.recurrent.architectures import architecture
from ratchet.learning.recurrent.architectures.blocks import keras_activation
from ratchet.learning.recurrent.network import Predictor, build_network
from ratchet.learning.recurrent.scaling import WindowScaler, count_features
from ratchet.learning.recurrent.training import train_epochs, train_group
from ratchet.learning.recurrent.types import ProgramSpec, TrainOptions, TrainResult, TrialParams

Array = npt.NDArray[np.float64]

# Networks that predict. They are made from the weights when needed and belong to no estimator's
# state, which so can be pickled, copied and compared.
_NETWORKS: WeakKeyDictionary[RecurrentRegressor, Predictor] = WeakKeyDictionary()


class RecurrentRegressor(RegressorMixin, BaseEstimator):
    """A recurrent network that forecasts from windows of time steps.

    Windows are scaled 0-1 per channel, and targets too, as the training rows have them. Training
    keeps the weights of the epoch with the lowest validation loss (mean squared error), halves
    the learning rate when that loss stays flat and ends when it has not fallen for ``patience``
    epochs, or has diverged.

    Args:
        architecture: name of the network's shape.
        units: width of a recurrent layer.
        dropout: share of a layer's outputs set to zero in training, from 0 to below 1.
        activation: name of the activation of the recurrent layers.
        learning_rate: of Adam, at the start.
        batch_size: windows per training step.
        epochs: passes over the training rows at most.
        patience: epochs without a lower validation loss after which training ends.
        lookback: time steps of a window; it divides the columns of ``X``.
        horizon: values forecast for each window.
        compiled: whether to compile training; not worth it for an epoch or two.
        random_state: of initial weights, shuffles and dropout.

    Attributes:
        weights_: arrays, in the order of ``get_weights`` of the Keras model.
        scaler_: from the units of the data to 0-1 and back.
        history_: ``loss``, ``val_loss``, ``val_mae`` and ``learning_rate``, a value per epoch;
            without validation rows ``loss`` and ``learning_rate``.
        best_epoch_: number of the epoch the weights are from, counted from 1.
        n_epochs_: epochs trained.
        status_: how training ended: ``completed``, ``stopped`` (patience) or ``diverged``.
        n_features_in_: columns of ``X``: lookback x features.
        feature_names_in_: their names, where ``X`` was a frame.
    """

    def __init__(
        self,
        *,
        architecture: str = "gru",
        units: int = 64,
        dropout: float = 0.1,
        activation: str = "tanh",
        learning_rate: float = 1e-3,
        batch_size: int = 32,
        epochs: int = 50,
        patience: int = 10,
        lookback: int = 1,
        horizon: int = 1,
        compiled: bool = True,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.architecture = architecture
        self.units = units
        self.dropout = dropout
        self.activation = activation
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.lookback = lookback
        self.horizon = horizon
        self.compiled = compiled
        self.random_state = random_state

    def fit(
        self, X: Any, y: npt.ArrayLike, validation_data: tuple[Any, npt.ArrayLike] | None = None
    ) -> Self:
        """Train the network.

        Args:
            X: flattened windows, shape (n, lookback x features), oldest step first, rows in the
                order of time.
            y: targets, shape (n,), or (n, horizon) for a horizon above 1.
            validation_data: rows and targets that stop training and are not learned from. Without,
                the last 10 % of the rows do so.

        Raises:
            ValueError: parameters or shapes that make no sense, values that are not finite, or
                fewer than two rows without ``validation_data``.
        """
        if validation_data is not None and len(validation_data) != 2:
            raise ValueError("validation_data must be a pair (X, y)")
        rows = self._checked(X, y, reset=True, least=2 if validation_data is None else 1)
        if validation_data is None:
            rows, validation = _split(*rows)
        else:
            validation = self._checked(*validation_data)
        scaler = WindowScaler.fit(*rows, self.lookback)
        [trained] = train_group(
            self.program_spec(self.n_features_in_),
            [self.trial_params()],
            *_scaled(scaler, *rows),
            *_scaled(scaler, *validation),
            TrainOptions(seed=self.seed(), compiled=self.compiled),
        )
        return self._take(trained, scaler)

    def fit_epochs(self, X: Any, y: npt.ArrayLike, learning_rates: Sequence[float]) -> Self:
        """Train on all rows, with none held out to say when to stop.

        To fit a model again on more rows, give the rates up to its best epoch:
        ``clone(model).fit_epochs(X, y, model.history_["learning_rate"][: model.best_epoch_])``.

        Args:
            X: flattened windows, shape (n, lookback x features).
            y: targets, shape (n,), or (n, horizon) for a horizon above 1.
            learning_rates: of Adam, one per epoch. They stand in for ``learning_rate``,
                ``epochs`` and ``patience``.

        Raises:
            ValueError: as ``fit``, or no learning rates.
        """
        rows = self._checked(X, y, reset=True)
        scaler = WindowScaler.fit(*rows, self.lookback)
        trained = train_epochs(
            self.program_spec(self.n_features_in_),
            self.trial_params(),
            *_scaled(scaler, *rows),
            learning_rates,
            seed=self.seed(),
            compiled=self.compiled,
        )
        return self._take(trained, scaler)

    def continue_epochs(self, X: Any, y: npt.ArrayLike, learning_rates: Sequence[float]) -> Self:
        """Give a copy that was trained further, from these weights on and in the same scaling.

        Args:
            X: flattened windows, shape (n, lookback x features): usually the rows of the first
                training and newer ones.
            y: targets, shape (n,), or (n, horizon) for a horizon above 1.
            learning_rates: of Adam, whose moments start from 0, one per epoch.

        Returns:
            The copy. Its ``history_`` and ``best_epoch_`` are those of the further epochs: to train
            from the start again, take the rates of this network.

        Raises:
            ValueError: as ``fit_epochs``.
        """
        check_is_fitted(self)
        model: Self = copy(self)
        trained = train_epochs(
            self.program_spec(self.n_features_in_),
            self.trial_params(),
            *_scaled(self.scaler_, *self._checked(X, y)),
            learning_rates,
            seed=self.seed(),
            weights=self.weights_,
            compiled=self.compiled,
        )
        return model._take(trained, self.scaler_)

    def predict(self, X: Any) -> Array:
        """Forecast.

        Args:
            X: flattened windows, shape (n, lookback x features).

        Returns:
            Shape (n,), or (n, horizon) for a horizon above 1, in the units of the target.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        if self not in _NETWORKS:
            _NETWORKS[self] = Predictor(self.keras_model())
        scaled = _NETWORKS[self](self.scaler_.windows(rows))
        forecast = self.scaler_.restore(scaled)
        return forecast[:, 0] if self.horizon == 1 else forecast

    def program_spec(self, n_features_in: int) -> ProgramSpec:
        """Give the specification of the program that trains this estimator.

        Args:
            n_features_in: columns of ``X``.

        Raises:
            ValueError: parameters that make no sense.
        """
        check_parameters(self.get_params())
        return ProgramSpec(
            architecture=self.architecture,
            units=int(self.units),
            activation=self.activation,
            batch_size=int(self.batch_size),
            lookback=int(self.lookback),
            features=count_features(n_features_in, self.lookback),
            horizon=int(self.horizon),
        )

    def trial_params(self) -> TrialParams:
        """Give the inputs of that program for this estimator.

        Raises:
            ValueError: parameters that make no sense.
        """
        check_parameters(self.get_params())
        return TrialParams(
            dropout=float(self.dropout),
            learning_rate=float(self.learning_rate),
            epochs=int(self.epochs),
            patience=int(self.patience),
        )

    def seed(self) -> int:
        """Give the seed of initial weights, shuffles and dropout."""
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def fit_scaler(self, X: Any, y: npt.ArrayLike) -> WindowScaler:
        """Give the scaling of these training rows, without changing the estimator.

        Raises:
            ValueError: as ``fit``.
        """
        model: Self = clone(self)
        return WindowScaler.fit(*model._checked(X, y, reset=True), self.lookback)

    def from_result(
        self, trained: TrainResult, scaler: WindowScaler, names: Sequence[str] | None = None
    ) -> Self:
        """Give a fitted copy of this estimator, from training done elsewhere.

        Args:
            trained: what ``train_group`` gave for this estimator's ``program_spec`` and
                ``trial_params``.
            scaler: what ``fit_scaler`` gave for the training rows.
            names: of the columns of ``X``, where it was a frame.
        """
        model: Self = clone(self)
        model.n_features_in_ = scaler.lookback * scaler.features
        if names is not None:
            model.feature_names_in_ = np.asarray(names, dtype=object)
        return model._take(trained, scaler)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = self.horizon == 1
        tags.target_tags.multi_output = self.horizon != 1
        return tags

    def _take(self, trained: TrainResult, scaler: WindowScaler) -> Self:
        if trained.best_epoch == 0:
            warnings.warn(
                "training diverged in its first epoch, and the weights are the initial ones; a "
                "lower learning_rate may help",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.weights_ = trained.weights
        self.scaler_ = scaler
        self.history_ = trained.history
        self.best_epoch_ = trained.best_epoch
        self.status_ = trained.status
        self.n_epochs_ = len(trained.history["loss"])
        _NETWORKS.pop(self, None)
        return self

    def keras_model(self) -> Any:
        """Give the trained network as a Keras model: from scaled windows to scaled targets."""
        check_is_fitted(self)
        sizes = asdict(self.program_spec(self.n_features_in_))
        del sizes["batch_size"]
        model = build_network(**sizes, dropout=self.dropout)
        model.set_weights(self.weights_)
        return model

    def _checked(
        self, X: Any, y: npt.ArrayLike, *, reset: bool = False, least: int = 1
    ) -> tuple[Any, Array]:
        check_parameters(self.get_params())
        rows, target = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32),
            ensure_min_samples=least,
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        if self.horizon == 1:
            return rows, column_or_1d(target, dtype=np.float64, warn=True)
        if target.shape[1:] != (self.horizon,):
            raise ValueError(
                f"y must have shape (n, horizon), with horizon={self.horizon}, not {target.shape}"
            )
        return rows, target.astype(np.float64)


def _split(X: Any, y: Array) -> tuple[tuple[Any, Array], tuple[Any, Array]]:
    """Hold out the last 10 % of the rows."""
    stop = len(X) - max(1, len(X) // 10)
    return (X[:stop], y[:stop]), (X[stop:], y[stop:])


def _scaled(scaler: WindowScaler, X: Any, y: Any) -> tuple[Any, Any]:
    return scaler.windows(X), scaler.targets(y)


_AT_LEAST_1 = ("units", "batch_size", "epochs", "patience", "lookback", "horizon")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the parameters of a network and its training.

    Args:
        parameters: as ``get_params`` of the regressor gives them.

    Raises:
        ValueError: a parameter is out of its range, or names an unknown architecture or activation.
    """
    for name in _AT_LEAST_1:
        value = parameters[name]
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    _check_number("dropout", parameters["dropout"], lambda value: 0 <= value < 1, "0 <= x < 1")
    _check_number(
        "learning_rate", parameters["learning_rate"], lambda value: 0 < value < math.inf, "x > 0"
    )
    architecture(parameters["architecture"])
    keras_activation(parameters["activation"])


def _check_number(name: str, value: Any, allowed: Callable[[Any], bool], described: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not allowed(value):
        raise ValueError(f"{name} must be a number with {described}, not {value!r}")
