"""One share of a file with several."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ratchet.use_cases.prices import log_range, select_ticker

FRAME = pd.DataFrame({"symbol": ["B", "A", "B"], "top": [4.0, 2.0, 9.0], "bottom": [2.0, 2.0, 3.0]})


def test_rows_of_one_share():
    assert select_ticker(FRAME, column="symbol", ticker="B")["top"].tolist() == [4, 9]
    with pytest.raises(ValueError, match=r"no ticker 'C'; the file has \['A', 'B'\]"):
        select_ticker(FRAME, column="symbol", ticker="C")


def test_range():
    found = log_range(FRAME, high="top", low="bottom")

    np.testing.assert_allclose(found, np.log([2, 1, 3]))


def test_the_share_is_a_parameter(project, run_kedro):
    for path in project.glob("conf/*/parameters/*.yml"):
        if path.stem not in ("prices", "run"):
            path.unlink()  # reading the others takes seconds
    arguments = {"column": "symbol", "ticker": "AMZN"}

    run_kedro(
        project,
        "understanding",
        "preprocessing",
        namespaces=["prices"],
        prices={"data": {"prepare": {"arguments": arguments}}},
    )

    test = pd.read_parquet("data/test/05_model_input/prices/test.parquet")
    assert len(test) == 270
    assert test["target_adjusted"].between(80, 150).all()  # of NVDA, it would be up to 490
