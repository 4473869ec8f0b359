"""Numbers as readers see them."""

from __future__ import annotations

import pytest

from ratchet.reports import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7853, "0.785"),
        (2.3149, "2.31"),
        (23.44, "23.4"),
        (1585.2, "1,585"),
        (-0.0123, "−0.012"),
        (0.00321, "0.0032"),
        (0, "0.000"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert formatting.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.784, "78%"),
        (0.0652, "6.5%"),
        (0.0, "0%"),
        (1.0, "100%"),
        (0.997, "99.7%"),
        (0.99999, ">99.9%"),
        (None, "–"),
    ],
)
def test_share(value: float | None, text: str) -> None:
    assert formatting.share(value) == text


def test_plain_writes_a_number_as_somebody_would() -> None:
    assert [formatting.plain(value) for value in (5, 0.75, 12.0, 11328)] == [
        "5",
        "0.75",
        "12",
        "11,328",
    ]


def test_a_column_of_numbers_has_the_same_digits() -> None:
    assert formatting.column([0.5, 12.34, None], "number") == ["0.5", "12.3", "–"]
    assert formatting.column([0.08, 0.00016, -0.00001], "number") == ["0.0800", "0.0002", "0.0000"]
    assert formatting.column([0.123, float("nan")], "share") == ["12.3%", "–"]
    assert formatting.column([1234, 5], "count") == ["1,234", "5"]
    assert formatting.column(["a", 3], "text") == ["a", "3"]


def test_counted_and_listed() -> None:
    assert formatting.counted(1, "row") == "1 row"
    assert formatting.counted(2, "category", "categories") == "2 categories"
    assert [formatting.listed(list(names)) for names in ("", "a", "ab", "abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_every_metric_of_evaluation_is_explained() -> None:
    from ratchet.learning.metrics import CLASSIFICATION, REGRESSION

    assert all(formatting.meaning(metric) for metric in [*CLASSIFICATION, *REGRESSION])
    assert formatting.meaning("unheard_of") == ""
    assert formatting.label("recall_good") == "recall of good"
