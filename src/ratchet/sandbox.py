"""Runs of the project that write into a folder of their own and leave no trace outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kedro.config import AbstractConfigLoader
from kedro.framework.project import settings

from ratchet.errors import ConfigError, UserError
from ratchet.learning.processes import PARENT

_SHOWN_LINES = 20


@dataclass(frozen=True)
class Sandbox:
    """A copy of the configuration whose paths lead into one folder.

    Attributes:
        project: the project folder, whose code and raw data are used.
        folder: where everything is written.
        env: environment of the configuration.
    """

    project: Path
    folder: Path
    env: str

    @property
    def conf(self) -> Path:
        """The copy of the configuration."""
        return self.folder / "conf"

    @property
    def database_url(self) -> str:
        """A database of its own, with neither runs nor decisions."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def path(self, name: str) -> Path:
        """Where a root of ``globals.yml``, such as ``model_output``, has been moved."""
        return self.folder / "data" / name

    def command(self, use_case: str, pipelines: str, params: str) -> list[str]:
        """The run, as Kedro's command line takes it."""
        options = {
            "--env": self.env,
            "--conf-source": str(self.conf),
            "--pipelines": pipelines,
            "--namespaces": use_case,
            "--params": params,
        }
        arguments = [part for option, value in options.items() if value for part in (option, value)]
        return [sys.executable, "-m", "kedro", "run", *arguments]


def copy_configuration(sandbox: Sandbox, loader: AbstractConfigLoader) -> AbstractConfigLoader:
    """Copy the configuration; every path of it but those of raw data leads into the folder.

    Tracking is off and no webhook hears of the runs.

    Args:
        sandbox: where the copy is made.
        loader: loader of the configuration of the project, in the same environment.

    Returns:
        Loader of the copy.
    """
    conf = sandbox.project / settings.CONF_SOURCE
    # conf/dvc links to a file outside of conf, which a deployment need not have.
    shutil.copytree(conf, sandbox.conf, ignore_dangling_symlinks=True)
    own = sandbox.conf / sandbox.env
    own.mkdir(exist_ok=True)
    raw_paths = _paths_of_raw_data(loader)
    moved = {
        name: str(sandbox.path(name))
        for name in loader["globals"]["paths"]
        if name not in raw_paths
    }
    _put(own, "globals", {"paths": moved})
    _put(own, "mlflow", {"enabled": False})
    for path in sandbox.conf.rglob("credentials*.yml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        content.pop("webhook", None)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(sandbox.conf), env=sandbox.env, **settings.CONFIG_LOADER_ARGS
    )


def check_nothing_escapes(catalog: Mapping[str, Any], sandbox: Sandbox) -> None:
    """Make sure that every file but the raw ones is in the folder.

    Args:
        catalog: the copied catalog.
        sandbox: where everything is to be written.

    Raises:
        ConfigError: an entry has a path of its own; names it.
    """
    for name, path in _files(catalog, raw=False):
        if not (sandbox.project / path).is_relative_to(sandbox.folder):
            raise ConfigError(
                f"catalog entry {name} writes to {path}, which cannot be moved into a folder of "
                f"its own: start it with one of the ${{globals:paths...}}"
            )


def use_own_database(sandbox: Sandbox, loader: AbstractConfigLoader) -> None:
    """Let runs of the copied configuration record in the folder, in every environment.

    Args:
        sandbox: where the copy is.
        loader: loader of the copy.

    Raises:
        ConfigError: an entry of the catalog has a database of its own; names it.
    """
    shared = loader["globals"]
    for name, entry in loader["catalog"].items():
        for key in ("tracking_uri", "database_url"):
            if entry.get(key) not in (None, shared.get(key)):
                raise ConfigError(
                    f"catalog entry {name} has a {key} of its own, which cannot be replaced by one "
                    f"in another folder: write ${{globals:{key}}}"
                )
    database = sandbox.database_url
    own = sandbox.conf / sandbox.env
    _put(own, "globals", {"tracking_uri": database, "database_url": database})


def raw_file(catalog: Mapping[str, Any], use_case: str, project: Path) -> Path | None:
    """The raw file of a use case, if it is one file of this machine."""
    path = project / dict(_files(catalog, raw=True)).get(f"{use_case}.raw", "")
    return path if path.is_file() else None


def run(sandbox: Sandbox, command: list[str], *, hash_seed: int) -> float:
    """Run a command of Kedro in a process of its own.

    Args:
        sandbox: where it writes.
        command: see ``Sandbox.command``.
        hash_seed: Python's seed for the order of sets. Two runs with the same one would hide that
            a result depends on it.

    Returns:
        Seconds.

    Raises:
        UserError: it failed; with the last lines of what it said.
    """
    database = sandbox.database_url
    own = {
        "PYTHONHASHSEED": str(hash_seed),
        "MLFLOW_TRACKING_URI": database,
        "RATCHET_DATABASE_URL": database,
        "RATCHET_WEBHOOK_URL": "",
        "KEDRO_DISABLE_TELEMETRY": "1",
        PARENT: str(os.getpid()),
    }
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=sandbox.project,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    (sandbox.folder / "log.txt").write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_SHOWN_LINES:])
        raise UserError(f"the run failed: {' '.join(command[3:])}\n{last}")
    return time.monotonic() - start


def _paths_of_raw_data(loader: AbstractConfigLoader) -> set[str]:
    """Names of the roots that only raw files lie under: they stay where they are."""
    catalog = loader["catalog"]
    raw = [path for _, path in _files(catalog, raw=True)]
    written = [path for _, path in _files(catalog, raw=False)]

    def above(root: str, paths: list[str]) -> bool:
        return any(Path(path).is_relative_to(root) for path in paths)

    paths = loader["globals"]["paths"]
    return {name for name, root in paths.items() if above(root, raw) and not above(root, written)}


def _files(catalog: Mapping[str, Any], *, raw: bool) -> Iterator[tuple[str, str]]:
    """Name and path of the entries of the raw layer, or of all others."""
    for name, entry in catalog.items():
        layer = entry.get("metadata", {}).get("kedro-viz", {}).get("layer")
        if "filepath" in entry and (name.endswith(".raw") or layer == "raw") == raw:
            yield name, str(entry["filepath"])


def _put(folder: Path, kind: str, values: Mapping[str, Any]) -> None:
    """Set top-level keys, in the file that has them: Kedro takes each from one file only."""
    for key, value in values.items():
        files = {
            path: yaml.safe_load(path.read_text()) or {} for path in folder.glob(f"{kind}*.yml")
        }
        path = next((path for path, content in files.items() if key in content), None)
        path = path or folder / f"{kind}.yml"
        content = files.get(path, {})
        old = content.get(key)
        content[key] = {**old, **value} if isinstance(old, dict) else value
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
