"""How well a model does in production, window by window, from rows of the prediction log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ratchet.config import Target, path_keys
from ratchet.config.names import row_keys
from ratchet.config.production import Watch
from ratchet.database import naive_utc
from ratchet.errors import ConfigError, DataError
from ratchet.learning.metrics import METRICS, PER_CLASS, Resampling, Scores, score_all, tidy_rows
from ratchet.monitoring.log_table import SHADOW

_DRAWS = 200  # a window is one of many, and its ends are read to one digit
RESAMPLING = Resampling(seed=0)
"""How rows are drawn for the intervals of scores, but for seed and horizon."""

PROMOTED = "_promoted"
"""End of the columns of windows with scores of the test rows in the window's mix of steps."""

_SPAN = ("start", "end", "complete")
_REQUEST = ["row_key", "version", "arm", "source", "request", "predicted_at"]
_QUANTILES = {"response_p50_ms": 0.5, "response_ms": 0.95, "response_p99_ms": 0.99}


def score(rows: pd.DataFrame, target: Target, resampling: Resampling = RESAMPLING) -> Scores:
    """Score tidy rows with every metric of the task, as they are scored at a promotion.

    Args:
        rows: ``truth`` and ``prediction``; for classes ``probability_<class>``; for series
            ``scale``, ``rms`` and ``time``.
        target: what is predicted.
        resampling: how rows are drawn.

    Returns:
        Metric -> ``value`` and the ends ``low``, ``high`` of its 95 % interval.

    Raises:
        DataError: rows that cannot be scored, such as a truth that is none of the classes.
    """
    by_time = target.follows_time and "time" in rows and bool(rows["time"].notna().all())
    try:
        return score_all(
            target.task, rows, classes=target.classes, by_time=by_time, resampling=resampling
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"logged predictions of '{target.column}': {error}") from error


def score_in_mix(tested: pd.DataFrame, steps: pd.Series, target: Target) -> dict[str, float]:
    """Score predictions of test rows as if they had the steps of other rows, each as often.

    Errors of a path grow with the step, so that a score depends on which steps were asked for. Test
    rows are weighted by how often their step is among the others; a step that is not among them
    counts nothing, and one that the test lacks cannot.

    Args:
        tested: tidy rows, of a path with ``step``.
        steps: steps of other rows; those that are missing are left out.
        target: what is predicted; a number.

    Returns:
        Metric -> value; empty where the two have no step in common.

    Raises:
        DataError: rows that cannot be scored.
    """
    weights: npt.NDArray[Any] = np.ones(len(tested))
    if "step" in tested and steps.notna().any():
        wanted, present = (each.value_counts(normalize=True) for each in (steps, tested["step"]))
        weights = tested["step"].map(wanted / present).fillna(0.0).to_numpy(dtype=float)
    if not weights.any():
        return {}
    try:
        pair = tidy_rows(tested, target.task, target.classes)
    except ValueError as error:
        raise DataError(f"test rows of '{target.column}': {error}") from error
    return {
        name: float(metric.value(np.average(metric.statistics(*pair), axis=0, weights=weights)))
        for name, metric in METRICS[target.task].items()
    }


