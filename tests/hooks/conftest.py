"""A small shop: one target, a naive candidate and another one; learned in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CONFIGURATION = {
    "catalog": """
        shop.raw:
          type: pandas.CSVDataset
          filepath: data/01_raw/shop.csv
          metadata: {kedro-viz: {layer: raw}}
        """,
    "parameters": """
        shop:
          about: {title: Shop, question: "What is it worth?", source: a test}
          data:
            key: id
            columns: {id: {type: integer}, size: {type: number}, price: {type: number}}
          features: {numeric: [size]}
          targets:
            price:
              column: price
              task: regression
              cv: 2
              n_jobs: 1
              stack: 0
              candidates:
                dummy: {estimator: dummy}
                ridge: {estimator: ridge, param_grid: {model__alpha: [1, 1000]}}
        """,
    "mlflow": "enabled: true",
}


def _add_shop(project: Path) -> Path:
    for path in (project / "conf/base/parameters").glob("*.yml"):
        if path.name != "run.yml":
            path.unlink()
    (project / "conf/base/catalog/01_raw.yml").unlink()
    folder = project / "conf/shop"
    folder.mkdir()
    for name, text in CONFIGURATION.items():
        (folder / f"{name}.yml").write_text(text)
    size = np.random.default_rng(0).normal(size=120)
    rows = pd.DataFrame({"id": range(120), "size": size, "price": 3 * size + size**2 / 9})
    rows.to_csv(project / "data/01_raw/shop.csv", index=False)
    return project


@pytest.fixture(scope="session")
def add_shop() -> Callable[[Path], Path]:
    """Have the shop alone in a project, as environment ``shop``, which is tracked."""
    return _add_shop
