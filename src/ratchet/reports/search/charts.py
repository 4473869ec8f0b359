"""Charts of a search."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.reports.chart import Chart
from ratchet.reports.chart_ids import ARCHITECTURE, LEARNING_RATE, loss_by
from ratchet.reports.formatting import number
from ratchet.reports.search.trials import LOSS, Search, epochs_text, ordered_values, setting_text

LOSS_TITLE = f"{LOSS} (MSE, target scaled to 0-1)"

_WIDE = 10  # largest by smallest loss, from which a logarithmic axis reads better
_DRAWN_CURVES = 3
_MOST_COLORS = 6


def _logs(values: pd.Series, axis: str) -> str:
    low = values.min()
    return axis if len(values) and low > 0 and values.max() > _WIDE * low else ""


def convergence(search: Search) -> Chart:
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


def box(search: Search, parameter: str) -> Chart:
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


def rate(search: Search) -> Chart:
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


def interaction(search: Search, first: str, second: str) -> Chart:
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


def importance(search: Search, values: pd.Series, method: str) -> Chart:
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


def curves(search: Search) -> Chart:
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


def architectures(search: Search, frame: pd.DataFrame) -> Chart:
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
