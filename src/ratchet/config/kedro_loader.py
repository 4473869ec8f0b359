"""Kedro's configuration loader, as this project uses it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from omegaconf._utils import get_yaml_loader
from yaml._yaml import CParser

from ratchet.errors import hide_secrets

LOGGER = logging.getLogger(__name__)

LAYERS = {
    "intermediate": "02_intermediate",
    "primary": "03_primary",
    "feature": "04_feature",
    "model_input": "05_model_input",
    "models": "06_models",
    "model_output": "07_model_output",
    "reporting": "08_reporting",
}
"""Layer that runs write -> its folder under ``paths.data``."""

VARIABLES = {"tracking_uri": "MLFLOW_TRACKING_URI", "database_url": "RATCHET_DATABASE_URL"}
"""Value of the globals -> environment variable that goes before it, see ``ConfigLoader``."""

RUN_PARAMETERS = ("seed", "as_of", "first_report")
"""Parameters that belong to no use case."""

_READ: ContextVar[frozenset[str]] = ContextVar("use_cases_that_are_read", default=frozenset())
_GLOBAL = re.compile(r"\$\{globals:\s*([a-zA-Z]\w*(?:\.\w+)*)\s*\}")


@contextmanager
def only_use_cases(names: Collection[str]) -> Iterator[None]:
    """Have no parameters read but those of some use cases, as a run of one among many takes.

    All are read where one of the names is none of a use case, or where files have more to them
    than values and globals.
    """
    token = _READ.set(frozenset(names))
    try:
        yield
    finally:
        _READ.reset(token)


class ConfigLoader(OmegaConfigLoader):
    """Knows the folder of every layer, and reads most files ten times faster than Kedro does.

    ``paths.models`` and the like need not be set: they follow from ``paths.data``. Where one is
    set, the entries of the catalog that lie in the folder of this layer follow it.

    Environment variables (``VARIABLES``) replace the databases that the base and the default
    environment name. Another environment that sets ``tracking_uri`` keeps its results apart:
    neither the variables nor ``database_url`` of the base apply to it.

    OmegaConf makes an object of every single value. Files whose values name at most globals are
    read without it; all others, and whatever has a mistake, are left to Kedro.
    """

    def __getitem__(self, key: str) -> dict[str, Any]:
        config: dict[str, Any] | None = None if key in self else self._read(key)
        if config is None:
            config = super().__getitem__(key)
        if key == "globals":
            config = config | self._databases(config)
            if "data" in config.get("paths", {}):
                config["paths"] = _default_folders(config["paths"]["data"]) | config["paths"]
        if key == "catalog" and "data" in self._globals.get("paths", {}):
            _move_layers(config, self._globals["paths"])
        return config

    def _databases(self, merged: Mapping[str, Any]) -> dict[str, str | None]:
        """Values that replace ``tracking_uri`` and ``database_url`` of the merged files."""
        given = {key: value for key, name in VARIABLES.items() if (value := os.environ.get(name))}
        if not given and not merged.get("database_url"):
            return {}
        own = self.own_globals()
        if "tracking_uri" not in own:
            return {**given}
        database = merged.get("database_url") if "database_url" in own else None
        kept = {
            "tracking_uri": merged["tracking_uri"],
            "database_url": database or merged["tracking_uri"],
        }
        ignored = [VARIABLES[key] for key, value in given.items() if value != kept[key]]
        if ignored and multiprocessing.parent_process() is None:  # children need not repeat it
            _warn_of_ignored(
                " and ".join(ignored), own["tracking_uri"], hide_secrets(kept["tracking_uri"])
            )
        return {"database_url": database}

    def own_globals(self) -> dict[str, Path]:
        """Globals that the environment itself sets -> their file; none of the default one."""
        env = self.env or self.default_run_env
        if env in (self.base_env, self.default_run_env):
            return {}
        folder, patterns = self._get_conf_env_path(env), self.config_patterns["globals"]
        files = self._read_dir_configs(folder, patterns, "globals", set())
        return {key: path for path, content in files.items() for key in content}

    def _read(self, key: str) -> dict[str, Any] | None:
        """What both environments say, merged; None where it takes Kedro to read it."""
        if key not in self.config_patterns or key == "credentials":
            return None
        if self._protocol != "file" or not _is_plain(self.runtime_params or {}):
            return None
        names = _READ.get() if key == "parameters" else frozenset()
        try:
            result = self._read_all(key, names)
            if not names <= result.keys():
                result = self._read_all(key, frozenset())
        except (_NeedsKedroError, yaml.YAMLError, OSError, ValueError):
            return None
        if result and key == "parameters":
            result = deep_merge(result, deepcopy(self.runtime_params or {}))
        return result or None

    def _read_all(self, key: str, names: frozenset[str]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for env in dict.fromkeys((self.base_env, self.env or self.default_run_env)):
            config = self._read_environment(key, env, names)
            soft = self.merge_strategy.get(key) == "soft"
            result = deep_merge(result, config) if soft else result | config
        return result

    def _read_environment(self, key: str, env: str, names: frozenset[str]) -> dict[str, Any]:
        folder = Path(self.conf_source, env)
        if not folder.is_dir():
            raise _NeedsKedroError
        patterns = [(folder / pattern).as_posix() for pattern in self.config_patterns[key]]
        result: dict[str, Any] = {}
        for path in sorted({Path(path) for pattern in patterns for path in self._fs.glob(pattern)}):
            if not self._is_valid_config_path(path) or self._is_hidden(str(path)):
                continue
            text = path.read_text(encoding="utf-8")
            if names and _is_of_others(text, names):
                continue
            content = yaml.load(text, Loader=_YamlLoader) or {}  # noqa: S506 - it is a safe one
            if not isinstance(content, dict):
                raise _NeedsKedroError
            if key != "parameters":
                content = {
                    name: value for name, value in content.items() if not str(name).startswith("_")
                }
            if not result.keys().isdisjoint(content):
                raise _NeedsKedroError
            result |= content
        return _with_globals(result, {} if key == "globals" else self._globals)


@cache
def _warn_of_ignored(variables: str, file: Path, uri: str) -> None:
    """Say once per process that an environment has a database of its own."""
    LOGGER.warning(
        "%s: ignored, because %s sets a tracking_uri of its own (%s), which environment variables "
        "do not replace: results of this environment are kept apart",
        *(variables, file, uri),
    )


class _NeedsKedroError(Exception):
    """What is read has more to it than values and globals."""


class _YamlLoader(CParser, get_yaml_loader()):  # type: ignore[misc]
    """YAML as OmegaConf reads it, such as dates as texts, by the parser that is written in C."""

    def __init__(self, stream: str) -> None:
        CParser.__init__(self, stream)
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)


def _is_of_others(text: str, names: frozenset[str]) -> bool:
    """Whether a file of parameters surely has nothing of some use cases, nor of the whole run.

    To see that takes a hundredth of reading it as YAML. What is written unusually, such as keys in
    quotes, is not sure.
    """
    lines = [line for line in text.splitlines() if line and line[0] not in " \t#"]
    keys = [line.partition(":")[0] for line in lines if ":" in line]
    plain = len(keys) == len(lines) > 0 and all(key.isidentifier() for key in keys)
    return plain and names.union(RUN_PARAMETERS).isdisjoint(keys)


def _is_plain(value: Any) -> bool:
    """Whether a value of ``--params`` is what it says, without anything to be looked up."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value and "\\" not in value and value != "???"
    return value is None or isinstance(value, bool | int | float)


