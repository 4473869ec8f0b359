"""What this project uses of Kedro and kedro-datasets that has no public name.

Read in the versions of ``READ_IN``. ``tests/test_kedro_private.py`` names each attribute and fails
where one is gone. No other module may use one, but for two whose classes extend one of Kedro's:
``config.kedro_loader`` and ``hooks.workflow``.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.framework.project import settings
from kedro.io import AbstractVersionedDataset
from kedro.runner import SequentialRunner

READ_IN = {"kedro": "1.7.0", "kedro-datasets": "9.6.0", "kedro-viz": "12.5.0"}
"""Package -> the version whose code was read."""

_LOCAL = ("file", "local")


def make_catalog(context: Any, save_version: str | None = None) -> Any:
    """The catalog of a session as ``KedroSession.run`` makes it: of the class in ``settings.py``.

    Args:
        context: the ``KedroContext`` of the session; its property ``catalog`` has another class.
        save_version: what versions of datasets are called.
    """
    return context._get_catalog(settings.DATA_CATALOG_CLASS, save_version=save_version)


def hook_manager_of(session: Any) -> Any:
    """The hooks of a session, as runners take them."""
    return session._hook_manager


def forget_entry(catalog: Any, name: str) -> None:
    """Drop an entry that was not made yet: Kedro would warn that it is replaced."""
    catalog._lazy_datasets.pop(name, None)


def exchange(catalog: Any, name: str, dataset: Any) -> None:
    """Put another dataset in the place of an entry, whose configuration stays."""
    catalog._datasets[name] = dataset


def file_of(dataset: Any) -> Path | None:
    """File or folder of a dataset; None where it has none."""
    path = getattr(dataset, "_filepath", None)
    return None if path is None else Path(path)


def is_local_file(dataset: Any) -> bool:
    """Whether a dataset is a file or folder of this machine, as kedro-datasets has them."""
    return (
        isinstance(dataset, AbstractVersionedDataset)
        and getattr(dataset, "_protocol", "file") in _LOCAL
    )


def save_path(dataset: Any) -> Path:
    """Where a dataset with versions is saved next."""
    return Path(dataset._get_save_path())


def at_path(dataset: Any, path: Path) -> Any:
    """The same dataset at another path, without versions."""
    moved = copy(dataset)
    moved._filepath, moved._version = PurePosixPath(path), None
    return moved


def keeps_content(dataset: Any, path: Path) -> bool:
    """Whether saving keeps the present content: of a folder, or a file opened to append."""
    if not path.exists():
        return False
    if path.is_dir():
        return not getattr(dataset, "_overwrite", False)
    arguments = ("_fs_open_args_save", "_writer_args")
    modes = [str((getattr(dataset, name, None) or {}).get("mode", "")) for name in arguments]
    return any("a" in mode or "+" in mode for mode in modes)


class PartRunner(SequentialRunner):
    """Runs a part of a pipeline, without Kedro's advice on how to resume that part alone."""

    def _suggest_resume_scenario(self, *_: Any) -> None:
        """Say nothing: the nodes where this part goes on would leave out all other ones."""
