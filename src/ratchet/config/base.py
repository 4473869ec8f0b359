"""What all parameter models share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_OURS = re.compile(r"ratchet\.use_cases\.[a-z]\w*\.[a-z]\w*")

CHECKED = {"checked": True}
"""Context in which parameters are read that were checked before, such as those of a bundle by the
process that opened it: nothing that takes pandas is checked again, and none is loaded."""

Share = Annotated[float, Field(gt=0, lt=1)]

_NUMBER = re.compile(r"\s*[+-]?[\d._]+(e[+-]?\d+)?\s*", re.IGNORECASE)


def _with_unit(length: str) -> str:
    """A length of time, of which pandas would take a mere number for nanoseconds, or for days."""
    if _NUMBER.fullmatch(length):
        raise ValueError(
            f"expected a length of time with its unit, such as {length.strip()}D or "
            f"{length.strip()}h, got {length!r}"
        )
    return length


Length = Annotated[str, AfterValidator(_with_unit)]
"""A length of time as pandas writes it, with its unit."""


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
