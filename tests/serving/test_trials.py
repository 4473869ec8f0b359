"""A challenger beside the champion: in the shadow, or with a share of the requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ratchet.serving.request_context import Assignment
from ratchet.serving.trials import Shadow, is_challengers


@pytest.fixture
def tried(make_stand):
    """Make a service in which version 4 of films waits beside version 3."""

    def make(**settings):
        stand = make_stand(beside="4", **settings)
        return stand, stand.challengers[0]

    return make


def ask(stand, *requests):
    """Send requests one after the other while the application runs, and let shadows follow."""

    async def send():
        async with stand.app.router.lifespan_context(stand.app), stand.client() as client:
            found = [await client.post(path, json=body, headers=h) for path, body, h in requests]
            while stand.app.state.service.shadow.waiting:
                await asyncio.sleep(0.001)
            return found

    return asyncio.run(send())


def test_a_shadow_answers_the_same_rows_and_nobody_sees_it(tried, film):
    stand, challenger = tried()

    (response,) = ask(stand, ("/predict/films", film, {}))

    assert response.json()["model_version"] == "3"
    assert challenger.answerer.asked == [film]
    assert stand.log.arms == ["champion", "shadow"]
    champion, shadow = stand.log.written
    assert (shadow.serving.version, shadow.request) == ("4", champion.request)
    assert shadow.rows == champion.rows


def test_a_shadow_that_fails_is_written_down_and_told_to_nobody_else(tried, film, caplog):
    stand, challenger = tried()
    challenger.answerer.answer = lambda rows: 1 / 0

    (response,) = ask(stand, ("/predict/films", film, {}))

    assert response.status_code == 200
    assert stand.log.failed_arms == ["shadow"]
    assert "version 4 of films has failed in the shadow: division by zero" in caplog.text


def test_a_split_gives_each_subject_one_arm_and_no_shadow(tried, film):
    stand, _ = tried(split={"films": 0.5})
    subjects = [{"x-subject": f"customer {n % 20}"} for n in range(40)]

    found = ask(stand, *(("/predict/films", film, each) for each in subjects))

    versions = [response.json()["model_version"] for response in found]
    assert versions[:20] == versions[20:]
    assert {*versions} == {"3", "4"}
    arms = {"3": "champion", "4": "challenger"}
    assert stand.log.arms == [arms[version] for version in versions]
    assigned = [each.assignment for each in stand.log.written]
    assert {each.share for each in assigned} == {0.5}
    assert len({each.subject for each in assigned}) == 20
    assert "customer" not in str(assigned)


def test_the_arm_of_an_answer_is_the_one_it_was_assigned_to(tried, film):
    stand, challenger = tried(split={"films": 0.999_999})
    answer = challenger.answerer.answer

    def promoted_meanwhile(rows):
        stand.models._challengers.clear()
        return answer(rows)

    challenger.answerer.answer = promoted_meanwhile

    ask(stand, ("/predict/films", film, {}))

    assert stand.log.arms == ["challenger"]


def test_a_request_that_names_no_subject_has_none_in_the_log(tried, film):
    stand, _ = tried(split={"films": 0.5})

    ask(stand, ("/predict/films", film, {}))

    assert stand.log.written[0].assignment == Assignment(None, 0.5)


def test_shares_are_kept_and_each_trial_draws_anew(tried):
    stand, challenger = tried()
    champion, other = stand.serving[0], replace(challenger, version="5")
    subjects = [str(n) for n in range(4_000)]

    drawn = [is_challengers(each, champion, challenger, 0.2) for each in subjects]
    again = [is_challengers(each, champion, other, 0.2) for each in subjects]

    assert sum(drawn) / 4_000 == pytest.approx(0.2, abs=0.03)
    both = sum(one and two for one, two in zip(drawn, again, strict=True))
    assert both / 4_000 == pytest.approx(0.04, abs=0.015)


def test_a_shadow_waits_while_requests_are_answered_and_leaves_rows_out(tried, film):
    stand, challenger = tried()
    left_out, busy = [], True

    async def offer():
        nonlocal busy
        shadow = Shadow(
            stand.log,
            lambda: not busy,
            lambda name, rows: left_out.append((name, rows)),
            most_waiting=3,
        )
        await shadow.start()
        for _ in range(2):
            shadow.offer(challenger, [film, {**film, "film": 8}], "r", None)
        await asyncio.sleep(0.02)
        assert challenger.answerer.asked == []
        busy = False
        while shadow.waiting:
            await asyncio.sleep(0.001)
        stand.log.full = True
        shadow.offer(challenger, [film], "r", None)
        while shadow.waiting:
            await asyncio.sleep(0.001)
        await shadow.stop()
        shadow.offer(challenger, [film], "r", None)

    asyncio.run(offer())

    assert len(challenger.answerer.asked) == 3
    assert left_out == [("films", 2), ("films", 1), ("films", 1)]
    assert stand.log.arms == ["shadow"]
