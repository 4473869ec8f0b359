"""The registry's aliases, which follow the ledger, and its memory of how far the ledger went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ratchet.registry.ledger import Ledger, State
from ratchet.registry.model_versions import Version, model_name, model_of, models

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIASES = ("champion", "previous", "challenger")
ANCHOR = "ledger"
"""Tag of a registered model: number and digest of the newest decision known of it."""


def challenger_of(state: State, versions: Sequence[Version]) -> str | None:
    """The newest version, unless it served, was rejected, or is in quarantine."""
    newest = versions[-1].number if versions else None
    known = {*state.served, *state.quarantined, *state.rejected}
    return None if newest in known else newest


def follow(
    client: MlflowClient, use_case: str, state: State, versions: Sequence[Version]
) -> Iterator[str]:
    """Move the aliases to where a state of the ledger wants them, the champion's first.

    MLflow replaces an alias in one step: there is never none in between, and never two.

    Yields:
        One line for each alias that moved or cannot.
    """
    name, model = model_name(use_case), model_of(client, use_case)
    now = {} if model is None else {alias: str(at) for alias, at in model.aliases.items()}
    there = {version.number for version in versions}
    wanted = (state.champion, state.previous, challenger_of(state, versions))
    for alias, version in zip(ALIASES, wanted, strict=True):
        if version is not None and version not in there:
            yield f"{alias} of {use_case}: version {version} is not in the registry any more"
        elif version is not None and now.get(alias) != version:
            client.set_registered_model_alias(name, alias, version)
            yield f"{alias} of {use_case}: version {now.get(alias, 'none')} -> {version}"
        elif version is None and alias in now:
            client.delete_registered_model_alias(name, alias)
            yield f"{alias} of {use_case}: version {now[alias]} -> none"


def drop_anchor(client: MlflowClient, use_case: str, ledger: Ledger) -> Iterator[str]:
    """Note the newest decision in the registry.

    What the registry knows is left alone where the ledger does not contain it: it is evidence.

    Yields:
        A line that says so.
    """
    model, newest = model_of(client, use_case), ledger.newest(use_case)
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
    """Use case -> number and digest of the newest decision that the registry knows of."""
    return {
        use_case: read_anchor(model.tags[ANCHOR])
        for use_case, model in models(client).items()
        if ANCHOR in model.tags
    }


def read_anchor(text: str) -> tuple[int, str]:
    """Number and digest; number 0, which no decision has, where the text is none of ours."""
    seq, _, digest = text.partition(":")
    return int(seq) if seq.isdecimal() else 0, digest