def latest_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that were answered and whose truth is known, as tidy rows in the order of time.

    A row that was answered more than once, in a batch or for several requests, counts once: by the
    latest answer that was given before its truth was known, or else by the latest of all. Of a
    path a row counts once with each step that it was answered at, under the key of the model input
    (``config.path_keys``): the latest answer of all would be that of the shortest step.

    Args:
        rows: of one target, as ``PredictionLog.rows`` gives them.
    """
    with_truth = _with_steps_in_keys(rows[~rows["failed"].astype(bool) & rows["truth"].notna()])
    names = _names_of_rows(with_truth)
    if "truth_at" in with_truth:
        first_known = with_truth["truth_at"].groupby(names.to_numpy()).transform("min")
        in_time = (with_truth["predicted_at"] <= first_known).to_numpy()
    else:
        in_time = np.ones(len(with_truth), dtype=bool)
    order = np.lexsort([with_truth["predicted_at"].to_numpy(), in_time])
    again = names.iloc[order].duplicated(keep="last").to_numpy()
    latest = with_truth.iloc[order[~again]]
    return latest.rename(columns={"row_time": "time"}).sort_values("time", kind="stable")


def has_steps(rows: pd.DataFrame) -> bool:
    """Whether any of some answers is of a path."""
    return "step" in rows and bool(rows["step"].notna().any())


def _with_steps_in_keys(rows: pd.DataFrame) -> pd.DataFrame:
    """Answers of paths under the keys of batch answers, which name the step; others as they are."""
    if not has_steps(rows):
        return rows
    is_path = rows["step"].notna().to_numpy()
    keys = rows.index.astype(str).to_numpy(dtype=object, copy=True)
    steps = rows.loc[is_path, "step"].astype(int)
    keys[is_path] = path_keys(row_keys(steps.index), steps)
    return rows.set_axis(pd.Index(keys, name=rows.index.name), axis=0)


def _names_of_rows(rows: pd.DataFrame) -> pd.Series:
    """Identity of rows: a key that was given to another row names two, with different hashes.

    An answer without a hash is about the row of its key, where that names only one.
    """
    keys = pd.Series(rows.index.astype(str), index=range(len(rows)))
    if "row_hash" not in rows:
        return keys
    hashes = rows["row_hash"].reset_index(drop=True).astype("str")
    pairs = pd.DataFrame({"key": keys, "hash": hashes}).dropna().drop_duplicates()
    only = pairs.drop_duplicates("key", keep=False).set_index("key")["hash"]
    return keys + "\0" + hashes.fillna(keys.map(only)).fillna("")


def score_windows(
    rows: pd.DataFrame,
    target: Target,
    watch: Watch,
    resampling: Resampling = RESAMPLING,
    *,
    start: datetime | None = None,
    now: datetime | None = None,
    tested: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Score the rows of each window.

    Args:
        rows: of one target and one version, as ``PredictionLog.rows`` gives them.
        target: what is predicted.
        watch: length of a window, and the rows that it takes to say something.
        resampling: seed, confidence and horizon of the draws; their number is that of windows.
        start: where a window begins, see ``cut_windows``.
        now: until when rows are known, see ``cut_windows``.
        tested: tidy test rows of a path, as ``Bundle.test_rows`` has them.

    Returns:
        One row per window with answers, in order of time: ``start``, ``end`` (both missing for
        rows without time), ``complete``, ``answers``, ``rows`` (those with known truth), ``note``
        (why there are no scores), and of each metric ``<metric>``, ``<metric>_low``,
        ``<metric>_high``, which are NaN where a window has too few rows. With ``tested`` also
        ``<metric>_promoted``: what the same steps scored in the test, see ``score_in_mix``.

    Raises:
        DataError: rows that cannot be scored.
        ConfigError: pandas cannot read the length of the windows.
    """
    table, drawn = [], replace(resampling, n_bootstrap=_DRAWS)
    answered = rows[~rows["failed"].astype(bool)]
    for window, part in _by_window(answered, watch.window, start, now):
        scored = latest_answers(part)
        enough = len(scored) >= watch.min_rows
        scores = score(scored, target, drawn) if enough else {}
        why = f"{len(scored)} rows with known truth, {watch.min_rows} are needed"
        table.append(
            {
                **window,
                "answers": int(part.index.nunique()),
                "rows": len(scored),
                "note": "" if enough else why,
                **_flat(scores),
                **(_promoted(tested, scored, target) if tested is not None and enough else {}),
            }
        )
    head = ["start", "end", "complete", "answers", "rows", "note"]
    more = [] if tested is None else [f"{name}{PROMOTED}" for name in METRICS[target.task]]
    return pd.DataFrame(table, columns=[*head, *_score_columns(target), *more])


def _promoted(tested: pd.DataFrame, scored: pd.DataFrame, target: Target) -> dict[str, float]:
    steps = scored.get("step", pd.Series(dtype=float))
    return {f"{name}{PROMOTED}": v for name, v in score_in_mix(tested, steps, target).items()}


