"""Parameters of what a buyer makes of a forecast of demand."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ratchet.config.base import Params, Share


class Inventory(Params):
    """How goods are ordered; lengths of time are counted in steps of the series.

    Attributes:
        stock: units at hand at the last forecast, the same for every series, or the column that
            holds them.
        lead_time: steps from an order to its arrival.
        review: steps from one order to the next.
        service_level: share of the orders after which the stock is to last until the next arrival.
    """

    stock: Annotated[float, Field(ge=0)] | str
    lead_time: Annotated[int, Field(ge=1)]
    review: Annotated[int, Field(ge=1)] = 1
    service_level: Share = 0.95
