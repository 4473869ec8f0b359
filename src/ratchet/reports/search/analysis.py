"""The part of a chapter on a search among recurrent networks: text, tables and charts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.config import ensemble_of
from ratchet.learning.recurrent.architectures import FAMILIES
from ratchet.reports.blocks import Block, Points, Table, Text
from ratchet.reports.chart import Chart
from ratchet.reports.chart_ids import ARCHITECTURE, LEARNING_RATE, loss_by
from ratchet.reports.formatting import counted, listed, number, share
from ratchet.reports.search.effects import effect_sentence, parameter_effects, parameter_importance
from ratchet.reports.search.trials import (
    DIVERGED,
    LOSS,
    Search,
    epochs_text,
    ordered_values,
    read_search,
    setting_text,
    trial_table,
)
from ratchet.reports.target_results import TargetResults

_TOP = 10
_FORMATS = {
    LOSS: "number",
    "validation MAE": "number",
    "epochs trained": "count",
    "best epoch": "count",
    "weights": "count",
    "seconds": "number",
}
_FEW_TRIALS = 20


def search_blocks(results: TargetResults) -> list[Block]:
    """Every search among recurrent networks, one after the other."""
    return [
        block
        for name in results.target.networks
        for block in search_analysis(read_search(results, name))
    ]


def search_analysis(search: Search) -> list[Block]:
    """All blocks of one search, with the table of its trials."""
    blocks = fast_search_blocks(search) if search.is_fast else full_search_blocks(search)
    every = Table(
        f"{search.name} trials",
        "All trials",
        trial_table(search, search.trials, whole=True),
        shown=0,
    )
    return [*blocks, every]


def full_search_blocks(search: Search) -> list[Block]:
    """Blocks of a search for the best hyper-parameters."""
    effects = parameter_effects(search)
    top = Table(
        f"{search.name} top",
        f"{search.name}: the best {min(_TOP, len(search.best))} trials",
        trial_table(search, search.best.head(_TOP), whole=False),
        _FORMATS,
    )
    return [
        Text(introduction(search), title=f"Search among recurrent networks: {search.name}"),
        convergence_chart(search),
        top,
        Text(_how_to_read(search), title=f"What made the difference ({search.name})"),
        *(
            [Points([effect_sentence(row) for row in effects.to_dict("records")])]
            if len(effects)
            else []
        ),
        *_effects_table(search, effects),
        *_importance(search),
        *[parameter_chart(search, name) for name in search.parameters],
        *([learning_rate_chart(search)] if LEARNING_RATE in search.parameters else []),
        Text(learning_sentence(search), title=f"How the best were trained ({search.name})"),
        loss_curves_chart(search),
    ]


def introduction(search: Search) -> str:
    """What was tried, how it ended, and which trial won."""
    network, trials = search.network, search.trials
    shapes = counted(trials[ARCHITECTURE].nunique(), "architecture")
    diverged = int((trials["status"] == DIVERGED).sum()) if "status" in trials else 0
    text = (
        f"{counted(len(trials), 'trial')} of {shapes} were trained by the strategy "
        f"{network.strategy}, for at most {epochs_text(search, 'epochs')} each; training stops "
        f"after {epochs_text(search, 'patience')} without a better {LOSS}. The last "
        f"{share(network.holdout)} of the training rows, which no trial learned from, give this "
        "loss: the mean squared error of the target scaled to 0-1."
    )
    if network.base:
        text += f" The networks learn to correct the errors of {network.base}."
    if network.strategy == "halving":
        text += (
            " Halving trains many trials for a few epochs and only the better ones further, so "
            "that losses of trials with fewer epochs are higher than they might have become."
        )
    if diverged:
        text += f" {counted(diverged, 'trial')} diverged and {_was(diverged)} stopped."
    if lost := len(trials) - len(search.valid):
        text += (
            f" {counted(lost, 'trial')} never had a finite loss and {_was(lost)} left out below."
        )
    return f"{text} {_winner(search)}"


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _winner(search: Search) -> str:
    if search.best.empty:
        return "No trial has a result."
    best = search.best.iloc[0]
    text = (
        f"The best is trial {best['trial']} ({search.describe(best)}) with {number(best[LOSS])}; "
        f"the median trial has {number(search.valid[LOSS].median())}."
    )
    if search.network.ensemble > 1:
        n = min(search.network.ensemble, len(search.best))
        text += (
            f" The mean of the best {n} is one more candidate, {ensemble_of(search.name)}."
            if n > 1
            else ""
        )
    return text


def _how_to_read(search: Search) -> str:
    if not search.varying:
        return "All trials with a result have the same settings, so there is nothing to compare."
    text = (
        "Each value of a hyper-parameter is judged by the median loss of the trials that had it, "
        "whatever else they had."
    )
    if search.network.strategy == "bayesian":
        text += (
            " The search tried promising values more often and in better company, so that these "
            "medians flatter them."
        )
    return text


def _effects_table(search: Search, effects: pd.DataFrame) -> list[Block]:
    if effects.empty:
        return []
    formats = dict.fromkeys(
        ["median with best", "median with worst", "difference", "spread"], "number"
    )
    counts = dict.fromkeys(["trials with best", "trials with worst", "pairs", "better"], "count")
    formats |= counts | {"relative": "share"}
    title = f"{search.name}: effect of each hyper-parameter on the {LOSS}"
    return [Table(f"{search.name} effects", title, effects, formats, shown=0)]


def _importance(search: Search) -> list[Block]:
    if len(search.parameters) < 2:
        return []
    values, method = parameter_importance(search)
    first, second = (list(values.index) if method else search.parameters)[:2]
    if method:
        text = (
            f"{values.index[0]} accounts for {share(values.iloc[0])} of what the hyper-parameters "
            f"explain one by one of the differences between the trials, "
            f"{values.index[1]} for {share(values.iloc[1])}. "
            f"The cells show the two together."
        )
        if len(search.valid) < _FEW_TRIALS:
            text += f" With {counted(len(search.valid), 'trial')} these shares are rough."
    else:
        text = (
            f"{counted(len(search.valid), 'trial')} with a result, or their equal losses, do not "
            "allow to say which hyper-parameter matters."
        )
    return [
        Text(text),
        importance_chart(search, values, method),
        interaction_chart(search, first, second),
    ]


def learning_sentence(search: Search) -> str:
    """How long the best trial was trained, and whether it could have learned on."""
    if search.best.empty:
        return "No trial has a result."
    best = search.best.iloc[0]
    rows = search.curves[search.curves["trial"] == best["trial"]].sort_values("epoch")
    lowest = rows.loc[rows["val_loss"].idxmin()]
    trained, at = len(rows), int(lowest["epoch"])
    text = (
        f"Trial {best['trial']} had its lowest {LOSS} after {counted(at, 'epoch')} of {trained}: "
        f"{number(lowest['val_loss'])}, while the training loss was {number(lowest['loss'])}."
    )
    if at >= search.allowed("epochs")[search.trials["trial"] == best["trial"]].item():
        text += " That was the last epoch allowed; with more epochs it might get better."
    return text


def fast_search_blocks(search: Search) -> list[Block]:
    """Every architecture after one epoch, or as many as the first value of the grid says."""
    epochs = epochs_text(search, "epochs")
    at_most = "" if search.allowed("epochs").max() == 1 else "at most "
    frame = ranked_architectures(search)
    lost = [str(name) for name in search.trials.loc[search.trials[LOSS].isna(), ARCHITECTURE]]
    text = (
        f"{counted(len(search.trials), 'architecture')} were trained for {at_most}{epochs} with "
        f"the same settings, to see which shapes are promising. "
    )
    if len(frame):
        first, last = frame.iloc[0], frame.iloc[-1]
        families = frame.groupby("family")[LOSS].median().sort_values()
        text += (
            f"{first[ARCHITECTURE]} has the lowest {LOSS}, {number(first[LOSS])}, "
            f"{last[ARCHITECTURE]} the highest, {number(last[LOSS])}. The family with "
            f"the lowest median is {families.index[0]}. So short a training favours "
            "networks that learn fast; it does not tell which are best in the end."
        )
    if lost:
        text += f" Without a finite loss: {listed(lost)}."
    return [
        Text(text, title=f"Architectures after {epochs}: {search.name}"),
        architectures_chart(search, frame),
        Table(
            f"{search.name} ranking",
            f"{search.name}: architectures by {LOSS}",
            frame,
            {LOSS: "number", "place": "count", "validation MAE": "number", "weights": "count"},
        ),
    ]


def ranked_architectures(search: Search) -> pd.DataFrame:
    """Architectures with their family, lowest loss first."""
    family = {build.__name__: name for name, members in FAMILIES.items() for build in members}
    rows = search.valid.sort_values(LOSS, kind="stable")
    frame = pd.DataFrame(
        {
            "place": range(1, len(rows) + 1),
            ARCHITECTURE: rows[ARCHITECTURE].astype(str),
            "family": rows[ARCHITECTURE].map(family).fillna("other"),
            LOSS: rows[LOSS],
        }
    )
    for name, column in (("validation MAE", "val_mae"), ("weights", "n_parameters")):
        if column in rows:
            frame[name] = rows[column]
    return frame.reset_index(drop=True)


LOSS_TITLE = f"{LOSS} (MSE, target scaled to 0-1)"

_WIDE = 10  # largest by smallest loss, from which a logarithmic axis reads better
_DRAWN_CURVES = 3
_MOST_COLORS = 6


def _logs(values: pd.Series, axis: str) -> str:
    low = values.min()
    return axis if len(values) and low > 0 and values.max() > _WIDE * low else ""


def convergence_chart(search: Search) -> Chart:
    """The best loss so far, trial by trial."""
    losses = search.trials[LOSS]
    frame = pd.concat(
        [
            pd.DataFrame({"trial": search.trials["trial"], "loss": values, "what": what})
            for what, values in (("of the trial", losses), ("best so far", losses.cummin().ffill()))
        ]
    ).dropna()
    return Chart(
        name=f"{search.name}_convergence",
        kind="line",
        title=f"{search.name}: best {LOSS} so far, by trial",
        frame=frame,
        x="trial",
        y="loss",
        group="what",
        points_only="of the trial",
        x_title="number of the trial, in the order in which they were asked for",
        y_title=LOSS_TITLE,
        log_axes=_logs(frame["loss"], "y"),
    )


def parameter_chart(search: Search, parameter: str) -> Chart:
    """Losses of the trials with each value of a hyper-parameter."""
    frame = pd.concat(
        [
            search.valid[search.valid[parameter] == value].assign(value=setting_text(value))
            for value in ordered_values(search.valid[parameter])
        ]
        or [search.valid.assign(value="")]
    )
    return Chart(
        name=f"{search.name}_{loss_by(parameter)}",
        kind="box",
        title=f"{search.name}: {LOSS} by {parameter}",
        frame=frame[["value", LOSS]],
        x="value",
        y=LOSS,
        x_title=f"{parameter}; a dot is a trial, a box the middle half, its line the median",
        y_title=LOSS_TITLE,
        log_axes=_logs(frame[LOSS], "y"),
    )


def learning_rate_chart(search: Search) -> Chart:
    """Learning rate against loss."""
    by = next((name for name in search.varying if name != LEARNING_RATE), None)
    by = by if by and search.valid[by].nunique() <= _MOST_COLORS else None
    frame = search.valid.sort_values(by or LEARNING_RATE, kind="stable")
    group = frame[by].map(lambda value: f"{by} {setting_text(value)}") if by else None
    return Chart(
        name=f"{search.name}_loss_by_rate",
        kind="points",
        title=f"{search.name}: learning rate and {LOSS}",
        frame=frame.assign(group=group)[[LEARNING_RATE, LOSS, "group"]],
        x=LEARNING_RATE,
        y=LOSS,
        group="group" if by else None,
        x_title="learning rate at the start, logarithmic",
        y_title=LOSS_TITLE,
        log_axes=f"x{_logs(frame[LOSS], 'y')}",
    )


def interaction_chart(search: Search, first: str, second: str) -> Chart:
    """Median loss for the pairs of values of two hyper-parameters."""
    groups = dict(list(search.valid.groupby([first, second])[LOSS]))
    rows = []
    for one in ordered_values(search.valid[first]):
        for other in ordered_values(search.valid[second]):
            losses = groups.get((one, other))
            median = np.nan if losses is None else losses.median()
            text = "–" if losses is None else f"{number(median)}<br>({len(losses)})"
            rows.append(
                {"one": setting_text(one), "other": setting_text(other), "v": median, "text": text}
            )
    return Chart(
        name=f"{search.name}_interaction",
        kind="heatmap",
        title=f"{search.name}: median {LOSS} by {first} and {second}",
        frame=pd.DataFrame(rows, columns=["one", "other", "v", "text"]),
        x="other",
        y="one",
        value="v",
        text="text",
        x_title=f"{second} (in brackets the number of trials; darker is a larger loss)",
        y_title=first,
    )


def importance_chart(search: Search, values: pd.Series, method: str) -> Chart:
    """Share of the differences between trials by hyper-parameter."""
    return Chart(
        name=f"{search.name}_parameter_importance",
        kind="bar",
        title=f"{search.name}: what the differences between the trials come from",
        frame=pd.DataFrame({"parameter": values.index, "share": values.to_numpy()}),
        x="share",
        y="parameter",
        percent_axes="x",
        x_title=f"share of the differences in log {LOSS}{f', by {method}' if method else ''}",
    )


def loss_curves_chart(search: Search) -> Chart:
    """Loss and validation loss of the best trials, epoch by epoch."""
    frames = []
    for _, trial in search.best.head(_DRAWN_CURVES).iterrows():
        rows = search.curves[search.curves["trial"] == trial["trial"]].sort_values("epoch")
        for column, what in (("loss", "training"), ("val_loss", "validation")):
            name = f"trial {trial['trial']}, {what}"
            frames.append(
                pd.DataFrame({"epoch": rows["epoch"], "loss": rows[column], "what": name})
            )
    frame = pd.concat(frames or [pd.DataFrame(columns=["epoch", "loss", "what"])])
    frame = frame[np.isfinite(frame["loss"].astype(float))]
    return Chart(
        name=f"{search.name}_curves",
        kind="line" if frame["epoch"].nunique() < 3 else "curve",
        title=f"{search.name}: loss by epoch of the best trials",
        frame=frame,
        x="epoch",
        y="loss",
        group="what",
        x_title="epoch",
        y_title="loss (MSE, target scaled to 0-1)",
        log_axes=_logs(frame["loss"], "y"),
    )


def architectures_chart(search: Search, frame: pd.DataFrame) -> Chart:
    """Losses in mode ``fast``, best first, coloured by family."""
    return Chart(
        name=f"{search.name}_architectures",
        kind="dots",
        title=f"{search.name}: {LOSS} after {epochs_text(search, 'epochs')}",
        frame=frame,
        x=LOSS,
        y=ARCHITECTURE,
        group="family",
        x_title=LOSS_TITLE,
        log_axes=_logs(frame[LOSS], "x"),
    )