def promoted_scores(windows: pd.DataFrame, metric: str, promoted: float) -> npt.NDArray[np.float64]:
    """What each window is compared with: the score at the promotion, in its mix of steps.

    Args:
        windows: as ``score_windows`` gives them.
        metric: which score.
        promoted: the score at the promotion, for windows of what is no path.

    Returns:
        Shape (n,).
    """
    scores = windows.get(f"{metric}{PROMOTED}")
    if scores is None:
        return np.full(len(windows), promoted)
    return np.asarray(scores.astype(float).fillna(promoted), dtype=np.float64)


def distributions(
    rows: pd.DataFrame,
    target: Target,
    watch: Watch,
    *,
    start: datetime | None = None,
    now: datetime | None = None,
) -> pd.DataFrame:
    """Compare how predictions are distributed with how truth is, over the same rows.

    Args:
        rows: of one target and one version, as ``PredictionLog.rows`` gives them.
        target: what is predicted.
        watch: length of a window.
        start: where a window begins, see ``cut_windows``.
        now: until when rows are known, see ``cut_windows``.

    Returns:
        One row per window with known truth: ``start``, ``end``, ``complete``, ``rows``; for
        classes ``predicted_<class>`` and ``true_<class>``, shares of the rows, and ``distance``,
        the share of rows that would have to change class for the two to agree; for numbers
        ``predicted_mean``, ``true_mean``, ``predicted_spread``, ``true_spread`` (standard
        deviations).
    """
    table = []
    for window, part in _by_window(rows, watch.window, start, now):
        answers = latest_answers(part)
        if len(answers):
            compared = _class_shares if target.is_classes else _spreads
            table.append({**window, "rows": len(answers), **compared(answers, target)})
    return pd.DataFrame(table, columns=None if table else ["start", "end", "complete", "rows"])


def operations(
    rows: pd.DataFrame, window: str, *, start: datetime | None = None, now: datetime | None = None
) -> pd.DataFrame:
    """Count answers and errors, and how long answers took, by the time of the answer.

    A request that asks for several targets is one, and failed if one of them did; a failed
    attempt and a later one are two. An answer of a challenger in the
    shadow is none: no client has waited for it.

    Args:
        rows: of one use case, as ``PredictionLog.rows`` gives them.
        window: length as pandas writes it.
        start: where a window begins, see ``cut_windows``.
        now: until when answers are known, see ``cut_windows``.

    Returns:
        One row per window: ``start``, ``end``, ``complete``, ``requests``, ``errors``,
        ``error_rate``, ``error`` (the commonest one), ``response_p50_ms``, ``response_ms`` (95th
        percentile), ``response_p99_ms``; NaN where no time was taken.
    """
    answered = rows[rows["arm"] != SHADOW]
    failed_first = answered.reset_index().sort_values("failed", ascending=False, kind="stable")
    requests = failed_first.drop_duplicates(_REQUEST)
    table = []
    for span, part in _by_window(
        requests.assign(row_time=requests["predicted_at"]), window, start, now
    ):
        failed = part[part["failed"].astype(bool)]
        table.append(
            {
                **span,
                "requests": len(part),
                "errors": len(failed),
                "error_rate": len(failed) / len(part),
                "error": str(failed["error"].mode().iloc[0]) if len(failed) else "",
                **{name: part["latency_ms"].quantile(at) for name, at in _QUANTILES.items()},
            }
        )
    head = ["start", "end", "complete", "requests", "errors", "error_rate", "error"]
    return pd.DataFrame(table, columns=[*head, *_QUANTILES])


