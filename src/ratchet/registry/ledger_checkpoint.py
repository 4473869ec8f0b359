"""What is known of the ledger outside of its database.

Whoever empties the database, MLflow's tables included, takes with it what could tell. So number and
digest of the newest decision about every use case are also in a file beside the bundles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from ratchet.errors import DataError, hide_secrets
from ratchet.learning.files import atomic_write
from ratchet.locks import locked
from ratchet.registry.ledger import Ledger

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Known(BaseModel, strict=True, frozen=True):
    """A decision that was written, and the first one, by which a ledger is told from others."""

    first: Digest
    seq: Annotated[int, Field(ge=1)]
    digest: Digest


class _Content(BaseModel, strict=True):
    decisions: dict[str, Known]


class Checkpoint:
    """The file of one database.

    Args:
        folder: where the bundles are.
        ledger: the decisions.
    """

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        url = ledger.engine.url
        inside = url.database if url.get_backend_name() == "sqlite" else None
        # By its place among the files of the project, which may move.
        place = os.path.relpath(inside, folder) if inside else hide_secrets(str(url))
        self.path = folder / f"ledger-{sha256(place.encode()).hexdigest()[:12]}.json"
        self._ledger = ledger
        self._lasts = url.get_backend_name() != "sqlite" or inside not in (None, "", ":memory:")

    def read(self) -> Mapping[str, Known]:
        """Use case -> what is known of the decisions about it.

        Raises:
            DataError: the file is none of ours.
        """
        try:
            content = _Content.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            told = str(error).splitlines()[0]
            raise DataError(f"the checkpoint {self.path} cannot be read: {told}") from error
        return content.decisions

    def update(self, use_case: str) -> Iterator[str]:
        """Note the newest decision about a use case.

        What the file knows is left alone where the ledger does not contain it: it is evidence.

        Yields:
            A line that says so.
        """
        if not self._lasts or self._ledger.newest(use_case) is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_name(f".{self.path.name}.lock"), "the checkpoint of the ledger"):
            try:
                known = dict(self.read())
            except DataError as error:
                yield str(error)
                return
            noted, newest = known.get(use_case), known_of(self._ledger, use_case)
            if noted and self._ledger.digest(use_case, noted.seq) != noted.digest:
                yield (
                    f"the ledger of {use_case} lacks decision {noted.seq} as the checkpoint knows "
                    f"it (kedro ratchet ledger --verify)"
                )
            elif newest and noted != newest:
                content = _Content(decisions={**known, use_case: newest})
                with atomic_write(self.path) as partial:
                    partial.write_text(content.model_dump_json(indent=2), encoding="utf-8")


def known_of(ledger: Ledger, use_case: str) -> Known | None:
    """What is to be known of a ledger elsewhere; None before the first decision.

    Raises:
        DataError: the digests in it are none.
    """
    newest, first = ledger.newest(use_case), ledger.digest(use_case, 1)
    if newest is None or first is None:
        return None
    try:
        return Known(first=first, seq=newest.seq, digest=newest.digest)
    except ValidationError as error:
        raise DataError(
            f"the decisions about {use_case} cannot be read: a digest was changed in the database "
            f"(kedro ratchet ledger --verify)"
        ) from error
