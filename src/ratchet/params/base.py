"""What all parameter models share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_OURS = re.compile(r"ratchet\.use_cases\.[a-z]\w*\.[a-z]\w*")

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

    @property
    def is_ours(self) -> bool:
        """Whether it is a function of ``ratchet.use_cases``, the only ones a bundle may name.

        Like its models a bundle could name any other, and have it called.
        """
        return _OURS.fullmatch(self.function) is not None
