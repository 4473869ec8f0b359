"""What the catalog saves is there whole, whatever ends its process."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure
from sklearn.linear_model import Ridge

from ratchet.catalog import AtomicCatalog

KINDS: dict[str, dict[str, Any]] = {
    "parquet": {"type": "pandas.ParquetDataset"},
    "csv": {"type": "pandas.CSVDataset"},
    "json": {"type": "json.JSONDataset"},
    "text": {"type": "text.TextDataset"},
    "xlsx": {"type": "pandas.ExcelDataset"},
    "chart": {"type": "ratchet.datasets.VegaLiteDataset"},
    "png": {"type": "ratchet.datasets.ImagesDataset"},
    "skops": {"type": "ratchet.datasets.SkopsDataset"},
}


def content(kind: str, seed: int, rows: int = 400) -> Any:
    """Something of a kind that takes kilobytes."""
    frame = pd.DataFrame({"x": np.random.default_rng(seed).random(rows)})
    if kind in ("parquet", "csv", "xlsx"):
        return frame
    if kind in ("json", "chart"):
        return {"data": frame["x"].tolist()}
    if kind == "png":
        return {f"{number}.png": frame.to_csv().encode() for number in range(2)}
    if kind == "skops":
        return Ridge().fit(np.ones((2, rows)), [seed, 1])
    return frame.to_csv()


def catalog_in(folder: Path, **config: Any) -> AtomicCatalog:
    return AtomicCatalog.from_config(
        {
            kind: {**entry, "filepath": str(folder / f"data.{kind}"), **config}
            for kind, entry in KINDS.items()
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    """All files that a reader would find."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


def in_child(act: Callable[[], None]) -> int:
    """Do something in a child; how it ended."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def save_up_to(size: int, how: int, catalog: AtomicCatalog, kind: str) -> None:
    """Save where no file can grow beyond a size.

    Args:
        size: in bytes.
        how: ``SIG_DFL``, then the system kills this process in the middle of its writing; or
            ``SIG_IGN``, then the write fails, as on a full disk.
        catalog: saves.
        kind: dataset.
    """
    data = content(kind, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, how)
    with pytest.raises(DatasetError, match=f"(?s)^{kind}: .*File too large"):
        catalog.save(kind, data)


@pytest.mark.parametrize("how", [signal.SIG_DFL, signal.SIG_IGN], ids=["killed", "disk full"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_ends_in_the_middle_leaves_what_was_there(tmp_path, kind, how):
    catalog = catalog_in(tmp_path)
    catalog.save(kind, content(kind, 1))
    before = files(tmp_path)
    half = max(map(len, before.values())) // 2

    ended = in_child(lambda: save_up_to(half, how, catalog, kind))

    assert (os.WTERMSIG(ended) if how == signal.SIG_DFL else ended) == (
        signal.SIGXFSZ if how == signal.SIG_DFL else 0
    )
    assert files(tmp_path) == before
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left) == (how == signal.SIG_DFL)
    catalog.save(kind, content(kind, 2))  # and what is left is in nobody's way
    assert files(tmp_path).keys() == before.keys()
    assert files(tmp_path) != before


def test_folders_of_images_lose_what_is_not_drawn_any_more(tmp_path):
    catalog = catalog_in(tmp_path)
    catalog.save("png", content("png", 1))

    catalog.save("png", {"2.png": b"small"})

    assert [*files(tmp_path)] == ["data.png/2.png"]


def test_what_adds_to_a_file_or_folder_goes_on_doing_so(tmp_path):
    more = {"fs_args": {"open_args_save": {"mode": "a"}}}
    config = {"type": "text.TextDataset", "filepath": str(tmp_path / "log.txt"), **more}
    images = {"type": "matplotlib.MatplotlibDataset", "filepath": str(tmp_path / "images")}
    anew = images | {"filepath": str(tmp_path / "anew"), "overwrite": True}
    catalog = AtomicCatalog.from_config({"log": config, "images": images, "anew": anew})
    for number in ("1", "2"):
        catalog.save("log", number)
        for folder in ("images", "anew"):
            catalog.save(folder, {f"{number}.png": Figure(figsize=(1, 1))})

    assert (tmp_path / "log.txt").read_text() == "12"
    assert sorted(files(tmp_path / "images")) == ["1.png", "2.png"]
    assert [*files(tmp_path / "anew")] == ["2.png"]


def test_versions_are_kept_and_saved_once(tmp_path):
    config = {"type": "json.JSONDataset", "filepath": str(tmp_path / "a.json"), "versioned": True}
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        catalog = AtomicCatalog.from_config({"a": config}, save_version=version)
        catalog.save("a", {"v": version})
        assert catalog.load("a") == {"v": version}
        with pytest.raises(DatasetError, match="must not exist"):
            catalog.save("a", {})

    assert len(files(tmp_path)) == 2


def test_a_place_that_is_taken_by_a_folder_is_named(tmp_path):
    (tmp_path / "data.json/deep").mkdir(parents=True)
    catalog = catalog_in(tmp_path)

    with pytest.raises(DatasetError, match=r"(?s)^json: .*Is a directory"):
        catalog.save("json", [1])

    assert (tmp_path / "data.json/deep").is_dir()
