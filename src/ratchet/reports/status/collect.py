"""The status of every use case: from ledger, registry, prediction log and monitoring."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ratchet.bundle.reader import Bundle, open_bundle
from ratchet.config import UseCase
from ratchet.errors import UserError
from ratchet.frames import DataFrame
from ratchet.learning.metrics import greater_is_better
from ratchet.monitoring.performance import PROMOTED
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.primary_metric import primary_metric
from ratchet.registry.ledger_chain import Entry, State
from ratchet.registry.model_versions import registered_model
from ratchet.registry.registry import Registry

DECISIONS = 8
"""How many of the last decisions are listed."""
_OPENING, _CLOSING = ("rollback", "retrain"), ("promote", "override")
"""Events that ask for a new model, and those that bring one."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of the champion since its promotion.

    Attributes:
        answers: rows that it answered.
        known: those whose truth is known.
        latest: when it answered last.
    """

    answers: int
    known: int
    latest: dt.datetime | None


@dataclass(frozen=True)
class UseCaseStatus:
    """Status of one use case.

    Attributes:
        name: name of the use case.
        title: what it calls itself.
        target: the target that decides.
        metric: its metric.
        greater_is_better: whether a larger value of the metric is better.
        champion: what serves; ``None`` before the first promotion.
        since: when the champion was promoted.
        previous: the rollback target.
        challenger: the newest version, while it waits for a decision or was held back.
        promoted: the metric at the promotion: ``value``, ``low``, ``high``.
        rollback_above: share by which a window that fails is worse than the promotion, at least.
        predicted: what the champion answered; ``None`` without a champion.
        watch: what the monitoring found last of this champion; ``None`` before it has looked at
            it.
        watched: the version that the monitoring looked at last, if that is another one.
        decisions: entries of the ledger, newest first.
        unsettled: the rollback or the request for a training that no promotion has followed yet.
        problems: what has to be mended, in sentences.
    """

    name: str
    title: str
    target: str
    metric: str
    greater_is_better: bool
    champion: Model | None = None
    since: dt.datetime | None = None
    previous: Model | None = None
    challenger: Model | None = None
    promoted: Mapping[str, float] | None = None
    rollback_above: float | None = None
    predicted: Predicted | None = None
    watch: Mapping[str, Any] | None = None
    watched: str | None = None
    decisions: Sequence[Entry] = ()
    unsettled: Entry | None = None
    problems: Sequence[str] = ()

    @property
    def windows(self) -> list[Mapping[str, Any]]:
        """Windows of the production in which the metric is known, in order of time."""
        windows = self.watch["windows"] if self.watch else []
        return [window for window in windows if window.get(self.metric) is not None]

    @property
    def worse_by(self) -> float | None:
        """Share by which the latest window is worse than the promotion; below 0 it is better."""
        if not self.windows or not (promoted := self.promoted_in(self.windows[-1])):
            return None
        lost = promoted - self.windows[-1][self.metric]
        return (lost if self.greater_is_better else -lost) / abs(promoted)

    def promoted_in(self, window: Mapping[str, Any]) -> float | None:
        """What the watch compares a window with: the metric at the promotion.

        Of paths that of the steps that were asked for in the window, each as often.
        """
        if (in_mix := window.get(f"{self.metric}{PROMOTED}")) is not None:
            return float(in_mix)
        return self.promoted["value"] if self.promoted else None

    @property
    def has_steps(self) -> bool:
        """Whether windows are compared with scores of the steps that were asked for in them."""
        return any(window.get(f"{self.metric}{PROMOTED}") is not None for window in self.windows)

    def fails_beyond(self, promoted: float | None) -> float | None:
        """Value of the metric beyond which a window fails that is compared with another value."""
        if promoted is None or self.rollback_above is None:
            return None
        lost = self.rollback_above * abs(promoted)
        return promoted - lost if self.greater_is_better else promoted + lost

    @property
    def alerts(self) -> list[Mapping[str, Any]]:
        """Alerts of the monitoring."""
        return self.watch["alerts"] if self.watch else []

    @property
    def drift(self) -> Mapping[str, Any] | None:
        """The latest drift report."""
        return self.watch["drift"] if self.watch else None

    def to_json(self) -> dict[str, object]:
        """All of it in types that JSON knows."""
        values = {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "worse_by": self.worse_by,
            "fails_beyond": self.fails_beyond(
                self.promoted_in(self.windows[-1] if self.windows else {})
            ),
            "decisions": [entry.to_json() for entry in self.decisions],
            "unsettled": self.unsettled and self.unsettled.to_json(),
        }
        plain: dict[str, object] = json.loads(json.dumps(values, default=_plain))
        return plain


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.datetime) else vars(value)


def collect(
    registry: Registry | None,
    log: PredictionLog | None,
    use_cases: Mapping[str, UseCase],
    watches: Mapping[str, Mapping[str, Any] | None],
) -> list[UseCaseStatus]:
    """Collect the status of every use case.

    Args:
        registry: ``None`` where there is no database yet.
        log: ``None`` likewise.
        use_cases: the use cases.
        watches: use case -> what the monitoring found last, if it has run.

    Returns:
        One status per use case, by name: Kedro reads parameter files in any order.
    """
    faults: list[str] = []
    if registry is not None:
        faults = [*registry.verify(), *map(registry.ledger.clock_warning, use_cases)]
    return [
        _status(registry, log, name, use_case, watches.get(name), faults)
        for name, use_case in sorted(use_cases.items())
    ]


def _status(
    registry: Registry | None,
    log: PredictionLog | None,
    name: str,
    use_case: UseCase,
    watch: Mapping[str, Any] | None,
    faults: Sequence[str],
) -> UseCaseStatus:
    target, metric = primary_metric(use_case)
    status = UseCaseStatus(
        name=name,
        title=use_case.about.title,
        target=target,
        metric=metric,
        greater_is_better=greater_is_better(metric),
    )
    if registry is None or log is None:
        return status
    state = registry.ledger.state(name)
    bundles = Bundles(registry, name)
    entries, unreadable = _entries(registry, name)
    status = replace(
        status,
        champion=bundles.model(state.champion, "champion"),
        previous=bundles.model(state.previous, "previous model"),
        challenger=bundles.model(registry.challenger(name), "challenger"),
        decisions=entries[:DECISIONS],
        unsettled=_unsettled(entries),
    )
    if state.champion is not None and state.since is not None:
        looked_at = watch["scored"]["version"] if watch else None
        status = replace(
            status,
            since=state.since,
            promoted=bundles.score(state.champion, target, metric),
            rollback_above=use_case.monitoring.watch.rollback_above,
            predicted=_predicted(
                log.rows(name, target, state.champion, arm="champion"), state.since
            ),
            watch=watch if looked_at == state.champion else None,
            watched=looked_at if looked_at != state.champion else None,
        )
    broken = [
        f"the ledger: {fault.removeprefix(f'{name}: ').removeprefix('the ledger: ')}"
        for fault in faults
        if fault.startswith((f"{name}: ", "the ledger: "))
    ]
    problems = [*broken, *unreadable, *bundles.problems, *disagreements(registry, name, state)]
    return replace(status, problems=problems)


def _entries(registry: Registry, use_case: str) -> tuple[list[Entry], list[str]]:
    """The entries of the ledger, newest first, and why they cannot be read."""
    try:
        return registry.ledger.entries(use_case)[::-1], []
    except UserError as error:
        return [], [str(error)]


def _unsettled(entries: Sequence[Entry]) -> Entry | None:
    """The latest rollback or request for a training, unless a promotion follows it."""
    newest = next((one for one in entries if one.event in (*_OPENING, *_CLOSING)), None)
    return newest if newest is not None and newest.event in _OPENING else None


def _predicted(rows: DataFrame, since: dt.datetime) -> Predicted:
    start = since.astimezone(dt.UTC).replace(tzinfo=None)
    if since > dt.datetime.now(dt.UTC):  # a clock was ahead: all are its own
        start = dt.datetime.min
    answers = rows[~rows["failed"].astype(bool) & (rows["predicted_at"] >= start)]
    latest = None if answers.empty else answers["predicted_at"].max().to_pydatetime()
    with_truth = answers.index[answers["truth"].notna()]
    return Predicted(answers.index.nunique(), with_truth.nunique(), latest)


@dataclass(frozen=True)
class Model:
    """A version of the registry.

    Attributes:
        version: its number.
        candidates: target -> what answers for it; empty if the bundle cannot be opened.
    """

    version: str
    candidates: Mapping[str, str] = field(default_factory=dict)


class Bundles:
    """The bundles of a use case; those that cannot be opened become problems."""

    def __init__(self, registry: Registry, use_case: str) -> None:
        self._registry = registry
        self._use_case = use_case
        self._opened: dict[str, Bundle] = {}
        self.problems: list[str] = []

    def model(self, version: str | None, role: str) -> Model | None:
        """The model of a version, if there is one; ``role`` is what a problem calls it."""
        if version is None:
            return None
        try:
            bundle = open_bundle(self._registry.folder(self._use_case, version))
            _ = bundle.metrics  # which are read later, and may be damaged
        except UserError as error:
            self.problems.append(f"the {role} cannot be used: {error}")
            return Model(version)
        self._opened[version] = bundle
        return Model(version, bundle.manifest["candidates"])

    def score(self, version: str, target: str, metric: str) -> Mapping[str, float] | None:
        """A score that a bundle was released with: ``value``, ``low``, ``high``.

        Returns:
            ``None`` if the bundle could not be opened, or does not say.
        """
        if version not in self._opened:
            return None
        return self._opened[version].score(target, metric)


def disagreements(registry: Registry, use_case: str, state: State) -> list[str]:
    """Aliases of the registry that differ from the ledger, in sentences."""
    aliases = _aliases(registry, use_case)
    ledger = {"champion": state.champion, "previous": state.previous}
    return [
        f"the alias '{role}' points to {_named(aliases.get(role))}, the ledger says "
        f"{_named(version)}; the ledger is right, and the next run mends the alias"
        for role, version in ledger.items()
        if aliases.get(role) != version
    ]


def _aliases(registry: Registry, use_case: str) -> dict[str, str]:
    """Alias -> version; none for a model that the registry does not know."""
    model = registered_model(registry.client, use_case)
    return {} if model is None else {alias: str(at) for alias, at in model.aliases.items()}


def _named(version: str | None) -> str:
    return "no version" if version is None else f"version {version}"
