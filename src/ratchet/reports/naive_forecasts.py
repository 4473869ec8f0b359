"""Whether the naive forecasts are beaten."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from ratchet.config import WEIGHTED_ENSEMBLE
from ratchet.learning.metrics import (
    GAIN_TO_FIND,
    Gain,
    paired_difference,
    paired_gain,
    power_of_comparison,
)
from ratchet.modelling import choice
from ratchet.primary_metric import metric_of
from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.formatting import between, count, counted, listed, number, share, unit
from ratchet.reports.target_results import TargetResults

NAIVE = {"persistence": "the last known value", "seasonal": "the value of a season before"}
"""Estimators that forecast without learning, and what they say."""

BEATS, LEVEL, WORSE = "beats it", "no significant difference", "is worse"

_WORDS = {
    BEATS: "beat the best naive forecast",
    LEVEL: "do not differ significantly from it",
    WORSE: "are worse",
}

_FAIR = 0.5
"""Probability to find a gain of 10 % below which more windows are advised."""

_WINDOWS = 4
"""Windows that the test part is cut into where parameters do not say how long one is."""

_MOST_TESTED = 0.25
"""Share of the steps that windows are advised for."""

HIGH_R2 = 0.9
"""R2 of a naive forecast from which R2 says little about skill."""


def candidate_family(results: TargetResults, name: str) -> str:
    """Family of a candidate: ``naive``, ``classical``, ``recurrent``, or ``ensemble`` of all."""
    if name in results.target.naive_candidates:
        return "naive"
    if name == WEIGHTED_ENSEMBLE:
        return "ensemble"
    return "recurrent" if name in results.target.network_candidates else "classical"


def mase(results: TargetResults, name: str) -> float:
    """MASE of a candidate on the test rows."""
    return float(results.scores[name]["test"]["mase"]["value"])


def best_naive(results: TargetResults) -> str:
    """The naive forecast that ranks best in the choice: the one that the gate compares with."""
    return choice.best_naive(results.target, results.choice)


def against_naive(results: TargetResults) -> pd.DataFrame:
    """Every candidate that learns against the best naive forecast, on the same test rows.

    Returns:
        ``candidate``, ``family``, ``MASE``, ``gain`` (MASE of the naive forecast minus that of
        the candidate) with ``low`` and ``high``, ``relative`` (part of the naive MASE) and
        ``watch_sentence``; in order of choice.
    """
    naive = best_naive(results)
    rows = []
    for name in results.choice["ranking"]:
        if name in results.target.naive_candidates:
            continue
        gain = gain_over(results, naive, name)
        rows.append(
            {
                "candidate": name,
                "family": candidate_family(results, name),
                "MASE": mase(results, name),
                "gain": gain["value"],
                "low": gain["low"],
                "high": gain["high"],
                "relative": gain["value"] / mase(results, naive) if mase(results, naive) else 0.0,
                "verdict": verdict(gain),
            }
        )
    return pd.DataFrame(rows)


def gain_over(results: TargetResults, naive: str, name: str) -> dict[str, float]:
    """By how much the MASE of a candidate is below that of a naive forecast, with its interval."""
    test = results.predictions[results.predictions["split"] == "test"]
    parts = [test[test["candidate"] == one].reindex(results.test.index) for one in (naive, name)]
    return paired_difference(
        results.test["truth"],
        parts[0]["prediction"],
        parts[1]["prediction"],
        scale=results.test["scale"],
        times=results.test["time"],
        resampling=results.resampling,
    )


def verdict(gain: dict[str, float]) -> str:
    """Whether the interval of a gain is above 0, below 0 or includes 0."""
    return BEATS if gain["low"] > 0 else WORSE if gain["high"] < 0 else LEVEL


def naive_blocks(results: TargetResults) -> list[Block]:
    """Every candidate that learns against the best naive forecast, in a sentence and a table."""
    frame = against_naive(results)
    numbers = dict.fromkeys(["MASE", "gain", "low", "high"], "number")
    table = Table(
        "against_naive",
        f"Gain in MASE over {best_naive(results)} on the same test rows, with 95% interval",
        frame,
        numbers | {"relative": "share"},
    )
    sentences = [
        naive_sentence(results),
        _others_sentence(frame),
        power_sentence(results),
        high_r2_warning(results),
    ]
    text = " ".join(filter(None, sentences))
    return [Text(text, title="Are the naive forecasts beaten?"), table]


def power_sentence(results: TargetResults) -> str:
    """How likely the gate is to find a gain of 10 % in these rows; empty where it cannot be said.

    By its metric and its level, for a first model, which has to beat the naive forecast. The spread
    is that of the paired differences of the best candidate that learns.
    """
    naive = best_naive(results)
    learns = [n for n in results.choice["ranking"] if n not in results.target.naive_candidates]
    if not learns:
        return ""
    test = results.predictions[results.predictions["split"] == "test"]
    rows = [test[test["candidate"] == name] for name in (naive, learns[0])]
    rows[1] = rows[1].reindex(rows[0].index)
    season = results.data.series.season if results.data.series else 1
    metric = metric_of(results.release, {results.name: results.target}, results.name)
    confidence = results.release.confidence
    resampling = replace(results.resampling, confidence=confidence)
    try:
        gain = paired_gain(metric, "forecasting", *rows, season=season, resampling=resampling)
    except ValueError:  # too few times, or a naive forecast without error
        return ""
    probability = power_of_comparison(gain, confidence)
    if probability is None:
        return ""
    blocks = gain.drawn.number / gain.drawn.block
    text = (
        f"With these {blocks:.3g} blocks of test times the gate lets a first model that is truly "
        f"{share(GAIN_TO_FIND)} better than {naive} pass with probability {probability:.2f}."
    )
    return f"{text} {_more_windows(results, gain)}" if probability < _FAIR else text


def _more_windows(results: TargetResults, gain: Gain) -> str:
    """How many windows would make it as likely as not that a gain is found, and how likely.

    As many as give the gate a fair chance, of at most a share of the steps: what is tested on is
    not searched on. A window is as long as those there are, else a fourth of the test part, in
    whole seasons. How likely a gain is found is extrapolated from the paired differences of the
    test rows, as no prediction of earlier ones is there.
    """
    test = results.predictions[results.predictions["split"] == "test"]
    tested = int(test["time"].nunique())
    known = results.primary[results.target.column].notna()
    steps = int(results.primary.loc[known, results.data.time].nunique())
    season = results.data.series.season if results.data.series else 1
    if "window" in test:
        step = math.ceil(tested / int(test["window"].max()))
    else:
        step = math.ceil(tested / _WINDOWS / season) * season
    most = int(_MOST_TESTED * steps) // step
    if most * step <= tested:
        return f"{tested} of {steps} steps are tested on: more rows would raise it."
    for windows in range(tested // step + 1, most + 1):
        probability = power_of_comparison(
            gain, results.release.confidence, times_as_many=windows * step / tested
        )
        if probability is not None and probability >= _FAIR:
            break
    return (
        f"With evaluation: {{windows: {windows}, step: {step}, refit: true}}, {windows * step} of "
        f"{steps} steps, it would be about {probability or 0:.2f}."
    )


def window_blocks(results: TargetResults) -> list[Block]:
    """MASE of the winner, the next candidate and the best naive forecast in each test window."""
    if "window" not in results.predictions:
        return []
    frame = errors_by_window(results)
    shown = [*frame.columns[4:]]
    best, naive = results.best, best_naive(results)
    lines = frame.melt("window", shown, "candidate", "MASE")
    chart = Chart(
        name="error_by_window",
        kind="line",
        title=f"{results.name}: MASE by window of the test rows",
        frame=lines.assign(window=lines["window"].astype(str)),
        x="window",
        y="MASE",
        group="candidate",
        x_title="window; each begins with a cutoff",
        y_title="MASE",
    )
    table = Table(
        "by_window",
        "MASE by window of the test rows",
        frame,
        {"window": "count", "rows": "count"} | dict.fromkeys(shown, "number"),
    )
    text = (
        f"The test rows are cut into {counted(len(frame), 'window')}; what a window shows was "
        f"learned and chosen from rows before it alone."
    )
    if best != naive:
        won = int((frame[_error_column(best)] < frame[_error_column(naive)]).sum())
        text += f" {best} is better than {naive} in {won} of them."
    return [Text(text, title="Scores from several cutoffs"), chart, table]


_WINDOW_COLUMNS = ("window", "from", "to", "rows")


def errors_by_window(results: TargetResults) -> pd.DataFrame:
    """MASE of the winner, the next candidate and the best naive forecast in each test window.

    Returns:
        ``window``, ``from`` and ``to`` (times of the first and the last row), ``rows``, and a
        column for each of the candidates, see ``_error_column``.
    """
    test = results.predictions[results.predictions["split"] == "test"]
    names = dict.fromkeys([*list(results.choice["ranking"])[:2], best_naive(results)])
    scaled = (test["truth"] - test["prediction"]).abs() / test["scale"]
    frame = test.assign(error=scaled)
    own = frame[frame["candidate"] == results.best].groupby("window")["time"]
    ends = pd.DataFrame({"from": own.min(), "to": own.max()})
    whole_days = all((ends[name] == ends[name].dt.normalize()).all() for name in ends)
    form = "%Y-%m-%d" if whole_days else "%Y-%m-%d %H:%M"
    table = ends.apply(lambda moments: moments.dt.strftime(form)).assign(rows=own.size())
    for name in names:
        table[_error_column(name)] = (
            frame[frame["candidate"] == name].groupby("window")["error"].mean()
        )
    return table.rename_axis("window").reset_index()


def _error_column(candidate: str) -> str:
    """Column of a candidate in the table of windows, whose other columns are ours."""
    return f"{candidate} (candidate)" if candidate in _WINDOW_COLUMNS else candidate


def naive_sentence(results: TargetResults) -> str:
    """Say whether the winner beats the naive forecasts, and how sure that is."""
    names = results.target.naive_candidates
    named = [
        f"{name} ({NAIVE.get(results.target.candidates[name].estimator, 'the baseline')})"
        for name in names
    ]
    reached = [number(mase(results, name)) for name in names]
    sentence = f"Forecasts that learn nothing reach a MASE of {listed(reached)}: {listed(named)}."
    naive = best_naive(results)
    if results.best in names:
        return (
            f"{sentence} One of them, {results.best}, is the winner: on the validation rows no "
            "candidate that learns did better."
        )
    gain = gain_over(results, naive, results.best)
    by, own = f"the gain over {naive} is {between(gain)}", number(mase(results, results.best))
    if verdict(gain) == BEATS:
        part = share(gain["value"] / mase(results, naive))
        return (
            f"{sentence} Yes, they are beaten: {results.best} has {own}, {part} less than {naive}; "
            f"{by}, and the interval is above 0."
        )
    if verdict(gain) == WORSE:
        return f"{sentence} No: {results.best} has {own} and is worse; {by}."
    return (
        f"{sentence} No, not for sure: {results.best} has {own}; {by}, and the interval includes "
        f"0, so that these test rows cannot tell it from {naive}."
    )


def _others_sentence(frame: pd.DataFrame) -> str:
    if frame.empty:
        return ""
    verdicts = frame["verdict"].value_counts()
    parts = [f"{verdicts[v]} {word}" for v, word in _WORDS.items() if v in verdicts]
    whole = counted(len(frame), "candidate")
    return f"Of {whole} that {'learns' if len(frame) == 1 else 'learn'}, {listed(parts)}."


def high_r2_warning(results: TargetResults) -> str:
    """A warning where R2 of a naive forecast is high; empty otherwise."""
    names = results.target.naive_candidates
    name = max(names, key=lambda one: results.scores[one]["test"]["r2"]["value"])
    value = results.scores[name]["test"]["r2"]["value"]
    if value < HIGH_R2:
        return ""
    reached = results.test_scores["r2"]["value"]
    return (
        f"R² flatters here: {name} learns nothing and has {_r2(value)}, {results.best} has "
        f"{_r2(reached)}. A value close to the one before explains most of the differences "
        "between times; judge by MASE."
    )


def _r2(value: float) -> str:
    return f"{value:.4f}" if value > 0.99 else number(value)


def headline(results: TargetResults) -> str:
    """Errors of the winner and of the best naive forecast, in two or three sentences."""
    rows, series = len(results.test), len(results.test["series"].unique())
    where = f" of {count(series)} series" if series > 1 else ""
    score = results.test_scores["mase"]
    text = (
        f"On {counted(rows, 'test row')}{where} the best candidate, {results.best}, is off by "
        f"{unit(results.test_scores['mae']['value'], results.target.unit)} on average; its MASE is "
        f"{between(score)}."
    )
    naive = best_naive(results)
    if results.best in results.target.naive_candidates:
        return f"{text} It is a naive forecast: no model did better."
    gain = gain_over(results, naive, results.best)
    part = share(abs(gain["value"]) / mase(results, naive)) if mase(results, naive) else "–"
    return {
        BEATS: f"{text} That beats the best naive forecast, {naive}, by {part}.",
        LEVEL: f"{text} The naive forecast {naive}, {number(mase(results, naive))}, is not beaten "
        "for sure: the difference may be chance.",
        WORSE: f"{text} The naive forecast {naive} is better by {part}.",
    }[verdict(gain)]
