"""The page, and the words on it."""

from __future__ import annotations

import json

from ratchet.replay.backtest import backtest
from ratchet.replay.outcome import build_report
from ratchet.replay.page import overview, render, verdict
from ratchet.replay.policies import policies


def test_the_page_shows_what_the_report_holds(made):
    past = made({1: 0.9, 2: 0.895}, weeks=3)
    history = past.history
    backtests = [
        backtest(history, policy) for policy in policies(past.use_case, {"<b>": past.use_case})
    ]
    found = {
        **{"use_case": "made", "title": "Made", "from": "2024-01-07", "to": "2024-01-28"},
        **{
            "trained": ["ridge"],
            "files": {"<b>": {"release": {}}},
            **build_report(history, backtests),
        },
    }
    found = json.loads(json.dumps(found))  # as it is read again

    page = render(found)

    assert "&lt;b&gt;" in page
    assert "<b>" not in page.partition("</script>")[2]
    for policy_told in found["policies"]:
        for text in overview(found, policy_told):
            assert text.replace("<b>", "&lt;b&gt;") in page
    assert verdict(found).startswith("“always promote” would have been best: RMSE ")
    assert "promoted the model of" in page


def test_a_policy_that_never_lets_a_model_serve_has_a_page_too(made):
    past = made(release={"min_rows": 500}, weeks=3)
    history = past.history
    backtests = [backtest(history, policy) for policy in policies(past.use_case, {})]
    found = {
        **{"use_case": "made", "title": "Made", "from": "2024-01-07", "to": "2024-01-28"},
        **{"trained": ["ridge"], "files": {}, **build_report(history, backtests)},
    }

    assert "Nothing was ever let serve." in render(found)
    assert "the configured policy let no model serve" in verdict(found)
    assert overview(found, found["policies"][0])[1:4] == ["–", "–", "–"]
