"""What the requests of the last hour were like, from counters that are read every few seconds.

Several workers behind one port count apart from each other. Each writes its counters to a file, and
reads those of the others, so that the page shows the sum whichever of them draws it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Histogram

from ratchet.serving.metrics import Metrics

LOGGER = logging.getLogger(__name__)

SECONDS = 10.0
"""Time between two looks."""

_RETAINED = 361  # looks of an hour
_PREDICT = "/predict"
_HEALTH = "/health"


@dataclass(frozen=True)
class Sample:
    """Counters at a moment.

    Attributes:
        at: the moment, in seconds.
        requests: requests since the start.
        refused: those that were answered with 4xx.
        failed: those that were answered with 5xx.
        buckets: upper end in seconds -> predictions that took no longer, since the start.
    """

    at: float
    requests: float
    refused: float
    failed: float
    buckets: Mapping[float, float]


@dataclass(frozen=True)
class Point:
    """What happened between two looks.

    Attributes:
        at: end, in seconds.
        rate: requests per second.
        refused: answers with 4xx.
        failed: answers with 5xx.
        median: milliseconds that half of the predictions did not take; ``None`` without any.
        slow: the same for 99 of 100.
    """

    at: float
    rate: float
    refused: float
    failed: float
    median: float | None
    slow: float | None


class SharedCounters:
    """Counters of all workers of a service, each in a file that its worker writes.

    Args:
        folder: of the files.
        worker: number of this process among the workers.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder, self._own = folder, folder / f"{worker}.json"
        # In containers, ids of processes come again, and files of an earlier service may be there.
        self._process = f"{worker}:{secrets.token_hex(8)}"
        # By process: a restarted worker counts from 0, and what it counted before stays.
        self._others: dict[str, Sample] = {}

    def write(self, sample: Sample) -> None:
        """Let the other workers see the counters of this process."""
        content = asdict(sample) | {"process": self._process}
        temporary = self._own.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self._own)
        except OSError as error:  # requests go on without
            LOGGER.warning("Counters are not shared with the other workers: %s", error)

    def others(self) -> list[Sample]:
        """Counters of the other workers, as they wrote them last."""
        for path in self._folder.glob("*.json"):
            if path == self._own:
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                process = str(content.pop("process"))
                buckets = {float(end): n for end, n in content.pop("buckets").items()}
                self._others[process] = Sample(buckets=buckets, **content)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # its last sample stays
        return list(self._others.values())


class Traffic:
    """Reads the counters of the service, and remembers an hour.

    Args:
        metrics: the counters of this process.
        clock: seconds.
        shared: those of all workers, where there are several.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        shared: SharedCounters | None = None,
    ) -> None:
        self._metrics, self._clock, self._shared = metrics, clock, shared
        self._samples: deque[Sample] = deque(maxlen=_RETAINED)
        self.sample()

    async def watch(self) -> None:
        """Look again and again, until this is cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            self.sample()

    def sample(self) -> None:
        """Look once."""
        if self._shared is not None:
            self._shared.write(self._read_own())
        self._samples.append(self._read())

    def points(self) -> list[Point]:
        """What happened between the looks, up to now."""
        return [_between(*pair) for pair in pairwise([*self._samples, self._read()])]

    def whole(self) -> Point:
        """What happened in the time that is remembered."""
        return _between(self._samples[0], self._read())

    def _read(self) -> Sample:
        own = self._read_own()
        return own if self._shared is None else _sum([own, *self._shared.others()], own.at)

    def _read_own(self) -> Sample:
        statuses = {"2": 0.0, "4": 0.0, "5": 0.0}
        for one in _samples(self._metrics.requests, "_total"):
            kind = one.labels["status"][:1]
            if kind == "5" and one.labels["route"].startswith(_HEALTH):
                continue  # "not ready" is an answer, which a probe repeats every few seconds
            statuses[kind] = statuses.get(kind, 0.0) + one.value
        buckets: dict[float, float] = {}
        for one in _samples(self._metrics.seconds, "_bucket"):
            if one.labels["route"].startswith(_PREDICT):
                end = float(one.labels["le"])
                buckets[end] = buckets.get(end, 0.0) + one.value
        return Sample(self._clock(), sum(statuses.values()), statuses["4"], statuses["5"], buckets)


def _sum(samples: Sequence[Sample], at: float) -> Sample:
    """Counters of several processes together."""
    ends = {end for each in samples for end in each.buckets}
    return Sample(
        at,
        sum(each.requests for each in samples),
        sum(each.refused for each in samples),
        sum(each.failed for each in samples),
        {end: sum(each.buckets.get(end, 0.0) for each in samples) for end in ends},
    )


def _samples(metric: Counter | Histogram, ending: str) -> list[Any]:
    return [
        one for family in metric.collect() for one in family.samples if one.name.endswith(ending)
    ]


def _between(before: Sample, after: Sample) -> Point:
    counts = {end: n - before.buckets.get(end, 0.0) for end, n in after.buckets.items()}
    seconds = max(after.at - before.at, 1e-9)
    return Point(
        after.at,
        (after.requests - before.requests) / seconds,
        after.refused - before.refused,
        after.failed - before.failed,
        quantile(counts, 0.5),
        quantile(counts, 0.99),
    )


def quantile(counts: Mapping[float, float], share: float) -> float | None:
    """Milliseconds within which a share of the requests was answered.

    Between the ends of a bucket they are taken to lie evenly, as Prometheus does.

    Args:
        counts: upper end of a bucket in seconds -> requests that took no longer.
        share: from 0 to 1.
    """
    ends: Sequence[float] = sorted(counts)
    total = counts[ends[-1]] if ends else 0.0
    if total <= 0:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for end in ends:
        if counts[end] >= rank:
            if math.isinf(end):
                return low * 1e3
            inside = counts[end] - below
            return (low + (end - low) * ((rank - below) / inside if inside else 0.0)) * 1e3
        low, below = end, counts[end]
    return low * 1e3
