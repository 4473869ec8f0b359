"""Which delivered rows are new to a model: one rule for new rows, monitoring and the gate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.bundle.context_rows import candidate_contexts, differing_columns, features_in_context
from ratchet.bundle.reader import _with_spans
from ratchet.bundle.scoring_frame import describe_changed_past, new_rows, scoring_frame
from ratchet.config import Landing, UseCase
from ratchet.errors import DataError
from ratchet.pipelines.preprocessing import build_windows, select_series
from ratchet.preparation.contract import typed_rows
from ratchet.preparation.fingerprints import row_hashes
from ratchet.production.new_rows import count_new_rows

ABOUT = {"title": "t", "question": "q", "source": "s"}
TARGET = {"column": "y", "task": "regression"}
RIDGE = {"candidates": {n: {"estimator": n} for n in ("dummy", "ridge")}}
TABLE: dict[str, Any] = {
    "about": ABOUT,
    "data": {
        "key": "id",
        "time": "day",
        "required": ["x"],
        "columns": {
            "id": {"type": "string"},
            "day": {"type": "date"},
            "x": {"type": "number", "nullable": True},
            "y": {"type": "number", "nullable": True},
        },
    },
    "features": {"numeric": ["x"]},
    "targets": {"y": TARGET | RIDGE},
}
SERIES = {
    "about": ABOUT,
    "data": {
        "time": "day",
        "columns": {
            "shop": {"type": "string"},
            "day": {"type": "date"},
            "y": {"type": "number", "nullable": True},
        },
        "series": {"id": "shop", "season": 2, "absent": {"y": 0}},
    },
    "features": {"windows": {"lookback": 2, "past": {"y": "value"}}},
    "targets": {
        "y": {
            "column": "y",
            "task": "forecasting",
            "baseline": "persistence",
            "candidates": {n: {"estimator": n} for n in ("persistence", "ridge")},
        }
    },
}
LAST = "2020-03-11"
OF_TABLE = UseCase.model_validate(TABLE)


def bundle(use_case: dict[str, Any], *keys: str, **known: Any) -> Any:
    """A model that knows some rows of the last day."""
    rows = pd.DataFrame({"part": "test", "time": pd.Timestamp(LAST), **known}, index=list(keys))
    model = UseCase.model_validate(use_case)
    return SimpleNamespace(use_case=model, rows=rows, statistics=None, context=None)


def table(*rows: tuple[str, str, float | None]) -> pd.DataFrame:
    """Id, day and truth; where an id begins with ``?`` the row lacks what it has to have."""
    frame = pd.DataFrame(rows, columns=["id", "day", "y"])
    return frame.assign(x=[None if key.startswith("?") else 1.0 for key in frame["id"]])


HALF = [("s350", LAST, 1.0), ("s351", LAST, 1.0)]
"""What the champion knows of its last day."""

REST = [("s352", LAST, 1.0), ("s353", LAST, None), ("?354", LAST, 1.0), ("s355", "2020-03-12", 1.0)]


@pytest.mark.parametrize(
    ("moment", "known", "new"),
    [
        (LAST, ["a", "b"], ["c", "d"]),  # d is of the last moment, and was not there
        (LAST, ["a", "b", "d"], ["c"]),
        (LAST, None, ["c"]),
        ("2020-03-10", ["a"], ["b", "c", "d"]),
        (None, ["a", "c"], ["b", "d"]),
    ],
)
def test_rows_after_the_last_moment_and_those_of_it_that_were_not_there(moment, known, new):
    days = {"a": "2020-03-10", "b": LAST, "c": "2020-03-12", "d": LAST}
    times = pd.to_datetime(pd.Series(days))

    found = new_rows(times, moment, None if known is None else times.index.isin(known))

    assert list(times.index[found]) == new


def test_rows_without_time_are_new_where_they_are_not_known():
    times = pd.Series(pd.NaT, index=["a", "b"])

    assert new_rows(times, LAST, np.array([True, False])).tolist() == [False, True]


def test_a_day_that_comes_in_two_halves():
    raw = table(("s0", "2020-03-10", 1.0), *HALF, *REST)

    now = scoring_frame(bundle(TABLE, "s350", "s351"), raw)

    assert list(now.new_inputs(LAST).index) == ["s352", "s353", "s355"]
    assert list(now.new_keys(LAST)) == ["s352", "s353", "s355"]
    assert now.first_new_time(LAST) == pd.Timestamp(LAST)


@pytest.mark.parametrize("timed", [True, False])
def test_a_known_key_that_names_another_row_is_new(timed):
    data = TABLE["data"] if timed else {k: v for k, v in TABLE["data"].items() if k != "time"}
    use_case = TABLE | {"data": data}
    rows, model = table(*HALF), UseCase.model_validate(use_case)
    hashes = row_hashes(typed_rows(rows, model.data, dict(model.targets)), model)
    champion = bundle(use_case, *hashes.index, row_hash=hashes.tolist())

    now = scoring_frame(champion, rows.assign(x=[1.0, 2.0]))

    assert list(now.new_inputs(LAST if timed else None).index) == ["s351"]
    assert scoring_frame(champion, rows.assign(y=9.0)).new_inputs(LAST if timed else None).empty


KNOWN = [("s1", "2020-03-09", 1.0), ("s2", "2020-03-10", 1.0), *HALF]


def learned(**more: Any) -> Any:
    """A model that was made by the known rows, and keeps the first two for comparison."""
    use_case = TABLE | more
    model, rows = UseCase.model_validate(use_case), table(*KNOWN)
    typed = typed_rows(rows, model.data, dict(model.targets))
    hashes = row_hashes(typed, model)
    made = bundle(use_case, *hashes.index, row_hash=hashes.tolist())
    made.rows["time"] = typed["day"].to_numpy()
    made.reference = typed.set_index("id")[["x", "y"]].head(2)
    return made


def test_a_file_that_was_put_in_place_by_hand_is_held_to_the_rows_of_the_champion():
    champion, grown = learned(), table(*KNOWN, *REST)

    assert scoring_frame(champion, grown).past_changes().findings == {}
    cut = scoring_frame(champion, table(*KNOWN[:2]), "2020-03-10")
    assert cut.past_changes("2020-03-10").findings == {}  # a replay misses no later row
    half = scoring_frame(champion, table(*KNOWN[:2]))
    assert half.past_changes().findings == {
        "fewer_rows": "2 of 4 known rows are gone, and there are 2 rows now (gone: s350, s351)"
    }
    anew = scoring_frame(champion, table(("s1", "2020-03-10", 1.0), *KNOWN[1:]))
    assert anew.past_changes().findings == {
        "reused_keys": (
            "1 of 4 known keys name rows of another time, in day (s1: day 2020-03-09 -> 2020-03-10)"
        )
    }
    other = scoring_frame(champion, table(*KNOWN).assign(x=[1.0, 2.0, 1.0, 3.0]))
    assert other.past_changes().findings == {
        "changed_rows": "2 of 4 known rows have other values, in x (s2: x 1.0 -> 2.0, s351)"
    }


def test_what_is_done_about_a_file_that_was_put_in_place_by_hand():
    half = scoring_frame(learned(), table(*KNOWN[:2]))
    told = "differs from the rows that the model that serves was made by: fewer_rows: 2 of 4 known"

    assert told in describe_changed_past(half, None)
    assert describe_changed_past(half, Landing(allow=["fewer_rows"])) == ""
    assert describe_changed_past(half, Landing(by_hand="ignore")) == ""
    with pytest.raises(DataError, match=told):
        describe_changed_past(half, Landing(by_hand="refuse"))


def test_steps_that_are_gone_or_others():
    rows = pd.DataFrame({"shop": "a", "day": ["2020-03-10", LAST], "y": [1.0, 2.0]})
    champion = bundle(SERIES, f"a@{LAST}", given=True)
    champion.context = scoring_frame(champion, rows).typed

    assert scoring_frame(champion, rows).past_changes().findings == {}
    found = scoring_frame(champion, rows.iloc[:1].assign(y=9.0)).past_changes().findings
    assert found == {
        "fewer_rows": f"1 of 1 known rows are gone, and there are 1 rows now (gone: a@{LAST})",
        "changed_rows": (
            "1 of 1 known rows have other values, in y (a at 2020-03-10: y 1.0 -> 9.0)"
        ),
    }


def test_a_step_that_came_for_one_shop_first():
    made = bundle(SERIES, f"a@{LAST}", f"b@{LAST}", given=[True, False])
    first = [("a", "2020-03-10", 1.0), ("b", "2020-03-10", 1.0), ("a", LAST, 2.0)]
    columns = ["shop", "day", "y"]

    before = scoring_frame(made, pd.DataFrame(first, columns=columns))
    after = scoring_frame(made, pd.DataFrame([*first, ("b", LAST, 3.0)], columns=columns))

    assert before.new_inputs(LAST).empty
    assert after.new_inputs(LAST)["y"].to_dict() == {f"b@{LAST}": 3.0}


def unseen(
    raw: pd.DataFrame,
    champion: Any,
    monkeypatch: Any,
    until: str | None = LAST,
    as_of: Any = None,
    today: UseCase | None = None,
) -> Any:
    """What is new beside a champion that was chosen by rows up to a moment."""
    if champion is not None:
        champion.manifest = {"decided_until": until, "last_row": None}
    monkeypatch.setattr("ratchet.production.new_rows.open_bundle", lambda _: champion)
    version = None if champion is None else "3"
    registry: Any = SimpleNamespace(champion=lambda _: version, folder=lambda *_: Path())
    use_case = today or (champion.use_case if champion else OF_TABLE)
    return count_new_rows(registry, "shop", use_case, raw, as_of)


@pytest.mark.parametrize(
    ("rows", "n", "reason"),
    [
        (HALF, 0, f"no new rows since {LAST}, the last that version 3 knows"),
        # One has no truth yet, and one lacks a value without which no row is learned from.
        ([*HALF, *REST], 2, f"2 new rows since {LAST}, the last that version 3 knows"),
        ([("s349", "2020-03-10", 1.0)], 0, f"no new rows since {LAST}, the last that"),
        ([("s349", "2020-03-15", 1.0), ("s356", "2020-03-16", 1.0)], 1, "1 new rows since"),
    ],
)
def test_new_rows_are_counted(rows, n, reason, monkeypatch):
    found = unseen(table(*rows), bundle(TABLE, "s350", "s351"), monkeypatch, as_of="2020-03-15")

    assert (found.rows, found.fresh) == (n, n > 0)
    assert found.reason.startswith(reason)


def test_new_steps_are_counted_where_they_are_in_the_file(monkeypatch):
    rows = [("a", LAST, 2.0), ("b", LAST, 3.0), ("b", "2020-03-12", 4.0), ("a", "2020-03-13", None)]
    champion = bundle(SERIES, f"a@{LAST}", f"b@{LAST}", given=[True, False])

    found = unseen(pd.DataFrame(rows, columns=["shop", "day", "y"]), champion, monkeypatch)

    assert found.rows == 2


def test_new_rows_without_time_are_those_the_champion_does_not_know(monkeypatch):
    timeless = TABLE | {"data": {k: v for k, v in TABLE["data"].items() if k != "time"}}

    found = unseen(table(*HALF, *REST), bundle(timeless, "s350", "s355"), monkeypatch, None)

    assert found.reason == "2 new rows beside those that version 3 knows"


@pytest.mark.parametrize(("until", "n"), [(LAST, 2), (None, 3)])
def test_new_rows_are_counted_where_the_champion_was_made_under_another_contract(
    until, n, monkeypatch
):
    more = TABLE["data"]["columns"] | {"gone": {"type": "number"}}
    data = {k: v for k, v in TABLE["data"].items() if k != "time" or until}
    then, today = (TABLE | {"data": data | extra} for extra in ({"columns": more}, {}))
    rows = table(*HALF, *REST, ("s349", "2020-03-10", 1.0))

    found = unseen(
        rows,
        bundle(then, "s350", "s351"),
        monkeypatch,
        until,
        today=UseCase.model_validate(today),
    )

    assert found.rows == n  # one of the last day, one later; without time also the earlier one
    assert "version 3 cannot read these rows: " in found.reason
    assert "gone" in found.reason


def test_everything_is_new_before_there_is_a_champion(monkeypatch):
    found = unseen(table(*HALF, *REST), None, monkeypatch)

    assert found.reason == "nothing serves yet; there are 4 rows"


def test_a_row_is_new_from_its_first_truth_on(monkeypatch):
    column, target = {"type": "number", "nullable": True}, {**TARGET, "column": "late"} | RIDGE
    two = {
        **TABLE,
        "data": {**TABLE["data"], "columns": {**TABLE["data"]["columns"], "late": column}},
        "targets": {**TABLE["targets"], "late": target},
    }
    rows = table(*HALF, ("s352", "2020-03-12", 1.0), ("s353", "2020-03-13", None))
    rows["late"] = [2.0, None, None, None]

    assert unseen(rows, bundle(two, "s350", "s351"), monkeypatch).rows == 1


def local_series(frequency: str) -> UseCase:
    """Sales by the clock of Berlin."""
    candidates = {name: {"estimator": name} for name in ("persistence", "ridge")}
    return UseCase.model_validate(
        {
            "about": {"title": "t", "question": "q", "source": "s"},
            "data": {
                "time": "when",
                "columns": {
                    "when": {"type": "date", "timezone": "Europe/Berlin"},
                    "sold": {"type": "number", "nullable": True},
                },
                "series": {"frequency": frequency, "season": 7},
                "calendar": ["dayofweek", "hour"],
            },
            "features": {
                "numeric": ["dayofweek", "hour"],
                "windows": {"lookback": 3, "past": {"sold": "value"}},
            },
            "targets": {
                "sold": {
                    "column": "sold",
                    "task": "forecasting",
                    "candidates": candidates,
                    "baseline": "persistence",
                }
            },
        }
    )


@pytest.mark.parametrize("frequency", ["D", "h"])
def test_local_days_are_answered_as_they_were_learned(frequency):
    """Rows over the end of daylight-saving time, asked for in UTC and in local time."""
    use_case = local_series(frequency)
    data, targets = use_case.data, dict(use_case.targets)
    times = pd.date_range(end="2020-10-26", periods=90, freq=frequency, tz="Europe/Berlin")
    rows = pd.DataFrame({"when": times.map(str), "sold": np.arange(90.0) % 7})
    typed = typed_rows(rows, data, targets)
    primary, _ = select_series(typed, data, use_case.features, targets)
    learned, statistics = build_windows(primary, data, use_case.features, targets)
    last = learned.index[-25:]
    asked = typed.tail(25)

    for when in (asked["when"].dt.tz_convert("UTC").map(str), asked["when"].dt.tz_localize(None)):
        found = features_in_context(
            asked.assign(when=when), use_case, statistics, typed.head(65), as_of="2020-10-25"
        )

        assert found.index.tolist() == last.tolist()
        assert differing_columns(found, learned.loc[last]) == []
    known = typed.assign(when=typed["when"].dt.tz_convert("UTC").map(str))
    day = typed_rows(known, data, targets, "2020-10-24")["when"].iloc[-1]
    assert day.isoformat() in ("2020-10-24T00:00:00+02:00", "2020-10-24T23:00:00+02:00")


def test_a_shop_that_has_closed_or_not_opened_is_no_input():
    """Drift would see their zeros, and a model would be asked about them."""
    days = [str(day.date()) for day in pd.date_range("2020-03-01", periods=20)]
    raw = [("a", day, 1.0) for day in days]
    raw += [("b", day, 1.0) for day in days[:4]] + [("c", day, 1.0) for day in days[15:]]

    now = scoring_frame(bundle(SERIES), pd.DataFrame(raw, columns=["shop", "day", "y"]))

    assert now.inputs.groupby("shop").size().to_dict() == {"a": 20, "b": 4, "c": 5}


def test_series_of_a_bundle_from_before_they_began_and_ended_go_on_throughout():
    plain = {"data": {"series": {"season": 7}, "time": "day"}, "about": {}}

    spans = {"begins": "first_step", "ends_after": 10**9}
    series = {"season": 7, **spans}
    assert _with_spans(plain) == {"data": {"series": series, "time": "day"}, "about": {}}
    named = {"data": {"series": {"begins": "first_row"}}}
    for content in (named, {"data": {"series": None}}, {"data": 1}, {}, [], None):
        assert _with_spans(content) == content


def test_the_context_tells_that_a_series_had_begun():
    days = pd.date_range("2020-03-01", periods=40)
    typed = pd.DataFrame({"shop": "a", "day": days, "y": 1.0})
    rare = pd.DataFrame({"shop": "b", "day": days[[2, 9, 38]], "y": 1.0})
    rows = pd.concat([typed, rare], ignore_index=True)

    context = next(
        candidate_contexts(
            rows, typed.assign(series_id="a"), UseCase.model_validate(SERIES), days[-3]
        )
    )

    assert context is not None
    assert context.loc[context["shop"] == "b", "day"].tolist() == list(days[[9, 38]])
    assert context.loc[context["shop"] == "a", "day"].min() > days[30]


def test_rows_that_wait_longer_than_newer_ones_are_answered():
    """No part has them, and the champion was chosen by a row that is newer."""
    raw = table(
        ("s1", "2020-03-09", None),  # older than the test part: not late, but never labelled
        ("s2", "2020-03-10", None),
        ("s3", "2020-03-10", 1.0),  # was late, and nobody has answered it in time
        ("?4", "2020-03-10", None),
        *HALF,
        ("s5", "2020-03-12", None),
    )
    times = pd.to_datetime(["2020-03-10", LAST, LAST])

    now = scoring_frame(bundle(TABLE, "s0", "s350", "s351", time=times), raw)

    assert list(now.awaiting_truth()) == ["s2", "s5"]
    assert list(now.new_keys(LAST)) == ["s5"]
