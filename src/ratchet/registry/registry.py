"""The registry of model versions: MLflow's, with our bundles behind it and the ledger above it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.bundle.garbage_collection import clear, mark, remove
from ratchet.bundle.manifest import BundleError, bundle_digest
from ratchet.database import connect, database_url, mlflow_client
from ratchet.errors import UserError
from ratchet.locks import LockedError, locked
from ratchet.registry.aliases import anchors, challenger_of, drop_anchor, follow
from ratchet.registry.ledger import GUARDS, Ledger
from ratchet.registry.ledger_checkpoint import Checkpoint
from ratchet.registry.model_versions import (
    DIGEST,
    Version,
    create_version,
    model_name,
    model_of,
    versions_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOGGER = logging.getLogger(__name__)

__all__ = ["Registry", "RegistryError", "Version"]


class RegistryError(UserError):
    """A version or its bundle is not there, or cannot serve."""


class Registry:
    """Versions of all use cases, where their bundles are, and which of them serve.

    Args:
        uri: where MLflow tracks.
        bundles: folder of ``<use_case>/<bundle>/``.
        database_url: database of the ledger; by default the one that belongs to ``uri``.
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
        return Ledger(connect(self._database_url or database_url(self.uri, self._project)))

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow; the first call to a new database takes seconds, in which it makes its tables."""
        return mlflow_client(self.uri)

    def champion(self, use_case: str) -> str | None:
        """The version that serves."""
        return self.ledger.state(use_case).champion

    def previous(self, use_case: str) -> str | None:
        """The way back."""
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
        known = {found.number: found for found in self.versions(use_case)}
        if number not in known:
            raise RegistryError(_unknown(use_case, number, list(known)))
        return known[number]

    def folder(self, use_case: str, version: str | None) -> Path:
        """The bundle of a version, after making sure that it is the one that was judged.

        Args:
            use_case: of which.
            version: its number; ``None``, as of a champion that there is not, is an error.

        Raises:
            RegistryError: the version or its folder is not there; says which are. Or the manifest
                has another digest than the ledger recorded, so that files may have been replaced.
        """
        if version is None:
            raise RegistryError(f"{use_case}: no version is named: does any serve yet?")
        known = self.version(use_case, version)
        if known.fault:
            raise RegistryError(f"version {version} of {use_case}: {known.fault}")
        if not known.folder.is_dir() or known.folder.is_symlink():
            what = "a link, and no folder" if known.folder.is_symlink() else "missing"
            raise RegistryError(
                f"version {version} of {use_case}: its bundle {known.folder} is {what}"
            )
        try:
            digest = bundle_digest(known.folder)
        except BundleError as error:
            raise RegistryError(f"version {version} of {use_case}: {error}") from error
        self._compare_digest(use_case, known, digest)
        return known.folder

    def holds(self, use_case: str, version: str) -> bool:
        """Whether the bundle of a version is there and is the one that was judged."""
        try:
            self.folder(use_case, version)
        except UserError:
            return False
        return True

    def compare_digest(self, use_case: str, version: str, digest: str) -> None:
        """Compare with what was recorded at the first decision, or else at the registration.

        Versions from before digests were recorded have neither.

        Raises:
            RegistryError: it is another one.
        """
        self._compare_digest(use_case, self.version(use_case, version), digest)

    def _compare_digest(self, use_case: str, version: Version, digest: str) -> None:
        recorded = self.ledger.noted(use_case, version.number, DIGEST)
        by = "the ledger recorded" if recorded else "the registry recorded"
        recorded = recorded or version.tags.get(DIGEST)
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
        """Make a bundle known as a version; the same bundle always is the same version.

        Args:
            use_case: of which.
            bundle_folder: a folder in ``<bundles>/<use_case>/``.
            tags: what to note about it.
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
            same = [known for known in self.versions(use_case) if known.bundle == folder.name]
            number = (
                same[0].number
                if same
                else self._create(use_case, folder, {DIGEST: bundle_digest(folder), **tags}, run_id)
            )
            mark(folder)
        self.repair(use_case)
        return number

    def _create(
        self, use_case: str, folder: Path, tags: Mapping[str, Any], run_id: str | None
    ) -> str:
        """Make a version whose number no decision is about.

        A model that somebody has deleted in MLflow counts from 1 again: what the ledger says of the
        earlier versions, their digests and quarantine, must not be taken for theirs.
        """
        decided, passed = {entry.version for entry in self.ledger.entries(use_case)}, list[str]()
        while (number := create_version(self.client, use_case, folder, tags, run_id)) in decided:
            self.client.delete_model_version(model_name(use_case), number)
            passed.append(number)
        if passed:
            LOGGER.warning(
                "%s: the model was made anew in MLflow; the numbers %s are those of earlier "
                "versions in the ledger and are left out (docs/how-to/promote-and-roll-back.md)",
                *(use_case, f"{passed[0]} to {passed[-1]}"),
            )
        return number

    def note(self, use_case: str, version: str, tags: Mapping[str, str]) -> None:
        """Note something about a version, in place of what was noted under the same names."""
        for name, value in tags.items():
            self.client.set_model_version_tag(model_name(use_case), version, name, value)

    def repair(self, use_case: str) -> list[str]:
        """Let the aliases follow the ledger; doing it twice changes nothing.

        Returns:
            One line for each alias that was moved, and for each thing that cannot be mended.
        """
        told = [*self.checkpoint.update(use_case)]
        if model_of(self.client, use_case) is None:
            return told
        return [*told, *self._follow_ledger(use_case)]

    def _follow_ledger(self, use_case: str) -> list[str]:
        """Move the aliases and the anchor to where a ledger wants them that does not change.

        Another process may decide, remove versions or move the same alias at the same time; MLflow
        then refuses, and what there is now is read again.

        Raises:
            MlflowException: MLflow refuses although nothing has changed.
        """
        from mlflow.exceptions import MlflowException

        moved: list[str] = []
        before = None
        while True:
            state, versions = self.ledger.state(use_case), self.versions(use_case)
            model = model_of(self.client, use_case)
            numbers = [version.number for version in versions]
            present = (state.seq, numbers, model and ({**model.aliases}, {**model.tags}))
            try:
                moved += follow(self.client, use_case, state, versions)
                anchored = [*drop_anchor(self.client, use_case, self.ledger)]
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
        found = self.ledger.verify(self._anchors())
        try:
            known = self.checkpoint.read()
        except UserError as error:
            return [*found, f"{GUARDS}: {error}"]
        noted = {name: (each.seq, each.digest) for name, each in known.items()}
        more = [line for line in self.ledger.verify(noted) if line not in found]
        return [
            *found,
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
        """What is known of the decisions outside of their database."""
        return Checkpoint(self.bundles, self.ledger)

    def withdraw(self, use_case: str, orchestrator_run: str) -> list[str]:
        """Remove what an earlier try of a DAG run has registered and nothing was decided about.

        Args:
            use_case: of which.
            orchestrator_run: the DAG run, as its versions are tagged.

        Returns:
            Numbers of the versions removed.
        """
        with self.locked(use_case, exclusive=True):
            decided = {entry.version for entry in self.ledger.entries(use_case)}
            gone = [
                version
                for version in self.versions(use_case)
                if version.tags.get("orchestrator_run") == orchestrator_run
                and version.number not in decided
            ]
            for version in gone:
                remove(version.folder)
                self.client.delete_model_version(model_name(use_case), version.number)
        return [version.number for version in gone]

    def prune(self, use_case: str, keep: int) -> list[str]:
        """Remove old versions with their bundles; the ledger keeps what it says about them.

        What killed processes have left goes, too, see ``leftovers.clear``. Where another process
        decides all the time, the next release tidies up.

        Args:
            use_case: of which.
            keep: how many of the newest stay beside the champion, the way back and the challenger.

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
            gone = others[: max(len(others) - keep, 0)]
            for version in gone:
                remove(version.folder)
                self.client.delete_model_version(model_name(use_case), version.number)
            clear(self.bundles / use_case, {version.bundle for version in versions})
        return [version.number for version in gone]

    @contextmanager
    def locked(self, use_case: str, *, exclusive: bool = False) -> Iterator[None]:
        """Let no bundle be removed while a decision about it is taken.

        Args:
            use_case: whose bundles.
            exclusive: whether nobody else may hold it: who adds or removes versions.

        Raises:
            LockedError: another process holds it, and does not end.
        """
        folder = self.bundles / use_case
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", f"the bundles of {use_case}", shared=not exclusive):
            yield


def _unknown(use_case: str, version: str, known: list[str]) -> str:
    """Say which versions there are instead."""
    if not known:
        return f"version {version} of {use_case}: nothing is registered yet; `kedro run` does it"
    gone = version.isdecimal() and 0 < int(version) < max(map(int, known))
    what = "it was removed from the registry" if gone else "there is no such version"
    return f"version {version} of {use_case}: {what}; there are {', '.join(known)}"
