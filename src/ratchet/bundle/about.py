"""What the manifest of a bundle says of its contents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from ratchet.bundle.contents import Contents
from ratchet.bundle.manifest import FORMAT, hash_of
from ratchet.config import TARGET_PREFIX
from ratchet.dates import utc
from ratchet.preparation.required_columns import RequiredColumns

_PACKAGES = (
    *("ratchet", "numpy", "pandas", "scikit-learn", "scipy", "skops", "pyarrow"),
    *("xgboost", "xgboost-cpu", "keras", "tensorflow", "tensorflow-cpu"),
)


def describe(contents: Contents) -> dict[str, Any]:
    """Tell what follows from the contents alone; of the run nothing is known."""
    return {
        "format": FORMAT,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "as_of": None,
        "signature": _signature(contents),
        "last_row": last_moment(contents, ["train", "validation"]),
        "decided_until": last_moment(contents, ["test"]),
        "data_hash": hash_rows(contents.typed),
        "code_commit": None,
        "mlflow_run": None,
        "orchestrator_run": None,
        "packages": dict(_versions()),
        "refit": "none",
    }


def _signature(contents: Contents) -> dict[str, Any]:
    use_case, features = contents.use_case, contents.features
    columns, needed = use_case.data.columns, RequiredColumns(use_case)
    return {
        "inputs": {
            name: {
                "type": columns[name].type,
                "nullable": columns[name].nullable and name not in needed.required,
            }
            for name in needed.columns
        },
        "features": {
            str(name): str(dtype)
            for name, dtype in features.dtypes.items()
            if name != "split" and not str(name).startswith(TARGET_PREFIX)
        },
        "outputs": {
            name: [f"probability_{c}" for c in sorted(target.classes or [])]
            or ["prediction", "low", "high"]
            for name, target in use_case.targets.items()
        },
    }


def last_moment(contents: Contents, parts: list[str]) -> str | None:
    """Time of the last row of some parts, in UTC; None without time."""
    time = contents.use_case.data.time
    if time is None:
        return None
    rows = contents.primary[contents.primary["split"].isin(parts)]
    return str(utc(rows[time]).max().isoformat())


def hash_rows(typed: pd.DataFrame) -> str:
    """SHA-256 of rows by what they hold, whatever the file they came from."""
    moments = typed.select_dtypes(["datetime", "datetimetz"])
    fine = any((times.dt.microsecond % 1000).any() for _, times in moments.items())
    lines = typed.to_json(
        orient="split",
        index=False,
        date_format="iso",
        date_unit="us" if fine else "ms",  # as most rows were always hashed
        double_precision=15,
    )
    return hash_of(str(lines).encode())


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # some go by two names
            continue