def _with_globals(value: Any, named: Mapping[str, Any]) -> Any:
    """A value with globals in the places where it names them."""
    if isinstance(value, dict):
        return {key: _with_globals(inner, named) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_globals(inner, named) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    if whole := _GLOBAL.fullmatch(value):
        return deepcopy(_look_up(whole[1], named))
    text = _GLOBAL.sub(lambda found: str(_look_up(found[1], named)), value)
    if "${" in text or "\\" in value:
        raise _NeedsKedroError
    return text


def _look_up(name: str, named: Mapping[str, Any]) -> Any:
    value: Any = named
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise _NeedsKedroError
        value = value[part]
    return value


def _default_folders(data: str) -> dict[str, str]:
    return {layer: f"{data}/{folder}" for layer, folder in LAYERS.items()}


def _move_layers(catalog: Mapping[str, Any], paths: Mapping[str, str]) -> None:
    """Change the paths of entries whose layer is elsewhere than under ``paths.data``."""
    defaults = _default_folders(paths["data"])
    moved = {defaults[layer]: paths[layer] for layer in LAYERS if paths[layer] != defaults[layer]}
    for entry in catalog.values():
        for default, folder in moved.items():
            path = str(entry.get("filepath", ""))
            if path.startswith(f"{default}/"):
                entry["filepath"] = folder + path.removeprefix(default)


def deep_merge(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key; where one has no mapping, ``other`` wins."""
    result = dict(config)
    for key, value in other.items():
        mappings = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = deep_merge(result[key], value) if mappings else value
    return result
