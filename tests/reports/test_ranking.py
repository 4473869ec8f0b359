"""Candidates on the same test rows."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from ratchet.reports import ranking
from ratchet.reports.target_results import TargetResults

Make = Callable[..., TargetResults]


def test_ranking_holds_every_candidate_on_the_same_rows(make_results: Make) -> None:
    results = make_results("points")
    frame = ranking.ranking_table(results).set_index("candidate")
    assert set(frame.index) == {"dummy", "plain", "stack"}
    best = frame.loc["stack"]
    assert (best["behind"], best["from"], best["to"]) == (0, 0, 0)
    gap = results.scores["dummy"]["test"]["rmse"]["value"] - best["test"]
    assert frame.loc["dummy", "behind"] == pytest.approx(gap)


def test_networks_are_held_against_the_baseline(make_series: Make) -> None:
    from ratchet.reports.ranking import network_comparison

    results = make_series()
    frame = network_comparison(results, results.target.network_candidates).set_index("candidate")
    assert frame.index.to_list() == ["seasonal", "net", "shapes", "net_ensemble"]
    before, after = (results.scores[name]["test"]["mase"]["value"] for name in ("seasonal", "net"))
    assert frame.loc["net", "change of MASE"] == pytest.approx(after / before - 1)
    assert frame.loc["net", "change of R²"] > 0
    assert pd.isna(frame.loc["seasonal", "change of MASE"])
