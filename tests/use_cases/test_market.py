"""Regions that are sums of others, found by their quantities."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.use_cases.market import unit_cost_by_name, without_totals

HOW = {"column": "region", "quantity": "sold", "within": ["week"]}


def regions(**held: list[str]) -> pd.DataFrame:
    """Weekly sales of six towns; regions hold some of them, and what is in no town."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(5, 20, (80, 6)), columns=list("abcdef"))
    for name, towns in held.items():
        table[name] = table[towns].sum(axis=1) + rng.uniform(1, 9, 80)
    if held:
        table["all"] = table[list(held)].sum(axis=1)
    return table.rename_axis("week").reset_index().melt("week", None, "region", "sold")


def test_a_total_and_the_parts_that_hold_others_are_left_out():
    rows = regions(north=["a", "b", "c"], south=["d", "e", "f"])

    left = without_totals(rows.sample(frac=1, random_state=0), **HOW)

    assert sorted(left["region"].unique()) == list("abcdef")
    assert len(left) == 6 * 80


def test_a_total_of_all_others_is_left_out_alone():
    rows = regions()
    total = rows.groupby("week", as_index=False)["sold"].sum().assign(region="all")

    left = without_totals(pd.concat([rows, total]), **HOW)

    assert sorted(left["region"].unique()) == list("abcdef")


def test_rows_without_totals_stay_as_they_are():
    rows = regions()

    pd.testing.assert_frame_equal(without_totals(rows, **HOW), rows)


def test_costs_go_by_name_and_others_have_none():
    rows = pd.DataFrame({"kind": ["tea", "milk", "beer"]})

    costs = unit_cost_by_name(rows, column="kind", costs={"milk": 1, "tea": 2.5})

    assert costs.fillna(-1).tolist() == [2.5, 1.0, -1.0]
