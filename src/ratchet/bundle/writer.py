"""A bundle that is written: whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.bundle.about import describe
from ratchet.bundle.contents import Contents, importance_of, tables
from ratchet.bundle.golden_rows import as_json, fields_of, golden_keys, told
from ratchet.bundle.manifest import BundleError, hash_files, read_manifest, write_manifest
from ratchet.bundle.reader import DEMAND_BOOK, WITHOUT_PAST, Bundle, check_functions
from ratchet.learning import trusted
from ratchet.learning.files import atomic_write

WRITTEN: set[str] = set()
"""Digests of bundles that this process has written, of models that it had at hand."""


def write_bundle(folder: Path, contents: Contents, about: Mapping[str, Any]) -> Bundle:
    """Write a bundle beside its place, and move it there when it is on disk.

    Killed at any moment, there is a whole bundle or none; what is left then is a folder whose name
    starts with a dot. The golden rows are answered by what was written, from raw fields, after
    their features were found to be those of the training.

    Args:
        folder: where to; it must not be there yet.
        contents: models and rows.
        about: ``use_case`` (its name), ``candidates`` (target -> name); where known ``as_of``,
            ``code_commit``, ``mlflow_run``, ``orchestrator_run``, ``refit``, and whatever else of
            the manifest is not as it follows from the contents.

    Raises:
        BundleError: the folder is there already; features made from raw fields are not those of the
            training; or a derived column calls a function that is none of ours.
    """
    if folder.exists():
        raise BundleError(f"{folder} is there already; a bundle is written once")
    check_functions(contents.use_case, folder)
    try:
        with atomic_write(folder, durable=True, replace=False) as partial:
            partial.mkdir()
            _fill(partial, contents, about)
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error.strerror or error}") from error
    bundle = Bundle(folder, read_manifest(folder))
    WRITTEN.add(bundle.digest)
    return bundle


def _fill(folder: Path, contents: Contents, about: Mapping[str, Any]) -> None:
    parameters = contents.use_case.model_dump(mode="python")
    _write_json(folder / "use_case.json", parameters)
    _write_json(folder / "metrics.json", contents.metrics)
    _write_json(folder / "importance.json", importance_of(contents))
    trusted.dump(contents.encoder, folder / "encoder.skops")
    for name in contents.use_case.targets:
        trusted.dump(contents.models[name], folder / "models" / f"{name}.skops")
    for name, model in contents.without_past.items():
        trusted.dump(model, folder / "models" / f"{name}.{WITHOUT_PAST}.skops")
    if contents.demand_book is not None:
        (folder / DEMAND_BOOK).write_bytes(contents.demand_book.to_bytes())
    for name, frame in tables(contents).items():
        if frame is not None:
            frame.to_parquet(folder / f"{name}.parquet")
    manifest = {**describe(contents), **about, "files": hash_files(folder)}
    _write_json(folder / "golden.json", _golden(Bundle(folder, manifest), contents))
    write_manifest(folder, {**manifest, "files": hash_files(folder)})


def _golden(bundle: Bundle, contents: Contents) -> list[dict[str, Any]]:
    keys = golden_keys(contents.features, contents.typed, contents.use_case)
    fields = fields_of(keys, contents.features, contents.typed, contents.use_case)
    cases = []
    for key, row in zip(as_json(pd.DataFrame({"key": keys})), as_json(fields), strict=True):
        answers = told(bundle.answer(pd.DataFrame([row])), key["key"])
        cases.append({"key": key["key"], "fields": row, "answers": answers})
    return cases


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_as_text)
    path.write_text(text, encoding="utf-8")


def _as_text(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
