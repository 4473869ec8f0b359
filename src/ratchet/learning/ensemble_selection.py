"""Greedy ensemble selection, and the weighted mean of fitted models that it ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

Array = NDArray[np.float64]

ROUNDS = 30
"""Rounds of a selection: weights are multiples of a thirtieth at the finest."""


@dataclass(frozen=True)
class Round:
    """State of a selection after one more candidate was added.

    Attributes:
        weights: candidate -> its share of what was added so far; sums to 1.
        loss: of the mean with these weights.
    """

    weights: dict[str, float]
    loss: float


def select_ensemble(
    predictions: Mapping[str, Array],
    loss: Callable[[Array], float],
    *,
    members: int,
    rounds: int = ROUNDS,
) -> list[Round]:
    """Choose weights of candidates by their predictions for rows that they were not fitted on.

    Caruana, Niculescu-Mizil, Crew, Ksikes (2004), "Ensemble selection from libraries of models",
    ICML: beginning with nothing, every round adds, with replacement, the candidate with which the
    mean has the lowest loss. The first round takes the best single one that predicts all rows, so
    that the best round is never worse than that on these rows. The order of the candidates does not
    matter: among equals the first by name is taken.

    A candidate may lack predictions for some of the rows, as a network does for the folds of other
    searches: it has a say in the other rows alone, and there is no round in which a row has none.
    So it has a weight only beside one that predicts all rows.

    Args:
        predictions: candidate -> predictions, all of one shape (n,) or (n, classes); NaN where it
            has none.
        loss: of such predictions; smaller is better.
        members: how many different candidates may have a weight.
        rounds: how many times one is added.

    Returns:
        The rounds in their order; see ``best_round``.

    Raises:
        ValueError: there are no candidates, no rounds or no members, or no loss is a number.
    """
    if not predictions or members < 1 or rounds < 1:
        raise ValueError("an ensemble needs at least one candidate, one member and one round")
    known = {name: ~np.isnan(predictions[name]) for name in sorted(predictions)}
    known = {name: has for name, has in known.items() if has.any()}
    filled = {name: np.where(has, predictions[name], 0.0) for name, has in known.items()}
    counts = dict.fromkeys(known, 0)
    total = np.zeros(np.shape(next(iter(predictions.values()))))
    taken = total.copy()
    history: list[Round] = []
    for size in range(1, rounds + 1):
        full = sum(count > 0 for count in counts.values()) >= members
        open_to = [name for name, count in counts.items() if count or not full]
        with np.errstate(invalid="ignore"):  # 0 / 0 of a row that none has predicted
            losses = {
                name: loss((total + filled[name]) / (taken + known[name])) for name in open_to
            }
        finite = {name: value for name, value in losses.items() if np.isfinite(value)}
        if not finite:
            raise ValueError(f"round {size}: the loss is no number: {losses}")
        best = min(finite, key=lambda name: finite[name])
        counts[best] += 1
        total += filled[best]
        taken += known[best]
        weights = {name: count / size for name, count in counts.items() if count}
        history.append(Round(weights, finite[best]))
    return history


def best_round(history: Sequence[Round]) -> Round:
    """The round with the lowest loss; the earliest of equals, which has the fewest members."""
    return min(history, key=lambda each: each.loss)


def weighted_mean(predictions: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Mean of the predictions of some candidates, of their shape.

    As it is linear, it also gives what the same ensemble of refitted candidates predicts.
    """
    parts = [weight * np.asarray(predictions[name], np.float64) for name, weight in weights.items()]
    mean: Array = np.add.reduce(parts)
    return mean


def weighted_mean_of_known(predictions: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Mean of the predictions of some candidates, in each row of those that predict it.

    Args:
        predictions: as of ``select_ensemble``.
        weights: candidate -> its weight; some of these predict all rows.
    """
    known = {name: ~np.isnan(predictions[name]) for name in weights}
    filled = {name: np.where(known[name], predictions[name], 0.0) for name in weights}
    mean: Array = weighted_mean(filled, weights) / weighted_mean(known, weights)
    return mean


class _WeightedMean(BaseEstimator):
    """What both means have in common.

    ``VotingRegressor`` and ``VotingClassifier`` hold every model three times, which skops writes
    three times, and hand all columns to all of them.

    Args:
        models: fitted estimators of one task. Each is given the columns that it knows by name.
        weights: of each, above 0; they sum to 1.
    """

    def __init__(self, models: Sequence[BaseEstimator], weights: Sequence[float]) -> None:
        self.models = models
        self.weights = weights

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing: the models are fitted."""
        return self

    def _mean(self, X: Any, method: str) -> Array:
        parts = {
            str(i): getattr(model, method)(_known_columns(model, X))
            for i, model in enumerate(self.models)
        }
        return weighted_mean(parts, dict(zip(parts, self.weights, strict=True)))

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns that one of the models knows.

        Raises:
            AttributeError: none of them knows any.
        """
        known = [name for model in self.models for name in getattr(model, "feature_names_in_", [])]
        if not known:
            raise AttributeError("the models of this mean know no columns by name")
        return np.array(list(dict.fromkeys(known)), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class WeightedMeanRegressor(RegressorMixin, _WeightedMean):
    """The weighted mean of what fitted regressors predict."""

    def predict(self, X: Any) -> Array:
        """Predict rows ``X`` with the columns of all models: shape (n,)."""
        return self._mean(X, "predict").reshape(-1)


class WeightedMeanClassifier(ClassifierMixin, _WeightedMean):
    """The weighted mean of the probabilities that fitted classifiers of the same classes give."""

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes, in the order of the columns of probabilities."""
        classes: NDArray[Any] = self.models[0].classes_
        return classes

    def predict_proba(self, X: Any) -> Array:
        """Probabilities for rows ``X``, shape (n, classes)."""
        return self._mean(X, "predict_proba")

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each row, shape (n,)."""
        best: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return best


def _known_columns(model: BaseEstimator, X: Any) -> Any:
    names = list(getattr(model, "feature_names_in_", []))
    return X[names] if names and hasattr(X, "columns") and list(X.columns) != names else X
