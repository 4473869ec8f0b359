"""Rows to answers, and answers to JSON."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from ratchet.compiled.answers import Answer, Answerer, Prediction, RequestError, Row
from ratchet.config import Target
from ratchet.monitoring.log_table import CHALLENGER, CHAMPION
from ratchet.serving.errors import Problem, of_row
from ratchet.serving.jobs.runner import Runner
from ratchet.serving.keys import Keys
from ratchet.serving.log_entries import Entry, PriceRecord, of_split
from ratchet.serving.metrics import Metrics
from ratchet.serving.protocols import (
    AnswerBatch,
    AnswerLog,
    AsyncAnswerer,
    Measurements,
    Models,
    QueueFullError,
    Serving,
    Truths,
)
from ratchet.serving.request_context import Assignment, Call, call_of
from ratchet.serving.settings import Settings
from ratchet.serving.trials import Shadow, is_challengers, subject_hash

LOGGER = logging.getLogger(__name__)
FAILED = "the model has failed on this row; whoever runs the service finds the reason in its log"
_WRITTEN_AT_ONCE = 1_000
SCALE_DIGITS = 12  # of probabilities: further ones are rounding errors


@dataclass
class Service:
    """All that routes need.

    Attributes:
        settings: the settings.
        models: what serves.
        metrics: what is counted.
        keys: who may do what.
        log: where answers go; without one they are not written down.
        measurements: where measurements go.
        truths: where it goes what came true.
        jobs: lets searches run.
        shadow: lets challengers answer the same rows, unseen.
        slow: requests that wait for a version that is not compiled.
        answering: requests that are being answered.
    """

    settings: Settings
    models: Models
    metrics: Metrics
    keys: Keys
    log: AnswerLog | None = None
    measurements: Measurements | None = None
    truths: Truths | None = None
    jobs: Runner | None = None
    shadow: Shadow | None = None
    slow: int = 0
    answering: int = 0

    def champion(self, use_case: str) -> Serving:
        """What answers for a use case.

        Raises:
            Problem: there is no such use case, or nothing serves yet; says what to do.
        """
        serving = self.models.champion(use_case)
        if serving is not None:
            return serving
        names = list(self.models.use_cases())
        if use_case not in names:
            existing = ", ".join(sorted(names)) or "none yet"
            raise Problem(
                404,
                "unknown-use-case",
                f"there is no use case '{use_case[:60]}'; there are: {existing}",
            )
        why = self.models.problems().get(use_case)
        detail = (
            f"{for_anybody(why)}; /health says more"
            if why
            else (
                f"no version of {use_case} serves yet: `kedro run` trains one and lets it serve, "
                f"`kedro ratchet status` shows the state"
            )
        )
        raise Problem(503, "nothing-serves", detail, headers={"retry-after": "5"})

    def chosen(self, use_case: str, request: Request, subject: str | None = None) -> Serving:
        """What answers a request: the champion, or in a split maybe the challenger.

        Args:
            use_case: of which.
            request: the request.
            subject: whom the answer is for; by default that of the header ``X-Subject``, and
                without that every request has a subject of its own.

        Raises:
            Problem: as ``champion``.
        """
        champion = self.champion(use_case)
        challenger, share = self.models.challenger(use_case), self.settings.split.get(use_case)
        if challenger is None or share is None:
            return champion
        call, subject = call_of(request), subject or request.headers.get("x-subject")
        call.assignment = Assignment(subject_hash(subject) if subject else None, share)
        unit = subject or call.log_id
        return challenger if is_challengers(unit, champion, challenger, share) else champion

    def problems(self, call: Call) -> dict[str, str]:
        """Use case -> why what should serve does not: in full, for operators."""
        problems = self.models.problems()
        if self.shows_all(call):
            return dict(problems)
        return {name: for_anybody(why) for name, why in problems.items()}

    def shows_all(self, call: Call) -> bool:
        """Whether a client may see reasons, which name files and types."""
        if self.keys.needed:
            return call.key is not None and call.key.allows("operate")
        return call.local

    async def answer(
        self,
        request: Request,
        serving: Serving,
        rows: Sequence[Row],
        names: Mapping[str, str] | None = None,
        *,
        past_required: bool = False,
    ) -> list[Answer]:
        """Answer the rows of a request by one version, and write the answers down.

        A row of a series whose past is not known is answered by the second model of the version,
        where it has one: ``Answer.basis`` says so.

        Args:
            request: the request.
            serving: the version.
            rows: raw fields.
            names: column -> how the request called it, for errors.
            past_required: whether such a row is refused instead.

        Raises:
            Problem: a row cannot be answered, the model fails, or too much waits already.
        """
        call, started = call_of(request), time.perf_counter()
        arm = self._arm(serving)  # now: another version may take over while this one answers
        if serving.degraded is not None and self.slow >= self.settings.limits.slow_answers:
            raise _busy("this version answers slowly, and too many requests wait for it")
        self.slow += serving.degraded is not None
        self.answering += 1
        try:
            answers = await self._in_chunks(serving, rows, names, past_required)
        except Problem:
            raise
        except Exception as error:
            raise self._failed(serving, rows, call, arm, error) from None
        finally:
            self.slow -= serving.degraded is not None
            self.answering -= 1
            spent = call.span("answer", started)
        await self._write(serving, rows, answers, call, arm, spent)
        self.metrics.answered(serving, answers, spent / 1e3)
        return answers

    def recommend(
        self, request: Request, serving: Serving, make: Callable[[], PriceRecord]
    ) -> PriceRecord:
        """Recommend a price, and write it down.

        Args:
            request: the request.
            serving: the version.
            make: looks for the price.

        Raises:
            Problem: the request cannot be answered, the version fails, or too much waits already.
        """
        call, started, arm = call_of(request), time.perf_counter(), self._arm(serving)
        try:
            price = make()
        except Problem:
            raise
        except Exception as error:
            raise self._failed(serving, (), call, arm, error) from None
        spent = call.span("answer", started)
        if self.log is not None:
            started, now = time.perf_counter(), datetime.now(UTC)
            head = (serving.name, serving.version, arm, call.log_id, now, spent)
            try:
                self.log.append(Entry(*head, price=price, **of_split(call.assignment)))
            except QueueFullError:
                raise _busy("answers come faster than they can be written down") from None
            call.span("log", started)
        return price

    async def _in_chunks(
        self,
        serving: Serving,
        rows: Sequence[Row],
        names: Mapping[str, str] | None,
        past_required: bool,
    ) -> list[Answer]:
        """Some rows at a time, so that other requests do not wait for a large batch."""
        answerer = serving.answerer if past_required else with_fallback(serving)
        size, answers = self.settings.limits.chunk_rows, list[Answer]()
        if serving.use_case.features.path:  # later rows look at what earlier ones say
            size = max(len(rows), 1)
        for first in range(0, len(rows), size):
            if first:
                await asyncio.sleep(0)
            try:
                result = answerer.answer(rows[first : first + size])
                part = await result if inspect.isawaitable(result) else result
            except RequestError as error:
                self.metrics.refused.labels(serving.name).inc()
                raise of_row(error, names, first) from None
            _check_finite(part)
            answers += part
        _check_distinct(answers)
        return answers

    def _failed(
        self, serving: Serving, rows: Sequence[Row], call: Call, arm: str, error: Exception
    ) -> Problem:
        LOGGER.error(
            "Request %s: version %s of %s has failed",
            *(call.request_id, serving.version, serving.name),
            exc_info=error,
        )
        self.metrics.failures.labels(serving.name).inc()
        if self.log is not None:
            why = type(error).__name__
            self.log.write_error(serving, rows, call.log_id, why, arm, call.assignment)
        return Problem(500, "failed", FAILED)

    async def _write(
        self,
        serving: Serving,
        rows: Sequence[Row],
        answers: Sequence[Answer],
        call: Call,
        arm: str,
        spent: float,
    ) -> None:
        """Write answers down before they are sent, some at a time."""
        if self.log is None:
            return
        started, now = time.perf_counter(), datetime.now(UTC)
        for first in range(0, len(answers), _WRITTEN_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            part = slice(first, first + _WRITTEN_AT_ONCE)
            share = spent * len(answers[part]) / len(answers)
            written = AnswerBatch(
                *(serving, rows[part], answers[part], call.log_id, now, share, call.actor),
                call.assignment,
            )
            try:
                self.log.write(written, arm)
            except QueueFullError:
                raise _busy("answers come faster than they can be written down") from None
        if not any(answer.basis for answer in answers):  # which no other version is held against
            self._offer(serving, rows, call)
        call.span("log", started)

    def _arm(self, serving: Serving) -> str:
        is_champion = self.models.challenger(serving.name) is not serving
        return CHAMPION if is_champion else CHALLENGER

    def _offer(self, serving: Serving, rows: Sequence[Row], call: Call) -> None:
        """Let a challenger answer the same rows, unless it has a share of its own."""
        challenger = self.models.challenger(serving.name)
        if self.shadow is None or challenger is None or serving.name in self.settings.split:
            return
        self.shadow.offer(challenger, rows, call.log_id, call.actor)


def with_fallback(serving: Serving) -> Answerer | AsyncAnswerer:
    """What answers, with a second model for rows whose past is not known where there is one."""
    make = getattr(serving.answerer, "with_fallback", None)
    return serving.answerer if make is None else make() or serving.answerer


def for_anybody(reason: str) -> str:
    """What happened, without the reason behind it."""
    return reason.partition(": ")[0]


def no_prices(serving: Serving) -> str:
    """Why no version of a market recommends prices, and what helps."""
    return (
        f"version {serving.version} holds no prices, for it was made without the phase pricing: "
        f"`kedro run --pipelines {serving.name}` makes one that does"
    )


def _busy(why: str) -> Problem:
    return Problem(503, "busy", f"{why}; try again in a moment", headers={"retry-after": "1"})


def _check_finite(answers: Sequence[Answer]) -> None:
    """An answer that is no number is none."""
    for answer in answers:
        for target, prediction in answer.predictions.items():
            numbers = [
                prediction.value,
                prediction.low,
                prediction.high,
                *(prediction.probabilities or {}).values(),
            ]
            if any(isinstance(each, float) and math.isnan(each) for each in numbers):
                raise ArithmeticError(f"{target} of row {answer.key} is not a number")
            if isinstance(prediction.value, float) and math.isinf(prediction.value):
                raise ArithmeticError(f"{target} of row {answer.key} is infinite")


def _check_distinct(answers: Sequence[Answer]) -> None:
    """Two rows of one key in a request are a mistake, also where they come in different chunks."""
    first_rows: dict[str, int] = {}
    for number, answer in enumerate(answers):
        if (other := first_rows.setdefault(answer.key, number)) != number:
            message = f"expected no two rows of one key, row {other} has the same: {answer.key}"
            raise of_row(RequestError(message, row=number))


def about(serving: Serving, call: Call) -> dict[str, object]:
    """What every answer says of itself."""
    return {
        "use_case": serving.name,
        "model_version": serving.version,
        "predicted_at": moment(datetime.now(UTC)),
        "request_id": call.request_id,
    }


def as_json(answer: Answer, targets: Mapping[str, Target]) -> dict[str, object]:
    """An answer as clients get it."""
    return {
        "key": answer.key,
        "time": None if answer.time is None else moment(answer.time),
        "series": answer.series,
        "predictions": {
            name: prediction_json(prediction, targets[name])
            for name, prediction in answer.predictions.items()
        },
        "not_given": list(answer.not_given),
        "basis": answer.basis,
        **({} if answer.step is None else {"step": answer.step}),
    }


def prediction_json(prediction: Prediction, target: Target) -> dict[str, object]:
    """A class with its probability, or a number with its interval, as clients get it."""
    if prediction.probabilities is not None:
        shown = {
            name: round(float(p), SCALE_DIGITS) for name, p in prediction.probabilities.items()
        }
        return {
            "value": prediction.value,
            "probability": shown.get(str(prediction.value)),
            "probabilities": shown,
        }
    return {
        "value": prediction.value,
        "low": _finite(prediction.low),
        "high": _finite(prediction.high),
        "confidence": None if prediction.low is None else target.confidence,
        "unit": target.unit or None,
    }


def _finite(value: float | None) -> float | None:
    """An end of an interval; where it is open there is none."""
    return None if value is None or math.isinf(value) else value


def moment(value: datetime) -> str:
    """A time in UTC, as ISO 8601 writes it."""
    plain = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return plain.isoformat(timespec="milliseconds" if plain.microsecond else "seconds") + "Z"


def json_response(content: Any, status: int = 200) -> Response:
    """A response of JSON."""
    return Response(to_json(content, inf_nan_mode="null"), status, media_type="application/json")


async def list_response(
    head: Mapping[str, Any], answers: Sequence[Answer], targets: Mapping[str, Target], size: int
) -> Response:
    """A response of many answers, some of which are written at a time."""
    parts = []
    for first in range(0, len(answers), size):
        if first:
            await asyncio.sleep(0)
        part = [as_json(answer, targets) for answer in answers[first : first + size]]
        parts.append(to_json(part, inf_nan_mode="null")[1:-1])
    body = to_json(head)[:-1] + b',"answers":[' + b",".join(parts) + b"]}"
    return Response(body, media_type="application/json")


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service
