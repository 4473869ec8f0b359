import datetime as dt
import json
from math import inf, nan

import numpy as np
import pandas as pd
import pytest

from ratchet.json_values import json_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ({2: (1, None), "b": {"z", "a"}}, {"2": [1, None], "b": ["a", "z"]}),
        (pd.Timestamp("2026-01-02 03:00"), "2026-01-02T03:00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        ([nan, np.float64(inf), True], ["nan", "inf", True]),
        (ValueError("no"), "no"),
    ],
)
def test_values_in_json_types(value, expected):
    result = json_value(value)

    assert result == expected
    json.dumps(result, allow_nan=False)


def test_numbers_that_are_not_finite_become_what_is_asked_for():
    values = {"a": [nan, 1.0], "b": np.array([-inf])}

    assert json_value(values, not_finite=lambda _: None) == {"a": [None, 1.0], "b": [None]}