def _by_window(
    rows: pd.DataFrame, window: str, start: datetime | None, now: datetime | None
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Windows and their rows in order of time; rows without time come first."""
    cut = cut_windows(rows["row_time"], window, start=start, now=now).reset_index(drop=True)
    groups = []
    for _, part in cut.groupby("start", dropna=False, sort=True):
        head: dict[str, Any] = {name: part[name].iloc[0] for name in _SPAN}
        groups.append((head, rows.iloc[part.index.to_numpy()]))
    return sorted(groups, key=lambda group: not pd.isna(group[0]["start"]))


def _flat(scores: Scores) -> dict[str, float]:
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {
        f"{name}{ending}": score[end]
        for name, score in scores.items()
        for end, ending in ends.items()
    }


def _score_columns(target: Target) -> list[str]:
    names = list(METRICS[target.task])
    names += [f"{name}_{label}" for name in PER_CLASS for label in target.classes or []]
    return [f"{name}{ending}" for name in names for ending in ("", "_low", "_high")]


def _class_shares(answers: pd.DataFrame, target: Target) -> Mapping[str, float]:
    classes = target.classes or []
    shares = {
        column: answers[column].value_counts(normalize=True).reindex(classes, fill_value=0.0)
        for column in ("prediction", "truth")
    }
    named = {f"predicted_{name}": float(shares["prediction"][name]) for name in classes}
    named |= {f"true_{name}": float(shares["truth"][name]) for name in classes}
    return named | {"distance": float((shares["prediction"] - shares["truth"]).abs().sum() / 2)}


def _spreads(answers: pd.DataFrame, target: Target) -> Mapping[str, float]:
    predicted, truth = answers["prediction"].astype(float), answers["truth"].astype(float)
    return {
        "predicted_mean": float(predicted.mean()),
        "true_mean": float(truth.mean()),
        "predicted_spread": float(predicted.std(ddof=0)),
        "true_spread": float(truth.std(ddof=0)),
    }


def cut_windows(
    times: pd.Series, window: str, *, start: datetime | None = None, now: datetime | None = None
) -> pd.DataFrame:
    """Put each row into its window.

    Windows of a fixed length follow each other from ``start``; those of the calendar (``MS``,
    ``W-MON``, ``QS``) begin where the calendar says. A window is complete when it ends by
    ``now``. Rows without time share one window of their own, which is complete.

    Args:
        times: time of each row, without zone.
        window: length as pandas writes it.
        start: where a window begins, such as the promotion; the first row by default. With a
            start that stays, windows stay.
        now: until when rows are known; one usual step after the last row by default.

    Returns:
        ``start``, ``end`` (not part of the window) and ``complete``, in the rows' order.

    Raises:
        ConfigError: pandas cannot read the length.
    """
    present = times.dropna()
    if present.empty:
        nothing = pd.Series(pd.NaT, index=times.index, dtype="datetime64[us]")
        return pd.DataFrame({"start": nothing, "end": nothing, "complete": True})
    begin = pd.Timestamp(naive_utc(start)) if start is not None else present.min()
    until = (
        pd.Timestamp(naive_utc(now)) if now is not None else present.max() + _usual_step(present)
    )
    length = _fixed(window)
    if length is not None:
        passed = (times - begin) // length  # type: ignore[operator]  # the stubs lack it
        starts = begin + passed * length
        ends = starts + length
    else:
        starts, ends = _calendar(times, window, min(begin, present.min()))
    return pd.DataFrame(
        {"start": starts, "end": ends, "complete": (ends <= until) | times.isna()},
        index=times.index,
    )


def _fixed(window: str) -> pd.Timedelta | None:
    """The length of a window; None for one of the calendar."""
    try:
        length = pd.Timedelta(window)
    except ValueError:
        return None
    if not length > pd.Timedelta(0):
        raise ConfigError(f"monitoring.watch.window: '{window}' is no length of time")
    return length


def _calendar(times: pd.Series, window: str, first: pd.Timestamp) -> tuple[pd.Series, pd.Series]:
    try:
        offset = pd.tseries.frequencies.to_offset(window)
    except ValueError as error:
        raise ConfigError(
            f"monitoring.watch.window: '{window}' is no length as pandas writes it, such as 7D, "
            f"12h or MS"
        ) from error
    begin = offset.rollback(first.normalize())
    edges = pd.date_range(begin, times.max() + 2 * offset, freq=offset)
    present = times.dropna()
    positions = edges.searchsorted(present, side="right") - 1
    starts = pd.Series(edges[positions], index=present.index).reindex(times.index)
    ends = pd.Series(edges[positions + 1], index=present.index).reindex(times.index)
    return starts, ends


def _usual_step(times: pd.Series) -> pd.Timedelta:
    steps = times.drop_duplicates().sort_values().diff().dropna()
    return pd.Timedelta(steps.median()) if len(steps) else pd.Timedelta(0)
