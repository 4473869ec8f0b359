"""Versions of data and models in DVC: made when a model is registered, pushed when a run ends.

A hook and no node, because it needs the files of the datasets and not what is in them; and because
whatever happens to it, the decision which model serves is not held up.
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


class VersioningHooks:
    """Keeps what every registered version was made of, and what it is."""

    def __init__(self) -> None:
        self._loader: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember where the configuration and the project are."""
        self._loader, self._project = context.config_loader, Path(context.project_path)

    @hook_impl
    def after_node_run(self, node: Any, catalog: Any) -> None:
        """Keep the versions that a node has registered, before anything is decided about them."""
        if self._loader is not None:  # None in the processes of a parallel runner
            self._keep(node.outputs, catalog)

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Copy to the remote what it does not have yet, also of earlier runs."""
        written = [name for node in pipeline.nodes for name in node.outputs]
        if names := self._keep(written, catalog):
            self._push(sorted(names), catalog)

    def _keep(self, outputs: list[str], catalog: Any) -> set[str]:
        """Keep what was not kept so far; give the use cases that were looked at."""
        names = {name.rpartition(".")[0] for name in outputs if name.endswith(REGISTERED)}
        if not names or not (versions := self._versions()):
            return set()
        from ratchet.dvc.stored_versions import dataset_folders, store_versions

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
        from ratchet.dvc.stored_versions import push_versions

        versions = self._versions()
        if versions is None or not self._loader["versioning"]["push"]:
            return
        for name in names:
            try:
                if told := push_versions(versions, catalog.load("registry"), name):
                    LOGGER.info("%s: %s", name, told)
            except Exception as error:
                LOGGER.warning(
                    "%s: DVC could not push; the next release tries again, or "
                    "`kedro ratchet push --use-case %s` does: %s",
                    *(name, name, error),
                )

    def _versions(self) -> VersionStore | None:
        """Where versions are kept; None where that is turned off, or there is no DVC."""
        settings = self._loader["versioning"]
        if not settings["enabled"]:
            return None
        from ratchet.dvc.store import VersionStore

        versions = VersionStore(self._project / settings["folder"], self._project)
        return versions if versions.exist else None


def _files(datasets: Iterable[str], catalog: Any) -> dict[str, Path]:
    """Dataset -> its file on this machine, of those that have one."""
    found = {}
    for dataset in datasets:
        path = file_of(catalog.get(dataset))
        if path is not None and path.is_file():
            found[dataset] = path
    return found
