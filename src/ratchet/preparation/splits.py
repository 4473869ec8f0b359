"""The split of the rows into train, validation and test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ratchet.config import ONE_WINDOW, Data, Evaluation, Split, Target
from ratchet.errors import DataError
from ratchet.frames import DataFrame, Series
from ratchet.values import as_text

SPLITS = ("train", "validation", "test")

_FOR_TRAINING = 0.6
"""Share of the steps that windows of validation leave to the training."""


def assign_splits(truth: Any, split: Split, evaluation: Evaluation = ONE_WINDOW) -> Any:
    """Part of each row or step, counted over those whose truth is known.

    Truth that comes late would otherwise leave the last part short of it, or empty. Targets share
    the parts: each begins where the first of the targets has its share behind it, so that every
    target has at least its share in the test part.

    Args:
        truth: whether the truth of each target is known, of rows in their order; boolean, shape (n,
            targets).
        split: the shares.
        evaluation: the windows of the test part, where they say how long it is.

    Returns:
        Place in ``SPLITS`` of every row, whether its truth is known or not, shape (n,).

    Raises:
        DataError: the windows leave nothing for the training.
    """
    starts = []
    for positions in map(np.flatnonzero, np.asarray(truth).T):
        if len(positions):
            starts.append(positions[_starts_of_parts(len(positions), split, evaluation)])
    return np.searchsorted(np.min(starts, axis=0), np.arange(len(truth)), "right")


def _starts_of_parts(n: int, split: Split, evaluation: Evaluation) -> Any:
    """First of n steps for validation, and first for the test."""
    shares = np.cumsum([1 - split.validation - split.test, split.validation])
    by_share = (shares * n + 1e-9).astype(int)  # the slack is for rounding: 1 - 0.3 - 0.2
    if evaluation.step is None:
        return by_share
    test = evaluation.windows * evaluation.step
    validation = by_share[1] - by_share[0]
    if evaluation.windows > 1:
        windows = min(evaluation.windows, int(n * (1 - _FOR_TRAINING) - test) // evaluation.step)
        validation = max(validation, windows * evaluation.step)
    if validation + test >= n:
        raise DataError(
            f"evaluation: {evaluation.windows} windows of {evaluation.step} steps for the test and "
            f"{validation} steps for validation leave none of the {n} steps with truth for the "
            f"training: lower evaluation.windows or evaluation.step, or bring more rows"
        )
    return np.array([n - test - validation, n - test])


def count_train_steps(values: Any, split: Split, evaluation: Evaluation = ONE_WINDOW) -> int:
    """How many of the first steps of series are for training.

    Args:
        values: the target, missing where it is not known, shape (steps, series).
        split: the shares, counted over the steps at which it is known of any series.
        evaluation: the windows of the test part.
    """
    has_value = np.isfinite(values).any(axis=1, keepdims=True)
    return int((assign_splits(has_value, split, evaluation) == 0).sum())


def has_truth(rows: DataFrame, targets: Mapping[str, Target]) -> DataFrame:
    """Whether the truth of each target is known, a column for every target."""
    return pd.DataFrame({name: rows[target.column].notna() for name, target in targets.items()})


def count_truth(rows: DataFrame, targets: Mapping[str, Target]) -> dict[str, dict[str, int]]:
    """Rows with truth by target and part, and those without it.

    Args:
        rows: rows with ``split``, missing where no target is known.
        targets: the targets by name.

    Returns:
        Target -> ``train``, ``validation``, ``test`` and ``unknown`` (rows without its truth).
    """
    counts = {}
    for name, target in targets.items():
        has_value = rows[target.column].notna()
        parts = {part: int((has_value & (rows["split"] == part)).sum()) for part in SPLITS}
        counts[name] = {**parts, "unknown": int((~has_value).sum())}
    return counts


def count_not_learned(rows: DataFrame, targets: Mapping[str, Target]) -> dict[str, dict[str, int]]:
    """Rows whose truth has no logarithm, of targets that are learned as one.

    Returns:
        Target -> part -> rows with a truth of 0 or less; no other targets.
    """
    return {
        name: {
            part: int(((rows[target.column] <= 0) & (rows["split"] == part)).sum())
            for part in SPLITS
        }
        for name, target in targets.items()
        if target.in_logs
    }


def check_splits(rows: DataFrame, targets: Mapping[str, Target]) -> None:
    """Make sure that every part has the truth that search, calibration and test will ask for.

    Args:
        rows: rows with the targets and ``split``.
        targets: the targets by name.

    Raises:
        DataError: a part has too few rows with truth, or the training too few of a class: for every
            target what is missing, and what would help.
    """
    wrong = [line for name, target in targets.items() for line in _lacking(name, target, rows)]
    if wrong:
        raise DataError("\n".join(wrong))


def _lacking(name: str, target: Target, rows: DataFrame) -> Iterator[str]:
    where, values = f"column '{target.column}' (target '{name}')", rows[target.column]
    if target.in_logs:
        where, values = f"{where}, whose logarithm is learned", values.where(values > 0)
    parts = rows["split"].where(values.notna())
    counts = {part: int((parts == part).sum()) for part in SPLITS}
    if target.in_logs and not counts["train"]:
        yield (
            f"{where}: none of the training rows has a value above 0, and 0 and less have no "
            f"logarithm: set targets.{name}.learn: value, or mend the column"
        )
        return
    if empty := [part for part, count in counts.items() if not count]:
        yield (
            f"{where}: {sum(counts.values())} of {len(rows)} rows have truth, and nothing is left "
            f"for {empty}: more rows are needed, or other shares (data.split); a target that is "
            f"known at quite other times than the others needs a use case of its own"
        )
        return
    least, why, way_out = _least_validation(name, target)
    if counts["validation"] < least:
        yield (
            f"{where}: {why} at least {least} validation rows with truth, found "
            f"{counts['validation']}: raise data.split.validation, or lower {way_out}"
        )
    if target.is_classes:
        yield from _rare_classes(name, target, as_text(values[parts.notna()]), parts.dropna())
    elif counts["train"] < target.cv:
        yield (
            f"{where}: {target.cv} folds need at least as many training rows with truth, found "
            f"{counts['train']}: lower targets.{name}.cv"
        )


def _least_validation(name: str, target: Target) -> tuple[int, str, str]:
    """Validation rows that calibration takes, why, and the parameter that says so."""
    if target.is_classes:
        return target.cv, f"calibration in {target.cv} folds needs", f"targets.{name}.cv"
    share = target.confidence
    least = math.ceil(share / (1 - share) - 1e-9)
    why = f"intervals that hold {share:g} of the truth need"
    return least, why, f"targets.{name}.confidence"


def _rare_classes(name: str, target: Target, classes: Series, parts: Series) -> Iterator[str]:
    train = classes[parts == "train"]
    for label in target.classes or []:
        count, in_all = int((train == label).sum()), int((classes == label).sum())
        if count < target.cv:
            yield (
                f"column '{target.column}' (target '{name}'): {target.cv} folds need as many "
                f"training rows of every class, found {count} of '{label}' ({in_all} in all "
                f"parts): leave the class out or put it together with another one "
                f"(targets.{name}.classes), or lower targets.{name}.cv"
            )


def describe(rows: DataFrame, data: Data) -> dict[str, object]:
    """Size and span of a part."""
    description: dict[str, object] = {"rows": len(rows)}
    if data.time:
        description["span"] = [str(day.date()) for day in rows[data.time].agg(["min", "max"])]
    return description
