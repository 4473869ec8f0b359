"""The verdict on a trial is asked for when somebody looks, once in a while."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from ratchet.serving.settings import Settings
from ratchet.serving.trials import EVERY, TrialVerdicts

LOSS = {"champion": 1.0, "challenger": 0.9, "gain": 0.1, "low": 0.05, "high": 0.2, "days": 12}
FOUND = {"versions": ["3", "4"], "verdict": "better", "loss": LOSS, "guards": []}
FOUND |= {"target": "success", "metric": "log_loss", "rows": [50, 50]}


class Asked:
    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers, self.use_cases, self.now = list(answers), [], 0.0

    async def __call__(self, use_case: str) -> tuple[int, str, str]:
        self.use_cases.append(use_case)
        await asyncio.sleep(0)
        return self.answers[min(len(self.use_cases), len(self.answers)) - 1]


async def settle(verdicts: TrialVerdicts) -> None:
    while verdicts._tasks:
        await asyncio.sleep(0.001)


def look_twice(asked: Asked):
    async def run():
        verdicts = TrialVerdicts(Settings(), asked, clock=lambda: asked.now)
        first = verdicts.look("films", "3", "4")
        verdicts.look("films", "3", "4")  # it is being asked for already
        await settle(verdicts)
        return first, verdicts.look("films", "3", "4")

    return asyncio.run(run())


def test_it_is_asked_once_and_remembered():
    asked = Asked((0, json.dumps(FOUND), ""))

    first, then = look_twice(asked)

    assert first is None
    assert then.figures == FOUND
    assert asked.use_cases == ["films"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((1, "", "a warning\nError: films: no challenger has answered\n"), "films: no challenger"),
        ((1, "", ""), "it could not be computed"),
        ((0, "no json", ""), "it cannot be read"),
        ((0, "[]", ""), "it cannot be read"),
        ((0, json.dumps({**FOUND, "versions": ["2", "4"]}), ""), "too early"),
    ],
)
def test_why_there_is_none_is_told(answer, why):
    _, then = look_twice(Asked(answer))

    assert then.figures is None
    assert then.why.startswith(why)


def test_an_old_one_is_asked_for_anew_and_shown_meanwhile():
    asked = Asked((0, json.dumps(FOUND), ""), (0, json.dumps({**FOUND, "verdict": "worse"}), ""))

    async def run():
        verdicts = TrialVerdicts(Settings(), asked, clock=lambda: asked.now)
        verdicts.look("films", "3", "4")
        await settle(verdicts)
        asked.now = EVERY + 1
        old = verdicts.look("films", "3", "4")
        await settle(verdicts)
        return old, verdicts.look("films", "3", "4")

    old, new = asyncio.run(run())

    assert (old.figures["verdict"], new.figures["verdict"]) == ("better", "worse")


def test_the_command_is_asked_in_the_project(tmp_path):
    settings = Settings(project=tmp_path, env="test", split={"films": 0.25})

    code, said, errors = asyncio.run(TrialVerdicts(settings)._call_command("films"))

    assert code != 0  # no project is here
    assert "No such command 'ratchet'" in errors
    assert sys.executable not in said


def test_the_page_shows_it(stand, monkeypatch):
    beside = stand.serving[0]
    monkeypatch.setattr(
        stand.models, "challenger", lambda name: beside if name == "films" else None
    )
    found = {**FOUND, "versions": ["3", "3"], "guards": [{**LOSS, "name": "latency_ms"}]}
    found["sample_ratio"] = {"share": 0.25, "subjects": [300, 98], "p_value": 0.5}
    verdicts = TrialVerdicts(stand.settings, Asked((0, json.dumps(found), "")))
    stand.app.state.verdicts = verdicts

    async def run():
        async with stand.client() as client:
            first = await client.get("/monitoring")
            await settle(verdicts)
            return first, await client.get("/monitoring/live")

    first, then = asyncio.run(run())

    assert "The verdict is being computed." in first.text
    assert "success, loss of log_loss: champion 1, challenger 0.9" in then.text
    assert "improvement 0.1 (0.05 to 0.2) over 12 days" in then.text
    assert "latency_ms" in then.text
    assert "300 of the champion, 98 of the challenger, which should have 25 %" in then.text
