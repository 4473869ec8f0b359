"""From a bundle to an answerer: all that it takes to answer, as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ratchet.compiled.answers import Answer, Answerer, Prediction
from ratchet.compiled.serialization import NotCompilable
from ratchet.config import UseCase
from ratchet.learning.demand.book import DemandBook

__all__ = ["NotCompilable", "Version", "check_golden", "compile_bundle", "compile_verified"]

TOLERANCE = 1e-5
"""Share by which compiled answers may differ from those of the libraries.

Features, networks and boosted trees are in single precision, and are added up in another order.
"""


class Version(Protocol):
    """What compiling needs of a bundle, see ``bundle.Bundle``."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest."""

    @property
    def use_case(self) -> UseCase:
        """The parameters."""

    @property
    def encoder(self) -> Any:
        """The fitted encoder of the features."""

    @property
    def models(self) -> dict[str, Any]:
        """The fitted model of every target."""

    @property
    def context(self) -> Any:
        """Typed rows that later rows look back at, where they do."""

    @property
    def fallback_models(self) -> dict[str, Any]:
        """Models that need nothing of the past of their series."""

    @property
    def rows(self) -> Any:
        """Which rows the models know, with their ``time``."""

    @property
    def statistics(self) -> Any:
        """Units of the series, where there are series."""

    @property
    def demand_book(self) -> DemandBook | None:
        """What prices the segments of a market, where there is one."""


def compile_bundle(bundle: Version) -> Answerer:
    """Compile a version.

    Args:
        bundle: one that was verified; what is in it is believed.

    Raises:
        NotCompilable: something in it has no compiled form: says what.
    """
    use_case = bundle.use_case
    types = bundle.manifest["signature"]["features"]
    if use_case.data.series is not None:
        from ratchet.compiled.series_compiler import compile_series

        (model,) = bundle.models.values()
        return compile_series(
            *(use_case, bundle.statistics, bundle.context, bundle.encoder, model, types),
            second=next(iter(bundle.fallback_models.values()), None),
            rows=bundle.rows,
        )
    from ratchet.compiled.prices import CompiledBook
    from ratchet.compiled.row_answerer import compile_rows

    rows = compile_rows(use_case, bundle.encoder, bundle.models, bundle.context, types)
    book = bundle.demand_book
    return rows if book is None else replace(rows, prices=CompiledBook.of(book))


def compile_verified(bundle: Version, golden: Sequence[Mapping[str, Any]]) -> Answerer:
    """Compile a version and hold its answers to golden rows against those of the libraries.

    Args:
        bundle: one that was verified.
        golden: rows of ``Bundle.golden``.

    Raises:
        NotCompilable: it has no compiled form, compiling has failed, or an answer is another one.
    """
    try:
        answerer = compile_bundle(bundle)
        check_golden(answerer, golden)
    except NotCompilable:
        raise
    except Exception as error:  # a fault of the compiler: the bundle itself may be sound
        raise NotCompilable(f"compiling has failed: {type(error).__name__}: {error}") from error
    return answerer


def check_golden(answerer: Answerer, golden: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that a compiled version gives the golden rows their answers.

    Args:
        answerer: the compiled version.
        golden: rows of ``Bundle.golden``: ``key``, ``fields``, ``answers`` and, of later steps of
            a path, ``before``.

    Raises:
        NotCompilable: an answer is another one: says which.
    """
    for case in golden:
        try:
            *_, answer = answerer.answer([*case.get("before", []), case["fields"]])
        except Exception as error:  # no answer is no answer, whatever the reason
            raise NotCompilable(f"row {case['key']!r}: {type(error).__name__}: {error}") from error
        check_answer(answer, case["key"], case["answers"])


def check_answer(
    answer: Answer,
    key: Any,
    expected: Mapping[str, Mapping[str, Any]],
    tolerance: float = TOLERANCE,
) -> None:
    """Hold an answer against what the libraries say.

    Args:
        answer: of the compiled version.
        key: key of the row.
        expected: target -> ``prediction``, and ``low`` and ``high`` or ``probability_<class>``.
        tolerance: share by which numbers may differ, and by how much those below 1.

    Raises:
        NotCompilable: they differ by more than rounding.
    """
    if answer.key != str(key):
        raise NotCompilable(f"row {key!r} is called {answer.key!r}")
    for target, values in expected.items():
        actual = as_row(answer.predictions[target])
        for name, value in values.items():
            if not _same(actual.get(name), value, tolerance):
                raise NotCompilable(
                    f"row {key!r} must get {name} {value!r} for '{target}', "
                    f"got {actual.get(name)!r}"
                )


def as_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction as a row of ``Bundle.answer`` has it."""
    if prediction.probabilities is None:
        return {"prediction": prediction.value, "low": prediction.low, "high": prediction.high}
    shares = prediction.probabilities.items()
    return {"prediction": prediction.value} | {f"probability_{name}": p for name, p in shares}


def _same(actual: Any, value: Any, tolerance: float) -> bool:
    if isinstance(actual, float | int) and isinstance(value, float | int):
        return math.isclose(actual, value, rel_tol=tolerance, abs_tol=tolerance)
    return bool(actual == value)
