"""The request for a search, the order to its process, and the networks that it can choose from."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

Mode = Literal["fast", "optimized"]
Strategy = Literal["grid", "random", "bayesian", "halving"]

ARCHITECTURES = "learning/recurrent/architectures/architectures.json"
"""Made by ``ratchet.learning.recurrent.architectures.page``: to make it takes Keras."""

ORDER = "order.json"
"""File of a job's folder that says what its process is to do."""


RESULT, FAILURE = "result.json", "failure.json"
"""What its process leaves there: one of the two, unless it was killed."""

SEARCHED = "searched.json"
"""What the search has found, written before the gate judges its winner."""


WORK = "work"
"""Folder in it that the process works in; nothing of it is needed afterwards."""


class Architecture(NamedTuple):
    """A recurrent network of the table.

    Attributes:
        number: its place in the table, from 1.
        name: what parameters call it.
        family: the family that it belongs to.
        description: one line.
    """

    number: int
    name: str
    family: str
    description: str


@cache
def architectures() -> dict[int, Architecture]:
    """The table, by number, read without Keras."""
    content = json.loads(files("ratchet").joinpath(ARCHITECTURES).read_bytes())
    return {
        each["id"]: Architecture(each["id"], each["name"], family["family"], each["description"])
        for family in content["families"]
        for each in family["architectures"]
    }


def by_family() -> dict[str, list[Architecture]]:
    """The table, by family."""
    families: dict[str, list[Architecture]] = {}
    for each in architectures().values():
        families.setdefault(each.family, []).append(each)
    return families


class TrainRequest(BaseModel):
    """A search among recurrent networks."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "mode": "fast",
                    "model_ids": [1, 6, 26],
                    "optimization_strategy": "bayesian",
                    "n_trials": 20,
                    "lookback": 60,
                    "use_case": "prices",
                }
            ]
        },
    )

    mode: Annotated[
        Mode, Field(description="fast: one epoch of each network; optimized: a search in each")
    ] = "fast"
    model_ids: Annotated[
        list[Annotated[int, Field(strict=True, ge=1)]] | None,
        Field(min_length=1, description="numbers of /models-info; null for all"),
    ] = None
    optimization_strategy: Strategy = "bayesian"
    n_trials: Annotated[
        int, Field(strict=True, ge=1, le=10_000, description="trials of each network")
    ] = 20
    lookback: Annotated[
        int, Field(strict=True, ge=1, le=1_000, description="steps that a forecast sees")
    ] = 60
    horizon: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=1_000)] | None,
        Field(description="steps that it looks ahead; null for what the use case forecasts"),
    ] = None
    use_case: Annotated[str, Field(max_length=60)] = "prices"

    @field_validator("model_ids")
    @classmethod
    def _check_ids(cls, ids: list[int] | None) -> list[int] | None:
        if ids is None:
            return None
        if unknown := [number for number in ids if number not in architectures()]:
            raise ValueError(
                f"there is no network {unknown[0]}; there are 1 to {len(architectures())}"
            )
        return sorted(set(ids))

    @property
    def chosen(self) -> list[Architecture]:
        """The networks that are tried."""
        table = architectures()
        return [table[number] for number in self.model_ids or table]

    @property
    def trials(self) -> int:
        """Trials of all networks together."""
        return len(self.chosen) * (1 if self.mode == "fast" else self.n_trials)


class Order(BaseModel):
    """What the process of a job gets, beside the project of its working directory.

    Attributes:
        job: id of the job.
        request: the search.
        actor: who has sent the request, for the ledger.
        env: environment of the configuration.
        processes: how many train side by side.
        promote: whether a winner that the gate promotes serves at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    request: TrainRequest
    actor: str | None = None
    env: str | None = None
    processes: Annotated[int, Field(ge=1)] = 1
    promote: bool = False
