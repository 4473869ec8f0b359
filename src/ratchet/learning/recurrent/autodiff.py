"""Training of any architecture, with gradients by TensorFlow's automatic differentiation.

The time of a small network on a CPU goes into Python and into starting small kernels, not into
arithmetic. Keras builds the network and TensorFlow differentiates it, but one program compiled by
XLA runs an epoch from the first batch to the last and then the validation. Learning rate and
dropout are its inputs, so one compilation serves all trials of a ``ProgramSpec``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, TypedDict

import keras
import numpy as np
import tensorflow as tf

from ratchet.learning.recurrent import schedule
from ratchet.learning.recurrent.network import build_network
from ratchet.learning.recurrent.types import (
    MAX_PROGRAMS,
    Array,
    ProgramSpec,
    State,
    TrainOptions,
    TrainResult,
    TrialParams,
)


class GivenDropout(keras.layers.Layer):
    """Dropout with factors given from outside: 0 for what is dropped, 1 / (1 - rate) for the rest.

    Attributes:
        width: channels of its input.
        factor: tensor (batch, width), set while a program is traced.
    """

    factor: Any = None

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Learn the width."""
        self.width = input_shape[-1]

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Multiply in training, at every time step of a sequence by the same."""
        if not training or self.factor is None:
            return inputs
        return inputs * (self.factor[:, None] if len(inputs.shape) == 3 else self.factor)


class AtAllSteps(keras.layers.TimeDistributed):
    """A dense layer on all time steps in one product, where Keras makes one for each."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply the layer, which works on the last axis."""
        return self.layer(inputs)


def training_copy(model: keras.Model) -> keras.Model:
    """The same network with the same weights' order, in layers that a program can be made of."""
    copy = keras.models.clone_model(model, clone_function=_training_layer)
    for layer in copy.layers:
        # A bidirectional layer holds two.
        inner = (getattr(layer, name, None) for name in ("forward_layer", "backward_layer"))
        for part in (layer, *inner):
            if hasattr(part, "use_cudnn"):
                part.use_cudnn = False  # XLA cannot compile calls of cuDNN
    return copy


def _training_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Dropout):
        return GivenDropout(name=layer.name)
    kind = type(layer)
    if isinstance(layer, keras.layers.TimeDistributed):
        kind = AtAllSteps
    return kind.from_config(layer.get_config())


VALIDATED = 1024  # validation windows at a time: bounds the memory

Tensors = tuple[tf.Tensor, ...]


class EpochInputs(TypedDict):
    """What an epoch takes beside the data; that of steps is padded, see ``schedule.pad``.

    Attributes:
        steps: how many there are.
        rows: windows of each step, shape (steps, batch).
        counted: their weights in the loss of the step, likewise.
        share: of all windows that a step sees, shape (steps,).
        learning_rate: of each step, corrected for the bias of Adam's moments, shape (steps,).
        dropout: share of outputs set to zero.
        draws: of each dropout layer, shape (steps, batch, units).
        validated: windows and weights of each step of the validation.
    """

    steps: Any
    rows: Any
    counted: Any
    share: Array
    learning_rate: Any
    dropout: Array
    draws: tuple[Array, ...]
    validated: tuple[Any, Any]


