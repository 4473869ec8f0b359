"""Number and digest of the newest decision, noted outside of the ledger: a cut-off end shows.

They are in a tag of the registered model (the anchor), and in a file beside the bundles (the
checkpoint), since whoever empties the database empties MLflow's tables with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from ratchet.errors import DataError, hide_secrets
from ratchet.learning.atomic_files import write_text
from ratchet.locks import locked
from ratchet.registry.ledger import Ledger
from ratchet.registry.model_versions import model_name, registered_model, registered_models

if TYPE_CHECKING:
    from mlflow import MlflowClient

ANCHOR = "ledger"
"""Tag of a registered model: number and digest of the newest decision about its use case."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CheckpointEntry(BaseModel, strict=True, frozen=True):
    """A decision that was written, and the digest of the first one, which identifies a ledger."""

    first: Digest
    seq: Annotated[int, Field(ge=1)]
    digest: Digest


class _Content(BaseModel, strict=True):
    decisions: dict[str, CheckpointEntry]


class Checkpoint:
    """The checkpoint file of one database, in the folder of the bundles."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        url = ledger.engine.url
        file = url.database if url.get_backend_name() == "sqlite" else None
        # A relative path, since the project may move.
        address = os.path.relpath(file, folder) if file else hide_secrets(str(url))
        self.path = folder / f"ledger-{sha256(address.encode()).hexdigest()[:12]}.json"
        self._ledger = ledger
        self._persistent = url.get_backend_name() != "sqlite" or file not in (None, "", ":memory:")

    def read(self) -> Mapping[str, CheckpointEntry]:
        """Use case -> the decision that the file has of it.

        Raises:
            DataError: the file is not a checkpoint.
        """
        try:
            content = _Content.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"the checkpoint {self.path} cannot be read: {reason}") from error
        return content.decisions

    def update(self, use_case: str) -> Iterator[str]:
        """Note the newest decision about a use case.

        An entry that the ledger does not contain is left alone: it is evidence.

        Yields:
            A line that says so.
        """
        if not self._persistent or self._ledger.newest(use_case) is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_name(f".{self.path.name}.lock"), "the checkpoint of the ledger"):
            try:
                entries = dict(self.read())
            except DataError as error:
                yield str(error)
                return
            noted, newest = entries.get(use_case), checkpoint_entry(self._ledger, use_case)
            if noted and self._ledger.digest(use_case, noted.seq) != noted.digest:
                yield (
                    f"the ledger of {use_case} lacks decision {noted.seq} as the checkpoint knows "
                    f"it (kedro ratchet ledger --verify)"
                )
            elif newest and noted != newest:
                content = _Content(decisions={**entries, use_case: newest})
                write_text(self.path, content.model_dump_json(indent=2))


def checkpoint_entry(ledger: Ledger, use_case: str) -> CheckpointEntry | None:
    """What is noted of a ledger elsewhere; None before the first decision.

    Raises:
        DataError: its digests are not SHA-256.
    """
    newest, first = ledger.newest(use_case), ledger.digest(use_case, 1)
    if newest is None or first is None:
        return None
    try:
        return CheckpointEntry(first=first, seq=newest.seq, digest=newest.digest)
    except ValidationError as error:
        raise DataError(
            f"the decisions about {use_case} cannot be read: a digest was changed in the database "
            f"(kedro ratchet ledger --verify)"
        ) from error


def update_anchor(client: MlflowClient, use_case: str, ledger: Ledger) -> Iterator[str]:
    """Note the newest decision in a tag of the registered model.

    A decision there that the ledger does not contain is left alone: it is evidence.

    Yields:
        A line that says so.
    """
    model, newest = registered_model(client, use_case), ledger.newest(use_case)
    noted = None if model is None else model.tags.get(ANCHOR)
    if noted is not None:
        seq, digest = read_anchor(noted)
        if ledger.digest(use_case, seq) != digest:
            yield (
                f"the ledger of {use_case} lacks decision {seq} as the registry knows it "
                f"(kedro ratchet ledger --verify)"
            )
            return
    if model is not None and newest is not None:
        text = f"{newest.seq}:{newest.digest}"
        if text != noted:
            client.set_registered_model_tag(model_name(use_case), ANCHOR, text)


def anchors(client: MlflowClient) -> dict[str, tuple[int, str]]:
    """Use case -> number and digest of the newest decision that its registered model has."""
    return {
        use_case: read_anchor(model.tags[ANCHOR])
        for use_case, model in registered_models(client).items()
        if ANCHOR in model.tags
    }


def read_anchor(text: str) -> tuple[int, str]:
    """Number and digest; number 0, which no decision has, where the tag was not written here."""
    seq, _, digest = text.partition(":")
    return int(seq) if seq.isdecimal() else 0, digest
