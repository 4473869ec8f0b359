"""What predictions of a number can be used for."""

from __future__ import annotations

import pandas as pd

from ratchet.pipelines.reporting.blocks import Block, Table, Text
from ratchet.pipelines.reporting.case import Case
from ratchet.pipelines.reporting.values import covered
from ratchet.pipelines.reporting.wording import counted, number, share

_SHOWN_ROWS = 15
_DISPUTED = 0.1


def use(case: Case) -> list[Block]:
    """What the order of the predictions is worth, and which rows to review."""
    return [Text(order_sentence(case)), *_disputed(case)]


def order_sentence(case: Case) -> str:
    """What picking the highest predictions would have brought."""
    n = max(1, round(len(case.test) * 0.1))
    top = case.test.nlargest(n, "prediction")["truth"]
    everyone = case.test["truth"]
    upper = everyone.quantile(0.75)
    return (
        f"Choosing by prediction pays: the {counted(n, 'test row')} with the highest predictions "
        f"have a mean {case.name} of {number(top.mean())}, all test rows {number(everyone.mean())};"
        f" {share((top >= upper).mean())} of them are in the best quarter (from {number(upper)})."
        if top.mean() > everyone.mean()
        else f"Choosing by prediction does not pay: the {counted(n, 'test row')} with the highest "
        f"predictions have a mean {case.name} of {number(top.mean())}, all test rows "
        f"{number(everyone.mean())}."
    )


def disagreement(case: Case) -> pd.Series:
    """Standard deviation of the candidates' predictions for each test row, baseline apart."""
    rows = case.predictions
    others = rows[(rows["split"] == "test") & (rows["candidate"] != case.target.baseline)]
    wide = others.set_index("candidate", append=True)["prediction"].unstack()
    return wide.std(axis=1, ddof=0).reindex(case.test.index)


def _disputed(case: Case) -> list[Block]:
    apart = disagreement(case)
    n = max(1, round(len(apart) * _DISPUTED))
    picked = apart.nlargest(n).index
    rows = case.test.loc[picked]
    rest = case.test.drop(index=picked)["error"].abs().mean()
    text = (
        f"The candidates disagree most on {counted(n, 'test row')} ({share(n / len(apart))}); "
        f"there the mean error is {number(rows['error'].abs().mean())}, elsewhere {number(rest)}. "
        "Review such rows by hand; the most disputed are listed, all are in the workbook."
    )
    named = case.describe(rows).assign(prediction=rows["prediction"].to_numpy())
    if covered(case) is not None:
        named = named.assign(low=rows["low"].to_numpy(), high=rows["high"].to_numpy())
    named = named.assign(disagreement=apart.loc[picked].to_numpy(), truth=rows["truth"].to_numpy())
    formats = dict.fromkeys(["prediction", "low", "high", "disagreement", "truth"], "number")
    title = "Rows the candidates disagree on, to review by hand"
    return [Text(text), Table("disputed", title, named, formats, shown=_SHOWN_ROWS)]
