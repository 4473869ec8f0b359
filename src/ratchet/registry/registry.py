"""The registry: model versions in MLflow, their bundles on disk, aliases that follow the ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.bundle.garbage_collection import collect_garbage, mark_registered, remove_bundle
from ratchet.bundle.manifest import BundleError, bundle_digest
from ratchet.database import connect, database_url, mlflow_client
from ratchet.errors import UserError
from ratchet.locks import LockedError, locked
from ratchet.registry.ledger import WHOLE_LEDGER, Ledger, State
from ratchet.registry.ledger_checkpoint import Checkpoint, anchors, update_anchor
from ratchet.registry.model_versions import (
    DIGEST_TAG,
    Version,
    create_version,
    model_name,
    registered_model,
    versions_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from ratchet.bundle.reader import Bundle

LOGGER = logging.getLogger(__name__)

ALIASES = ("champion", "previous", "challenger")

__all__ = ["Registry", "RegistryError", "Version"]


class RegistryError(UserError):
    """A version or its bundle does not exist, or cannot serve."""


class Registry:
    """Versions of all use cases, where their bundles are, and which of them serve.

    Args:
        uri: where MLflow tracks.
        bundles: folder of ``<use_case>/<bundle>/``.
        database_url: database of the ledger; by default that of MLflow.
        project: folder that the relative path of an SQLite file belongs to; by default the
            current one.
    """

    def __init__(
        self,
        uri: str,
        bundles: Path,
        database_url: str | None = None,
        *,
        project: Path | None = None,
    ) -> None:
        self.uri = uri
        self.bundles = Path(bundles)
        self._database_url = database_url
        self._project = project or Path.cwd()

    @cached_property
    def ledger(self) -> Ledger:
        """The decisions."""
        return Ledger(connect(database_url(self.uri, self._project, self._database_url)))

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow; the first call to a new database takes seconds, in which it makes its tables."""
        return mlflow_client(self.uri)

    def champion(self, use_case: str) -> str | None:
        """The version that serves."""
        return self.ledger.state(use_case).champion

    def previous(self, use_case: str) -> str | None:
        """The rollback target."""
        return self.ledger.state(use_case).previous

    def challenger(self, use_case: str) -> str | None:
        """The newest version, as long as it waits for a decision or was held back."""
        return challenger_of(self.ledger.state(use_case), self.versions(use_case))

    def versions(self, use_case: str) -> list[Version]:
        """All versions that the registry has, oldest first."""
        return versions_of(self.client, use_case, self.bundles)

    def version(self, use_case: str, number: str) -> Version:
        """One version.

        Raises:
            RegistryError: it is not there; says which are.
        """
        versions = {version.number: version for version in self.versions(use_case)}
        if number not in versions:
            raise RegistryError(_unknown(use_case, number, list(versions)))
        return versions[number]

    def open_bundle(self, use_case: str, version: str | None) -> Bundle:
        """Open the bundle that was judged, after a smoke test.

        Raises:
            RegistryError: it is missing, or is not what was judged.
            BundleError: it is damaged, or gives other answers than it must.
        """
        from ratchet.bundle.smoke_test import run_smoke_test  # loads scikit-learn

        bundle = run_smoke_test(self.folder(use_case, version))
        # Of what is open now: the folder may have been exchanged since its digest was compared.
        self.check_digest(use_case, str(version), bundle.digest)
        return bundle

    def folder(self, use_case: str, version: str | None) -> Path:
        """The bundle of a version, after making sure that it is the one that was judged.

        Args:
            use_case: name of the use case.
            version: its number; ``None``, where nothing serves, is an error.

        Raises:
            RegistryError: the version or its folder is not there; says which are. Or the manifest
                has another digest than the ledger recorded, so that files may have been replaced.
        """
        if version is None:
            raise RegistryError(f"{use_case}: no version is named: does any serve yet?")
        registered = self.version(use_case, version)
        folder = registered.folder
        if registered.fault:
            raise RegistryError(f"version {version} of {use_case}: {registered.fault}")
        if not folder.is_dir() or folder.is_symlink():
            what = "a link, and no folder" if folder.is_symlink() else "missing"
            raise RegistryError(f"version {version} of {use_case}: its bundle {folder} is {what}")
        try:
            digest = bundle_digest(folder)
        except BundleError as error:
            raise RegistryError(f"version {version} of {use_case}: {error}") from error
        self._check_digest(use_case, registered, digest)
        return folder

    def has_bundle(self, use_case: str, version: str) -> bool:
        """Whether the bundle of a version exists and is the one that was judged."""
        try:
            self.folder(use_case, version)
        except UserError:
            return False
        return True

    def check_digest(self, use_case: str, version: str, digest: str) -> None:
        """Compare with what was recorded at the first decision, or else at the registration.

        Versions from before digests were recorded have neither.

        Raises:
            RegistryError: the digests differ.
        """
        self._check_digest(use_case, self.version(use_case, version), digest)

    def _check_digest(self, use_case: str, version: Version, digest: str) -> None:
        recorded = self.ledger.first_detail(use_case, version.number, DIGEST_TAG)
        by = "the ledger recorded" if recorded else "the registry recorded"
        recorded = recorded or version.tags.get(DIGEST_TAG)
        if recorded is not None and digest != recorded:
            raise RegistryError(
                f"version {version.number} of {use_case} is not what was judged: the digest of "
                f"bundle {version.folder} is {digest[:12]}..., {by} {str(recorded)[:12]}...; bring "
                f"the bundle back from a copy (kedro ratchet checkout)"
            )

    def register(
        self,
        use_case: str,
        bundle_folder: Path,
        tags: Mapping[str, Any],
        run_id: str | None = None,
    ) -> str:
        """Register a bundle as a version; the same bundle always is the same version.

        Args:
            use_case: name of the use case.
            bundle_folder: a folder in ``<bundles>/<use_case>/``.
            tags: tags of the version.
            run_id: MLflow run that made it.

        Returns:
            Number of the version, which is the challenger now.

        Raises:
            RegistryError: the folder is missing or in another place.
        """
        folder = Path(bundle_folder)
        if not folder.is_dir() or folder.parent.resolve() != (self.bundles / use_case).resolve():
            raise RegistryError(f"{folder}: expected a bundle in {self.bundles / use_case}")
        with self.locked(use_case, exclusive=True):
            registered = {version.bundle: version.number for version in self.versions(use_case)}
            number = registered.get(folder.name)
            if number is None:
                noted = {DIGEST_TAG: bundle_digest(folder), **tags}
                number = self._create(use_case, folder, noted, run_id)
            mark_registered(folder)
        self.repair(use_case)
        return number

    def _create(
        self, use_case: str, folder: Path, tags: Mapping[str, Any], run_id: str | None
    ) -> str:
        """Make a version whose number no decision is about.

        A model that was deleted in MLflow counts from 1 again: digests and quarantine of earlier
        versions in the ledger must not apply to new ones.
        """
        decided, skipped = {entry.version for entry in self.ledger.entries(use_case)}, list[str]()
        while (number := create_version(self.client, use_case, folder, tags, run_id)) in decided:
            self.client.delete_model_version(model_name(use_case), number)
            skipped.append(number)
        if skipped:
            LOGGER.warning(
                "%s: the model was created again in MLflow; the numbers %s are those of earlier "
                "versions in the ledger and are left out (docs/how-to/promote-and-roll-back.md)",
                *(use_case, f"{skipped[0]} to {skipped[-1]}"),
            )
        return number

    def set_tags(self, use_case: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version, in place of those with the same names."""
        for name, value in tags.items():
            self.client.set_model_version_tag(model_name(use_case), version, name, value)

    def repair(self, use_case: str) -> list[str]:
        """Let the aliases follow the ledger; doing it twice changes nothing.

        Returns:
            One line for each alias that was moved, and for each fault that cannot be repaired.
        """
        lines = [*self.checkpoint.update(use_case)]
        if registered_model(self.client, use_case) is None:
            return lines
        return [*lines, *self._follow_ledger(use_case)]

    def _follow_ledger(self, use_case: str) -> list[str]:
        """Move the aliases and the anchor until the ledger did not change meanwhile.

        Another process may decide, remove versions or move the same alias at the same time; MLflow
        then refuses, and everything is read again.

        Raises:
            MlflowException: MLflow refuses although nothing has changed.
        """
        from mlflow.exceptions import MlflowException

        moved: list[str] = []
        before = None
        while True:
            state, versions = self.ledger.state(use_case), self.versions(use_case)
            model = registered_model(self.client, use_case)
            numbers = [version.number for version in versions]
            present = (state.seq, numbers, model and ({**model.aliases}, {**model.tags}))
            try:
                moved += move_aliases(self.client, use_case, state, versions)
                anchored = [*update_anchor(self.client, use_case, self.ledger)]
            except MlflowException:
                if present == before:
                    raise
                before = present
                continue
            if self.ledger.state(use_case).seq == state.seq:
                return [*moved, *anchored]

    def verify(self) -> list[str]:
        """What is wrong with the ledger, its end included; empty when it is whole.

        Its end is compared with the registered models, and with the checkpoint beside the bundles.
        """
        faults = self.ledger.verify(self._anchors())
        try:
            entries = self.checkpoint.read()
        except UserError as error:
            return [*faults, f"{WHOLE_LEDGER}: {error}"]
        noted = {name: (entry.seq, entry.digest) for name, entry in entries.items()}
        more = [line for line in self.ledger.verify(noted) if line not in faults]
        return [
            *faults,
            *(line.replace("the registry knows", "the checkpoint knows") for line in more),
        ]

    def _anchors(self) -> dict[str, tuple[int, str]]:
        from mlflow.exceptions import MlflowException

        try:
            return anchors(self.client)
        except MlflowException as error:  # of a database that was emptied or damaged
            LOGGER.warning("MLflow's registry cannot be read: %s", str(error).splitlines()[0])
            return {}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """What is noted of the decisions outside of their database."""
        return Checkpoint(self.bundles, self.ledger)

    def withdraw(self, use_case: str, orchestrator_run: str) -> list[str]:
        """Remove what an earlier try of a DAG run has registered and nothing was decided about.

        Args:
            use_case: name of the use case.
            orchestrator_run: the DAG run, as its versions are tagged.

        Returns:
            Numbers of the versions removed.
        """
        with self.locked(use_case, exclusive=True):
            decided = {entry.version for entry in self.ledger.entries(use_case)}
            undecided = [
                version
                for version in self.versions(use_case)
                if version.tags.get("orchestrator_run") == orchestrator_run
                and version.number not in decided
            ]
            return self._delete(use_case, undecided)

    def prune(self, use_case: str, keep: int) -> list[str]:
        """Remove old versions with their bundles; the ledger keeps what it says about them.

        What killed processes have left is removed, too, see ``garbage_collection``. Where another
        process holds the bundles, the next release tidies up.

        Args:
            use_case: name of the use case.
            keep: how many of the newest stay beside champion, rollback target and challenger.

        Returns:
            Numbers of the versions removed.
        """
        try:
            return self._prune(use_case, keep)
        except LockedError as error:
            LOGGER.warning("Old versions are kept for now. %s", error)
            return []

    def _prune(self, use_case: str, keep: int) -> list[str]:
        with self.locked(use_case, exclusive=True):
            state, versions = self.ledger.state(use_case), self.versions(use_case)
            needed = {state.champion, state.previous, challenger_of(state, versions), state.held}
            others = [version for version in versions if version.number not in needed]
            removed = self._delete(use_case, others[: max(len(others) - keep, 0)])
            collect_garbage(self.bundles / use_case, {version.bundle for version in versions})
        return removed

    def _delete(self, use_case: str, versions: Sequence[Version]) -> list[str]:
        """Remove versions with their bundles; their numbers."""
        for version in versions:
            remove_bundle(version.folder)
            self.client.delete_model_version(model_name(use_case), version.number)
        return [version.number for version in versions]

    @contextmanager
    def locked(self, use_case: str, *, exclusive: bool = False) -> Iterator[None]:
        """Hold the lock on the bundles of a use case: none is removed while a decision is taken.

        Args:
            use_case: name of the use case.
            exclusive: whether no other process may hold it, as adding and removing versions needs.

        Raises:
            LockedError: another process holds it, and does not end.
        """
        folder = self.bundles / use_case
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", f"the bundles of {use_case}", shared=not exclusive):
            yield


def _unknown(use_case: str, version: str, numbers: list[str]) -> str:
    """Say which versions there are instead."""
    if not numbers:
        return f"version {version} of {use_case}: nothing is registered yet; `kedro run` does it"
    is_removed = version.isdecimal() and 0 < int(version) < max(map(int, numbers))
    what = "it was removed from the registry" if is_removed else "there is no such version"
    return f"version {version} of {use_case}: {what}; there are {', '.join(numbers)}"


def challenger_of(state: State, versions: Sequence[Version]) -> str | None:
    """The newest version, unless it served, was rejected, or is in quarantine."""
    newest = versions[-1].number if versions else None
    decided = {*state.served, *state.quarantined, *state.rejected}
    return None if newest in decided else newest


def move_aliases(
    client: MlflowClient, use_case: str, state: State, versions: Sequence[Version]
) -> Iterator[str]:
    """Move the aliases to where a state of the ledger wants them, the champion's first.

    MLflow replaces an alias in one step: there is always exactly one.

    Yields:
        One line for each alias that moved or cannot.
    """
    name, model = model_name(use_case), registered_model(client, use_case)
    now = {} if model is None else {alias: str(at) for alias, at in model.aliases.items()}
    present = {version.number for version in versions}
    targets = (state.champion, state.previous, challenger_of(state, versions))
    for alias, version in zip(ALIASES, targets, strict=True):
        if version is not None and version not in present:
            yield f"{alias} of {use_case}: version {version} is not in the registry any more"
        elif version is not None and now.get(alias) != version:
            client.set_registered_model_alias(name, alias, version)
            yield f"{alias} of {use_case}: version {now.get(alias, 'none')} -> {version}"
        elif version is None and alias in now:
            client.delete_registered_model_alias(name, alias)
            yield f"{alias} of {use_case}: version {now[alias]} -> none"
