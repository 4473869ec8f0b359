"""What all parameter models share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]


class Params(BaseModel):
    """Parameters of one kind: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Derived(Params):
    """Something computed by a function that YAML names.

    The function takes the frame and ``arguments`` as keywords.
    """

    function: str
    arguments: dict[str, Any] = {}
