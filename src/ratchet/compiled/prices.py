"""What prices the segments of a market, as part of a compiled version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.compiled.serialization import program

if TYPE_CHECKING:
    from ratchet.learning.demand.book import DemandBook


@program
@dataclass(frozen=True)
class CompiledBook:
    """The arrays of a demand book.

    Attributes:
        arrays: as ``DemandBook.to_arrays`` gives them.
    """

    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, book: DemandBook) -> CompiledBook:
        """Take over a book."""
        return cls({name: np.asarray(values) for name, values in book.to_arrays().items()})

    @cached_property
    def book(self) -> DemandBook:
        """The book; its arrays are those of the version, without a copy."""
        from ratchet.learning.demand.book import DemandBook  # SciPy, where prices are asked for

        return DemandBook.from_arrays(self.arrays)
