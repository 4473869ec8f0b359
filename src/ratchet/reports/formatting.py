"""Numbers, metrics and lists as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import SupportsFloat

from ratchet.reports.phase_outputs import JudgedObjective, Score

LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
    "wape": "WAPE",
    "spread": "spread",
    "mase": "MASE",
    "rmsse": "RMSSE",
}

MEANINGS = {
    "accuracy": "the share of rows put into the right class; 1 is perfect.",
    "balanced_accuracy": "the share put right within each class, averaged over the classes, so "
    "that a rare class counts as much as a frequent one; 1 is perfect.",
    "f1_macro": "for each class the balance between finding its rows (recall) and being right "
    "when naming it (precision), averaged over the classes; 1 is perfect.",
    "f1_weighted": "the same balance, averaged by the size of the classes.",
    "log_loss": "how much probability the model gave to what came true; 0 is perfect, and being "
    "sure and wrong costs most.",
    "brier": "the squared distance between the probabilities and what came true; 0 is perfect.",
    "r2": "the share of the differences between rows that the predictions explain; 1 is perfect, "
    "0 is no better than always naming the mean.",
    "rmse": "the typical error, large errors counting more, in units of the target; 0 is perfect.",
    "mae": "the mean size of the error, in units of the target; 0 is perfect.",
    "wape": "the sum of the sizes of all errors, as a share of the sum of the true values, so that "
    "large values count by their size; 0 is perfect.",
    "mase": "the mean size of the error, in mean changes over a season in the training rows of the "
    "same series, which are the errors of the seasonal naive forecast there; where returns are "
    "learned, in mean relative changes, times the last known value; 0 is perfect, and below 1 "
    "errors are smaller than such changes.",
    "rmsse": "the same with squared errors: large ones count more.",
    "spread": "how far the predictions differ from each other (standard deviation), in units of "
    "the target.",
}


def label(metric: str) -> str:
    """Name of a metric for readers: ``f1_macro`` is ``macro F1``."""
    prefix, _, name = metric.partition("_")
    if metric not in LABELS and prefix in ("precision", "recall", "f1") and name:
        return f"{'F1' if prefix == 'f1' else prefix} of {name}"
    return LABELS.get(metric, metric)


def meaning(metric: str) -> str:
    """One line on what a metric measures; empty for an unknown metric."""
    text = MEANINGS.get(metric, "")
    return f"{label(metric)}: {text}" if text else ""


def number(value: SupportsFloat | None) -> str:
    """About three significant digits: 0.785, 2.31, 23.4, 1,585."""
    if value is None or not math.isfinite(value):
        return "–"
    value = float(value)
    value = value if abs(value) > 1e-9 else 0.0  # rounding noise
    size = abs(value)
    digits = _digits(size)
    if 0 < size < 0.0095:
        return minus(f"{value:.2g}" if size > 1e-4 else f"{value:.1e}")
    return minus(f"{value:,.{digits}f}")


def _digits(size: float) -> int:
    return 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3


def plain(value: SupportsFloat | None) -> str:
    """Up to four significant digits, without trailing zeros: 5, 0.75, 11,328."""
    if value is None or not math.isfinite(value):
        return "–"
    value = float(value)
    return minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")


def minus(text: str) -> str:
    """Replace a leading hyphen by a minus sign, which is as wide as a digit."""
    return text.replace("-", "−", 1) if text.startswith("-") else text


def share(value: SupportsFloat | None) -> str:
    """Percent: 78%, below ten with one digit (6.5%)."""
    if value is None or not math.isfinite(value):
        return "–"
    value = float(value)
    if 0.9995 <= value < 1:
        return ">99.9%"
    digits = 1 if 0 < abs(value) < 0.0995 or 0.9905 < value < 1 else 0
    return minus(f"{value:.{digits}%}")


def count(value: SupportsFloat | None) -> str:
    """Whole numbers with thousands: 17,472."""
    return "–" if value is None or not math.isfinite(value) else minus(f"{float(value):,.0f}")


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 row``, ``20 rows``."""
    return f"{count(n)} {one if n == 1 else many or f'{one}s'}"


def between(score: Score | JudgedObjective) -> str:
    """A value with its interval: 0.785 (0.765 to 0.805)."""
    return f"{number(score['value'])} ({number(score['low'])} to {number(score['high'])})"


def unit(value: float, name: str) -> str:
    """A number with its unit, if it has one."""
    return f"{number(value)} {name}".strip()


def listed(items: Sequence[str]) -> str:
    """Items in a sentence: a, b and c."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def column(values: Sequence[object], form: str) -> list[str]:
    """A column of a table as text, numbers with the same digits so that they stand in line.

    ``form`` is ``count``, ``number``, ``share`` or ``text``.
    """
    sizes = [abs(float(v)) for v in values if isinstance(v, Real) and math.isfinite(v)]
    digits = _digits(max(sizes, default=0.0))
    if 0 < max(sizes, default=0.0) < 0.0995:
        digits = 2 - math.floor(math.log10(max(sizes)))
    return [_cell(value, form, digits) for value in values]


def _cell(value: object, form: str, digits: int) -> str:
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return "–"
    if form == "text" or not isinstance(value, Real):
        return str(value)
    text = {
        "share": f"{float(value):.1%}",
        "count": f"{float(value):,.0f}",
        "number": f"{float(value):,.{digits}f}",
    }[form]
    return text.lstrip("-") if not text.strip("-0.%") else minus(text)
