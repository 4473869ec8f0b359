"""Hook that puts versions into the DVC store when they are registered, and pushes them after a run.

It is not a node, because it needs the files of the datasets and not their content, and because its
failure must not delay the decision which model serves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from ratchet.kedro_private import file_of

if TYPE_CHECKING:
    from ratchet.dvc.store import VersionStore

LOGGER = logging.getLogger(__name__)
REGISTERED = (".challengers", ".refitted")
"""Outputs of the nodes that register versions."""


class DvcStoreHooks:
    """Stores data and model of every registered version in DVC."""

    def __init__(self) -> None:
        self._loader: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Keep the configuration and the path of the project."""
        self._loader, self._project = context.config_loader, Path(context.project_path)

    @hook_impl
    def after_node_run(self, node: Any, catalog: Any) -> None:
        """Store the versions that a node has registered, before anything is decided about them."""
        if self._loader is not None:  # None in the processes of a parallel runner
            self._store(node.outputs, catalog)

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Copy to the remote what it does not have yet, also of earlier runs."""
        outputs = [name for node in pipeline.nodes for name in node.outputs]
        if names := self._store(outputs, catalog):
            self._push(sorted(names), catalog)

    def _store(self, outputs: list[str], catalog: Any) -> set[str]:
        """Store what was not stored so far; the use cases that have versions among the outputs."""
        names = {name.rpartition(".")[0] for name in outputs if name.endswith(REGISTERED)}
        if not names or not (versions := self._versions()):
            return set()
        from ratchet.dvc.store import dataset_folders, store_versions

        for name in sorted(names):
            try:
                targets = list(self._loader["parameters"][name]["targets"])
                files = _files(dataset_folders(name, targets), catalog)
                store_versions(versions, catalog.load("registry"), name, targets, files)
            except Exception as error:  # whatever DVC, its file systems and the registry raise
                LOGGER.warning(
                    "%s: data and model are not kept in DVC, the next run tries again: %s",
                    *(name, error),
                )
        return names

    def _push(self, names: list[str], catalog: Any) -> None:
        from ratchet.dvc.store import push_versions

        versions = self._versions()
        if versions is None or not self._loader["versioning"]["push"]:
            return
        for name in names:
            try:
                if summary := push_versions(versions, catalog.load("registry"), name):
                    LOGGER.info("%s: %s", name, summary)
            except Exception as error:
                LOGGER.warning(
                    "%s: DVC could not push; the next release tries again, or "
                    "`kedro ratchet push --use-case %s` does: %s",
                    *(name, name, error),
                )

    def _versions(self) -> VersionStore | None:
        """The DVC store; None where versioning is turned off, or there is no DVC repository."""
        settings = self._loader["versioning"]
        if not settings["enabled"]:
            return None
        from ratchet.dvc.store import VersionStore

        versions = VersionStore(self._project / settings["folder"], self._project)
        return versions if versions.exists else None


def _files(datasets: Iterable[str], catalog: Any) -> dict[str, Path]:
    """Dataset -> its file on this machine, of those that have one."""
    files = {}
    for dataset in datasets:
        path = file_of(catalog.get(dataset))
        if path is not None and path.is_file():
            files[dataset] = path
    return files
