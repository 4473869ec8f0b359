"""Parameters of bringing new raw files in."""

from __future__ import annotations

from typing import Literal, get_args

from ratchet.config.base import Params

Finding = Literal["fewer_rows", "reused_keys", "changed_rows", "cut_line"]
"""What a new file may do to rows that were known, or how it may end."""

FINDINGS: tuple[str, ...] = get_args(Finding)


class Landing(Params):
    """Where new raw files come from, and what they may do to rows that are known.

    Attributes:
        source: path of a file or a pattern such as ``/mnt/deliveries/sales-*.csv``, on this
            machine or wherever fsspec reads (``s3://bucket/sales-*.csv``). Of several files the
            last one by name is taken: put the date into the name. A relative path belongs to the
            project.
        storage_options: options of fsspec; secrets belong into the environment.
        allow: findings that are no reason to refuse a file: ``fewer_rows`` (known rows are gone),
            ``reused_keys`` (a key names a row of another time), ``changed_rows`` (known values are
            others now) and ``cut_line`` (the last line of a CSV file seems to be cut off).
        by_hand: what is done where a raw file that was put in place without landing does what is
            not allowed to the rows that the champion was made by: ``warn``, ``refuse`` to run, or
            ``ignore`` it.
    """

    source: str | None = None
    storage_options: dict[str, str | int | float | bool] = {}
    allow: list[Finding] = []
    by_hand: Literal["warn", "refuse", "ignore"] = "warn"
