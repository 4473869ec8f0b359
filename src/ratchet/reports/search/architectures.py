"""Architectures after the few epochs of mode ``fast``."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.chart_ids import ARCHITECTURE
from ratchet.reports.formatting import counted, listed, number
from ratchet.reports.search import charts
from ratchet.reports.search.trials import LOSS, Search, epochs_text


def fast(search: Search) -> list[Block]:
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
        charts.architectures(search, frame),
        Table(
            f"{search.name} ranking",
            f"{search.name}: architectures by {LOSS}",
            frame,
            {LOSS: "number", "place": "count", "validation MAE": "number", "weights": "count"},
        ),
    ]


def ranked_architectures(search: Search) -> pd.DataFrame:
    """Architectures with their family, lowest loss first."""
    from ratchet.learning.recurrent.architectures import FAMILIES

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
