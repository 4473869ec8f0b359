"""Which columns a row has to have before it can be answered, and which only its truth needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ratchet.config import Data, UseCase


@dataclass(frozen=True)
class RequiredColumns:
    """Columns that answering a row requires, by the parameters.

    Which columns a derived column is made of is read off the arguments of its function: whatever
    there is called like a column.
    """

    use_case: UseCase

    @cached_property
    def columns(self) -> list[str]:
        """Raw columns that a row to be answered is asked for: features, and what names the row."""
        data = self.use_case.data
        named = [*self._identity, *self._inputs]
        required = source_columns([*named, *self._demanded_anyway], data)
        return [name for name in data.columns if name in required]

    @cached_property
    def required(self) -> list[str]:
        """Required columns without which a row cannot be answered.

        A column that is required for the sake of the target alone is not among them.
        """
        return [name for name in self.use_case.data.required if name in self.columns]

    @cached_property
    def derived_for_targets(self) -> list[str]:
        """Derived columns that a target is made of, and no feature."""
        data = self.use_case.data
        features, truth = source_columns(self._inputs, data), source_columns(self._targets, data)
        return [name for name in data.derive if name in truth and name not in features]

    @property
    def _targets(self) -> list[str]:
        return [target.column for target in self.use_case.targets.values()]

    @property
    def _identity(self) -> list[str]:
        data = self.use_case.data
        names = [*(data.series.columns if data.series else data.identity), data.time]
        return [name for name in names if name]

    @property
    def _inputs(self) -> list[str]:
        """Columns whose values a model sees at the row itself."""
        features = self.use_case.features
        history = features.history
        sources = [*history.entities, history.looked_up] if history else []
        return [*features.encoded, *sources]

    @property
    def _demanded_anyway(self) -> list[str]:
        """Required columns that serve no target: they say which rows are looked at at all.

        Of a series, what is only before the origin need not be known at the target.
        """
        data, windows = self.use_case.data, self.use_case.features.windows
        later = source_columns([*self._targets, *(windows.past if windows else [])], data)
        return [name for name in data.required if name not in later]


def source_columns(names: Iterable[str], data: Data) -> set[str]:
    """Columns and all columns that they are derived from."""
    sources: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        sources.add(name)
        if name in data.derive:
            texts = _texts(data.derive[name].arguments)
            waiting += [text for text in texts if text in data.known_columns]
        elif name in data.calendar and data.time:
            waiting.append(data.time)
    return sources


def _texts(argument: Any) -> Iterator[str]:
    """Every text of an argument, at any depth."""
    if isinstance(argument, str):
        yield argument
    elif isinstance(argument, dict):
        for key, value in argument.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(argument, list | tuple):
        for value in argument:
            yield from _texts(value)
