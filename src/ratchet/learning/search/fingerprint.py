"""What the results of a search depend on."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib

from ratchet.learning.search.groups import TrainGroups
from ratchet.learning.search.store import digest

_LIBRARIES = ("keras", "numpy", "tensorflow", "tensorflow-cpu")


def fingerprint(job: TrainGroups) -> str:
    """Name of what all trials have in common: rows, folds, score, and the code that trains.

    The parameters of the estimator are not in it, as each trial's own name has them all.
    """
    kind = type(job.estimator)
    return digest(
        [
            joblib.hash([job.X, job.y, job.folds]),
            f"{kind.__module__}.{kind.__qualname__}",
            repr(job.scorer),
            _code(),
        ]
    )


@cache
def _code() -> str:
    learning = Path(__file__).parents[1]
    parts = [f"{name} {_version(name)}".encode() for name in _LIBRARIES]
    parts += [path.read_bytes() for path in sorted((learning / "recurrent").rglob("*.py"))]
    parts += [(learning / "search" / "groups.py").read_bytes()]
    return sha256(b"\0".join(parts)).hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # TensorFlow goes by two names
        return None
