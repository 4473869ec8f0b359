"""Effect and importance of each hyper-parameter for the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ratchet.reports.formatting import counted, number, share
from ratchet.reports.search.trials import LOSS, Search, setting_text

_FEWEST_TRIALS = 4
_FEWEST_PAIRS = 3


def parameter_effect(search: Search, parameter: str) -> dict[str, object] | None:
    """Losses of the best value of a hyper-parameter against those of the worst, by the median.

    Returns:
        ``parameter``, ``best value``, ``trials with best``, ``median with best``, the same of
        ``worst``, ``difference``, ``relative`` (part of the worst median), ``spread``: how far
        the middle half of the trials with one value lie apart, on average over the values; NaN
        where no value has two; ``pairs``: of a trial with the best value and one with the worst,
        alike in all else, and ``better``: in how many the best value did better. ``None`` where
        no two values have a loss.
    """
    groups = search.valid.groupby(parameter)[LOSS]
    medians, counts = groups.median(), groups.size()
    if len(medians) < 2:
        return None
    best = medians.index[int(medians.argmin())]
    worst = medians.index[int(medians.argmax())]
    middle = (groups.quantile(0.75) - groups.quantile(0.25))[counts > 1]
    weights = counts[counts > 1]
    gap = medians[worst] - medians[best]
    return {
        "parameter": parameter,
        "best value": setting_text(best),
        "trials with best": int(counts[best]),
        "median with best": medians[best],
        "worst value": setting_text(worst),
        "trials with worst": int(counts[worst]),
        "median with worst": medians[worst],
        "difference": gap,
        "relative": gap / medians[worst] if medians[worst] else 0.0,
        "spread": np.average(middle, weights=weights) if len(middle) else np.nan,
        **_pairs(search, parameter, best, worst),
    }


def _pairs(search: Search, parameter: str, best: object, worst: object) -> dict[str, int]:
    others = [name for name in search.parameters if name != parameter]
    rows = search.valid.assign(_alike=search.valid[others].astype(str).agg("|".join, axis=1))
    sides = [rows[rows[parameter] == value] for value in (best, worst)]
    pairs = sides[0].merge(sides[1], on="_alike", suffixes=("_best", "_worst"))
    better = pairs[f"{LOSS}_best"] < pairs[f"{LOSS}_worst"]
    return {"pairs": len(pairs), "better": int(better.sum())}


def parameter_effects(search: Search) -> pd.DataFrame:
    """The effect of every hyper-parameter that varies, see ``parameter_effect``."""
    rows = [parameter_effect(search, name) for name in search.varying]
    return pd.DataFrame([row for row in rows if row is not None])


def effect_sentence(row: Mapping[Any, Any]) -> str:
    """The effect of a hyper-parameter in sentences, compared with the spread within a value."""
    text = (
        f"{row['parameter']}: with {row['best value']} the median {LOSS} is "
        f"{number(row['median with best'])} ({counted(row['trials with best'], 'trial')}), with "
        f"{row['worst value']} {number(row['median with worst'])} "
        f"({counted(row['trials with worst'], 'trial')}), so {share(row['relative'])} lower."
    )
    if row["pairs"] >= _FEWEST_PAIRS:
        text += (
            f" Of {counted(row['pairs'], 'pair')} of trials alike in all else, "
            f"{row['best value']} did better in {row['better']}."
        )
    if np.isnan(row["spread"]):
        return f"{text} No value was tried twice, so this may be chance."
    apart = f"the middle half of the trials with one value is {number(row['spread'])} apart"
    if row["spread"] > row["difference"]:
        return (
            f"{text} But {apart}, more than the difference of {number(row['difference'])}: the "
            "other hyper-parameters, or chance, count for more."
        )
    return f"{text} That is more than the spread within a value: {apart}."


def parameter_importance(search: Search) -> tuple[pd.Series, str]:
    """Share of the differences between trials that each hyper-parameter accounts for.

    A forest learns the logarithm of the loss from the hyper-parameters; fANOVA (Hutter, Hoos &
    Leyton-Brown 2014, ICML) reads off it how much of the variance each one explains alone. Where
    the trials do not allow that, the mean decrease of impurity of the same forest is taken.

    Returns:
        Hyper-parameter -> share of those that were measured, largest first, and the method; all 0
        and no method where the trials have no differences to explain, or are too few.
    """
    import optuna
    from optuna.importance import (
        FanovaImportanceEvaluator,
        MeanDecreaseImpurityImportanceEvaluator,
        get_param_importances,
    )

    names = search.varying
    losses = np.log(search.valid[LOSS].clip(lower=np.finfo(float).tiny))
    nothing = pd.Series(0.0, index=pd.Index(search.parameters))
    if len(losses) < _FEWEST_TRIALS or not names or np.isclose(losses.std(), 0):
        return nothing, ""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = _study(search.valid[names], losses)
        for method, evaluator in {
            "fANOVA": FanovaImportanceEvaluator(seed=search.seed),
            "mean decrease of impurity": MeanDecreaseImpurityImportanceEvaluator(seed=search.seed),
        }.items():
            try:
                importances = get_param_importances(study, evaluator=evaluator, params=names)
            except (RuntimeError, ValueError):
                continue
            values = pd.Series(importances, dtype=float)
            if np.isfinite(values).all():
                return nothing.add(values, fill_value=0).sort_values(ascending=False), method
    finally:
        optuna.logging.set_verbosity(verbosity)
    return nothing, ""


def _study(points: pd.DataFrame, losses: pd.Series) -> Any:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution
    from optuna.trial import create_trial

    space: dict[str, BaseDistribution] = {
        str(name): CategoricalDistribution(points[name].unique().tolist()) for name in points
    }
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(
                params={name: point[name] for name in space}, distributions=space, value=float(loss)
            )
            for point, loss in zip(points.to_dict("records"), losses, strict=True)
        ]
    )
    return study
