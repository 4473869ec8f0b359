"""How fast the prediction log grows: bytes of a row in SQLite, and CPU time of writing it.

Rows are made answers as the service logs them: one of a class with three probabilities, one of a
number with its interval.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import numpy as np
import pandas as pd
from harness.measure import own_cpu, print_table

from ratchet.database import connect
from ratchet.monitoring.prediction_log import PredictionLog

BATCH = 1_000
SECONDS_A_DAY = 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="of each kind (default: 100000)")
    count = parser.parse_args().rows
    table = [row(kind, count) for kind in KINDS]
    head = ("answer", "bytes per row", "CPU s per million", "GB per day at 1,000 per second")
    print_table(head, table)


def row(kind: str, count: int) -> list[str]:
    rng = np.random.default_rng(0)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with TemporaryDirectory() as folder:
        path = Path(folder, "log.db")
        log = PredictionLog(connect(f"sqlite:///{path}"))
        before = own_cpu()
        for first in range(0, count, BATCH):
            keys = pd.Index([f"{first + number:012}" for number in range(BATCH)], name="key")
            answers = KINDS[kind](rng).set_index(keys)
            answers["row_hash"] = [f"{rng.integers(2**62):032x}" for _ in keys]
            log.write(
                "films",
                "3",
                {"target": answers},
                arm="champion",
                source="service",
                latency_ms=0.4,
                at=start + timedelta(seconds=first // BATCH),
                request=str(UUID(int=first)),
            )
        cpu, size = own_cpu() - before, path.stat().st_size / count
    daily = size * 1_000 * SECONDS_A_DAY / 1e9
    return [kind, f"{size:.0f}", f"{cpu * 1e6 / count:.0f}", f"{daily:.0f}"]


def classes(rng: np.random.Generator) -> pd.DataFrame:
    shares = rng.dirichlet([1, 1, 1], BATCH)
    names = ["Alto", "Medio", "Bajo"]
    columns = {f"probability_{name}": shares[:, number] for number, name in enumerate(names)}
    return pd.DataFrame({"prediction": [names[best] for best in shares.argmax(1)], **columns})


def numbers(rng: np.random.Generator) -> pd.DataFrame:
    value = rng.normal(3, 1, BATCH)
    return pd.DataFrame({"prediction": value, "low": value - 1, "high": value + 1})


KINDS = {"a class, three probabilities": classes, "a number, its interval": numbers}

if __name__ == "__main__":
    main()
