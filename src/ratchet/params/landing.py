"""Parameters of bringing new raw files in."""

from __future__ import annotations

from ratchet.params.base import Params


class Landing(Params):
    """Where new raw files come from.

    Attributes:
        source: path of a file or a pattern such as ``/mnt/deliveries/sales-*.csv``, on this
            machine or wherever fsspec reads (``s3://bucket/sales-*.csv``). Of several files the
            last one by name is taken: put the date into the name. A relative path belongs to the
            project.
        storage_options: options of fsspec; secrets belong into the environment.
    """

    source: str
    storage_options: dict[str, str | int | float | bool] = {}
