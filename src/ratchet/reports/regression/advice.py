"""What predictions of a number can be used for."""

from __future__ import annotations

import pandas as pd

from ratchet.reports.blocks import Block, Table, Text
from ratchet.reports.formatting import counted, number, share
from ratchet.reports.regression.results import covered
from ratchet.reports.target_results import TargetResults

_SHOWN_ROWS = 15
_TENTH = 0.1
_WORSE = 1.1  # times the error elsewhere


def use(case: TargetResults) -> list[Block]:
    """What the order of the predictions is worth, and which rows to review."""
    return [
        Text(order_sentence(case), title="Putting rows in order"),
        _highest(case),
        *_disputed(case),
    ]


def order_sentence(case: TargetResults) -> str:
    """What picking the highest predictions would have brought."""
    n = _top(case)
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


def _highest(case: TargetResults) -> Table:
    rows = case.test.nlargest(_top(case), "prediction")
    return Table("highest", "Highest predictions", *_listing(case, rows), shown=10)


def _listing(case: TargetResults, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rows with what names them, their prediction, interval and truth; and the formats."""
    shown = ["prediction", *(["low", "high"] if covered(case) is not None else []), "truth"]
    named = case.describe(rows).assign(**{name: rows[name].to_numpy() for name in shown})
    return named, dict.fromkeys(shown, "number")


def _top(case: TargetResults) -> int:
    return max(1, round(len(case.test) * _TENTH))


def disagreement(case: TargetResults) -> pd.Series:
    """Standard deviation of the candidates' predictions for each test row, baseline apart."""
    rows = case.predictions
    others = rows[(rows["split"] == "test") & (rows["candidate"] != case.target.baseline)]
    wide = others.set_index("candidate", append=True)["prediction"].unstack()
    return wide.std(axis=1, ddof=0).reindex(case.test.index)


def _disputed(case: TargetResults) -> list[Block]:
    apart = disagreement(case)
    n = _top(case)
    picked = apart.nlargest(n).index
    rows = case.test.loc[picked]
    there, rest = rows["error"].abs().mean(), case.test.drop(index=picked)["error"].abs().mean()
    advice = (
        "Review such rows by hand"
        if there > _WORSE * rest
        else "So disagreement says little about the error here"
    )
    text = (
        f"The candidates disagree most on {counted(n, 'test row')} ({share(n / len(apart))}); "
        f"there the mean error is {number(there)}, elsewhere {number(rest)}. {advice}; the most "
        "disputed are listed, all are in the workbook."
    )
    named, formats = _listing(case, rows)
    named.insert(len(named.columns) - 1, "disagreement", apart.loc[picked].to_numpy())
    formats["disagreement"] = "number"
    title = "Rows the candidates disagree on"
    table = Table("disputed", title, named, formats, shown=_SHOWN_ROWS)
    return [Text(text, title="Disputed rows"), table]
