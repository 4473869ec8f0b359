"""Recurrent modelling: networks searched, calibrated and averaged."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node

from ratchet.config import Network, Target, UseCase, Windows, ensemble_of
from ratchet.frames import DataFrame
from ratchet.modelling.calibrate_and_refit import calibrate, select_inputs
from ratchet.modelling.model_input import CANDIDATE_NOUNS, features_and_target
from ratchet.modelling.network_ensemble import assemble, fit_base, refit_networks, residuals
from ratchet.modelling.network_search_space import holdout_split, network_estimator, param_grids
from ratchet.modelling.target_scaling import features_and_scaled_target

LOSS = "neg_mean_squared_error"
"""Score of the trials: of targets that are scaled 0-1."""


def search_networks(
    train: DataFrame, target: Target, network: Any, windows: Any, seed: int, trials: Any
) -> tuple[list[Any], DataFrame, DataFrame]:
    """Search networks on the training rows, of which the last part stops and ranks the trials.

    With a base, the networks learn what it leaves over.

    Args:
        train: rows for the search.
        target: what to predict.
        network: the search, a ``params.Network``. (Kedro cannot build a model inside of one that
            it builds, so the hint must not say so, and a mapping may arrive; so for ``windows``.)
        windows: look-back and horizon, a ``params.Windows``.
        seed: the only source of randomness.
        trials: folder of finished trials, from which a search that was killed goes on.

    Returns:
        The best networks, best first; the table of the trials; and their losses by epoch.

    Raises:
        DataError: there are too few rows to hold some out.
    """
    from ratchet.learning.search import Search, table
    from ratchet.progress import search_progress

    network, windows = Network.model_validate(network), Windows.model_validate(windows)
    X, _ = features_and_scaled_target(train, target, "recurrent")
    fitting, holding = holdout_split(train.loc[X.index], target, network.holdout, windows.horizon)
    # The base of the search has not seen the rows that stop and rank either.
    base = fit_base(train.loc[X.index[fitting]], target, network, seed)
    with search_progress(f"{target.column}: networks", "validation loss") as on_progress:
        search = Search(
            network_estimator(network, windows, seed),
            param_grids(network),
            strategy=network.strategy if network.mode == "optimized" else "grid",
            n_trials=network.n_trials,
            cv=[(fitting, holding)],
            n_jobs=target.n_jobs,
            engine=target.engine,
            random_state=seed,
            folder=trials,
            top_k=network.top_k,
            group_size=network.group_size,
            refit=False,
            on_progress=_as_losses(on_progress),
        ).fit(X, residuals(base, train, target))
    found = table(search).rename(columns={"epochs": "n_epochs"})
    return search.top_estimators_, found.assign(scoring=LOSS), search.curves_


def fit_networks(
    train: DataFrame,
    validation: DataFrame,
    target: Target,
    network: Any,
    seed: int,
    top: list[Any],
    search: DataFrame,
) -> tuple[Any, ...]:
    """Let the best networks predict the validation rows, then fit them with these and calibrate.

    Args:
        train: rows of the search.
        validation: later rows, for calibration and choice.
        target: what to predict.
        network: as in ``search_networks``.
        seed: the only source of randomness.
        top: the best networks, best first.
        search: table of the trials.

    Returns:
        The model of the best network, fitted on train and validation; the predictions for the
        validation rows by the network that saw the training rows alone, not calibrated. With an
        ensemble also the mean of the best few as a model, the trials it is made of, and its
        predictions for the validation rows.
    """
    import pandas as pd

    network = Network.model_validate(network)
    both = pd.concat([train, validation])
    base, base_of_both = (fit_base(rows, target, network, seed) for rows in (train, both))
    used = top[: max(1, network.ensemble)]
    X, _ = features_and_scaled_target(both, target, "recurrent")
    again = refit_networks(used, X, residuals(base_of_both, both, target), target.n_jobs)

    def finished(n: int) -> tuple[Any, DataFrame]:
        first = assemble(base, used[:n], train, target)
        held_out = predict_held_out(first, validation, target)
        model = assemble(base_of_both, again[:n], both, target)
        return calibrate(model, held_out, validation, target), held_out

    best = finished(1)
    if not network.ensemble:
        return best
    model, held_out = finished(network.ensemble)
    return (*best, model, search.head(len(used)), held_out)


def predict_held_out(model: Any, frame: DataFrame, target: Target) -> DataFrame:
    """Predictions in the terms of the series, not calibrated."""
    import pandas as pd

    X, _ = features_and_target(frame, target)
    return pd.DataFrame({"prediction": model.predict(select_inputs(model, X))}, index=X.index)


def _as_losses(on_progress: Any) -> Any:
    """The search tells scores, of which the best is the greatest; people compare losses."""
    if on_progress is None:
        return None

    def report(done: int, total: int, best: float, members: int = 1, finished: Any = (), /) -> None:
        losses = [(point, -score) for point, score in finished]
        on_progress(done, total, -best, members, losses)

    return report


def create_pipeline(name: str, use_case: UseCase) -> Pipeline:
    """Build the phase for one use case."""
    return Pipeline(
        [
            _network_pipeline(name, target_name, *item)
            for target_name, target in use_case.targets.items()
            for item in target.networks.items()
        ]
    )


def _network_pipeline(use_case: str, target: str, name: str, network: Network) -> Pipeline:
    ensemble = f"{use_case}.{target}.{ensemble_of(name)}"
    averaged = {f"ensemble_{noun}": f"{ensemble}.{noun}" for noun in CANDIDATE_NOUNS}
    averaged = averaged if network.ensemble else {}
    shared = ["params:target", "params:network"]
    parameters = f"params:{use_case}.targets.{target}"
    return Pipeline(
        [
            node(
                search_networks,
                inputs=["train", *shared, "params:windows", "params:seed", "trials"],
                outputs=["top", "search", "curves"],
                name="search_networks",
            ),
            node(
                fit_networks,
                inputs=["train", "validation", *shared, "params:seed", "top", "search"],
                outputs=["model", "held_out", *averaged],
                name="fit_networks",
            ),
        ],
        namespace=f"{use_case}.{target}.{name}",
        inputs={
            "train": f"{use_case}.train",
            "validation": f"{use_case}.validation",
            "trials": "trials",
        },
        outputs=averaged,
        parameters={
            "params:seed": "params:seed",
            "params:target": parameters,
            "params:network": f"{parameters}.networks.{name}",
            "params:windows": f"params:{use_case}.features.windows",
        },
        tags="recurrent",
    )