class Program:
    """What trains the networks of a specification for an epoch.

    Args:
        spec: what it is made for.
        compiled: whether XLA compiles it; without, TensorFlow runs the same graph by its kernels.
    """

    def __init__(self, spec: ProgramSpec, compiled: bool) -> None:
        self._spec = spec
        self._model = training_copy(self._network(seed=0))
        self._dropouts = [layer for layer in self._model.layers if isinstance(layer, GivenDropout)]
        self._fixed = [np.asarray(v) for v in self._model.non_trainable_variables]
        # A function of its own: TensorFlow warns of many traces of one and the same.
        self.epoch = tf.function(partial(self._epoch), jit_compile=compiled, autograph=False)

    def initial_weights(self, seed: int) -> list[Array]:
        """Weights before the first epoch, in the order of Keras' ``get_weights``."""
        weights: list[Array] = self._network(seed).get_weights()
        return weights

    def inputs(
        self, n: int, m: int, learning_rate: float, dropout: float, seed: int, epoch: int
    ) -> EpochInputs:
        """Inputs of an epoch with ``n`` training and ``m`` validation windows."""
        rows, counted = schedule.batches(n, self._spec.batch_size, seed, epoch)
        shape = rows.shape
        corrections = schedule.bias_corrections(epoch, len(rows))
        share = np.count_nonzero(counted, axis=1).astype(np.float32) / n
        return {
            "steps": np.int32(len(rows)),
            "rows": schedule.pad(rows),
            "counted": schedule.pad(counted),
            "share": schedule.pad(share),
            "learning_rate": schedule.pad(np.float32(learning_rate) * corrections),
            "dropout": np.array(dropout, dtype=np.float32),
            "draws": tuple(
                schedule.pad(schedule.uniforms((*shape, layer.width), seed, epoch, number))
                for number, layer in enumerate(self._dropouts)
            ),
            "validated": schedule.in_order(m, VALIDATED),
        }

    def _network(self, seed: int) -> keras.Model:
        spec = self._spec
        return build_network(
            architecture=spec.architecture,
            units=spec.units,
            activation=spec.activation,
            # Any rate but 0, at which Keras leaves dropout out.
            dropout=0.5,
            lookback=spec.lookback,
            features=spec.features,
            horizon=spec.horizon,
            seed=seed,
        )

    def _epoch(
        self, variables: dict[str, Tensors], inputs: EpochInputs, data: Tensors
    ) -> tuple[dict[str, Tensors], Tensors]:
        X, y, X_val, y_val = data
        at_most = inputs["rows"].shape[0]

        def step(k: tf.Tensor, loss: tf.Tensor, variables: dict[str, Tensors]) -> tuple[Any, ...]:
            rows, counted = inputs["rows"][k], inputs["counted"][k]
            with tf.GradientTape() as tape:
                tape.watch(variables["weights"])
                forecast = self._forecast(variables["weights"], tf.gather(X, rows), inputs, k)
                squared = tf.reduce_mean(tf.square(forecast - tf.gather(y, rows)), axis=1)
                value = tf.reduce_sum(counted * squared)
            gradients = tape.gradient(value, variables["weights"])
            variables = _adam(variables, gradients, inputs["learning_rate"][k])
            return k + 1, loss + inputs["share"][k] * value, variables

        start = (tf.constant(0), tf.constant(0.0), variables)
        _, loss, variables = tf.while_loop(
            lambda k, *_: k < inputs["steps"],
            step,
            start,
            maximum_iterations=at_most,
            parallel_iterations=1,
        )
        errors = self._validate(variables["weights"], inputs["validated"], X_val, y_val)
        return variables, (loss, *errors)

    def _forecast(
        self, weights: Tensors, X: tf.Tensor, inputs: EpochInputs | None, k: tf.Tensor
    ) -> tf.Tensor:
        """Forecasts, in training with the dropout of step ``k``."""
        if inputs is not None:
            for layer, draws in zip(self._dropouts, inputs["draws"], strict=True):
                keep_mask = tf.cast(draws[k] >= inputs["dropout"], tf.float32)
                layer.factor = keep_mask / (1 - inputs["dropout"])
        forecast, _ = self._model.stateless_call(
            list(weights), self._fixed, X, training=inputs is not None
        )
        return forecast

    def _validate(
        self, weights: Tensors, validated: tuple[Any, Any], X: tf.Tensor, y: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean squared and mean absolute error."""
        rows, counted = validated
        chunks = rows.shape[0]

        def chunk(k: tf.Tensor, squared: tf.Tensor, absolute: tf.Tensor) -> tuple[Any, ...]:
            forecast = self._forecast(weights, tf.gather(X, rows[k]), None, k)
            error = forecast - tf.gather(y, rows[k])
            return (
                k + 1,
                squared + tf.reduce_sum(counted[k] * tf.reduce_mean(tf.square(error), axis=1)),
                absolute + tf.reduce_sum(counted[k] * tf.reduce_mean(tf.abs(error), axis=1)),
            )

        start = (tf.constant(0), tf.constant(0.0), tf.constant(0.0))
        _, squared, absolute = tf.while_loop(
            lambda k, *_: k < chunks, chunk, start, maximum_iterations=chunks
        )
        return squared, absolute


def _adam(
    variables: dict[str, Tensors], gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor
) -> dict[str, Tensors]:
    """One step of Adam (Kingma and Ba 2015) as in Keras; the learning rate is bias-corrected."""
    beta_1, beta_2 = schedule.BETAS
    first = tuple(
        m + (g - m) * (1 - beta_1) for m, g in zip(variables["first"], gradients, strict=True)
    )
    second = tuple(
        v + (g * g - v) * (1 - beta_2) for v, g in zip(variables["second"], gradients, strict=True)
    )
    weights = tuple(
        w - learning_rate * m / (tf.sqrt(v) + schedule.EPSILON)
        for w, m, v in zip(variables["weights"], first, second, strict=True)
    )
    return {"weights": weights, "first": first, "second": second}


def train_group(
    spec: ProgramSpec,
    trials: Sequence[TrialParams],
    X: Array,
    y: Array,
    X_val: Array,
    y_val: Array,
    options: TrainOptions,
) -> list[TrainResult]:
    """Train trials that share a program, one after another by the same program.

    For arguments and results see ``ratchet.learning.recurrent.training.train_group``.
    """
    states, program = options.states, program_of(spec, options.compiled)
    data = tuple(tf.constant(schedule.pad(part)) for part in (X, y, X_val, y_val))
    if states is None:
        weights = options.weights or program.initial_weights(options.seed)
        states = [_start(trial, weights) for trial in trials]
    return [
        _train(program, trial, data, (len(X), len(X_val)), state, options)
        for trial, state in zip(trials, states, strict=True)
    ]


def _train(
    program: Program,
    trial: TrialParams,
    data: tuple[tf.Tensor, ...],
    sizes: tuple[int, int],
    start: State,
    options: TrainOptions,
) -> TrainResult:
    """Train one candidate from a state on."""
    progress = schedule.Schedule([trial], [start["schedule"]])
    variables, best = start["variables"], start["best"]
    last = trial.epochs if options.until is None else min(options.until, trial.epochs)
    while not progress.done and progress.epoch < last:
        rate, epoch = float(progress.learning_rate[0]), progress.epoch
        inputs = program.inputs(*sizes, rate, trial.dropout, options.seed, epoch)
        variables, losses = program.epoch(variables, inputs, data)
        if progress.update(*(np.array([float(loss)]) for loss in losses))[0]:
            best = variables["weights"]
    variables, best = tf.nest.map_structure(np.asarray, (variables, best))
    state = State(schedule=progress.state(0), variables=variables, best=best)
    return TrainResult(
        weights=list(best),
        history=progress.history(0),
        best_epoch=int(progress.best_epoch[0]),
        status=progress.status(0),
        state=state if options.keep_state and not progress.done else None,
    )


def _start(trial: TrialParams, weights: Sequence[Array]) -> State:
    """State of a candidate before its first epoch."""
    zeros = tuple(np.zeros_like(weight) for weight in weights)
    return {
        "schedule": schedule.Schedule([trial]).state(0),
        "variables": {"weights": tuple(weights), "first": zeros, "second": zeros},
        "best": tuple(weights),
    }


@lru_cache(maxsize=MAX_PROGRAMS)
def program_of(spec: ProgramSpec, compiled: bool) -> Program:
    """The program of a specification; the last few are kept, since compiling takes seconds."""
    return Program(spec, compiled)
