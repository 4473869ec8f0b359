"""What every run needs: the configuration at hand, and errors that name the file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kedro.framework.hooks import hook_impl
from kedro.framework.project import LOGGING, configure_logging
from kedro.io import DatasetError

from ratchet.config import UseCase, checks, loader
from ratchet.errors import ConfigError, DataError, UserError, root_cause
from ratchet.kedro_private import file_of, forget_entry

LOGGER = logging.getLogger(__name__)


class ProjectHooks:
    """Ties the pipelines to the configuration of the session."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Let the pipeline registry see the environment and the parameters of this session."""
        loader.remember(context.config_loader, Path(context.project_path))
        _use_logging_of(Path(context.project_path))

    @hook_impl
    def after_catalog_created(
        self, catalog: Any, parameters: Any, save_version: Any, load_versions: Any
    ) -> None:
        """Have the raw rows of every use case read as its contract says."""
        from ratchet.datasets.raw import RawDataset, guesses_types

        for name, value in parameters["parameters"].items():
            entry = f"{name}.raw"
            if not isinstance(value, Mapping) or entry not in catalog:
                continue
            config = catalog.config_resolver.resolve_pattern(entry)
            if guesses_types(config):
                forget_entry(catalog, entry)
                catalog[entry] = RawDataset(
                    name=entry,
                    config=config,
                    data=value.get("data", {}),
                    load_version=(load_versions or {}).get(entry),
                    save_version=save_version,
                )

    @hook_impl
    def before_pipeline_run(self, pipeline: Any) -> None:
        """Stop a run whose configuration cannot work before anything is written."""
        parameters = loader.project_parameters()
        use_cases = loader.read_use_cases(parameters)
        read = _running(["understanding", "release", "monitoring"], pipeline, use_cases)
        _check_as_of(parameters.get("as_of"), read)
        checks.check_functions(_running(["preprocessing"], pipeline, use_cases))
        checks.check_bundles(_running(["release"], pipeline, use_cases))
        if searched := _running(["classical", "recurrent"], pipeline, use_cases):
            checks.check_searches(searched)
            checks.check_engines(searched, searched=True, priced=False)
        if priced := _running(["pricing"], pipeline, use_cases):
            checks.check_engines(priced, searched=False, priced=True)
        if decided := _running(["release", "monitoring", "status"], pipeline, use_cases):
            checks.check_metrics(decided)

    @hook_impl
    def after_node_run(self, node: Any, catalog: Any, inputs: Mapping[str, Any]) -> None:
        """Tell a raw file that lacks rows of the champion or has others, before it is trained on.

        Raises:
            DataError: such a file is to be refused.
        """
        if node.namespace is None or node.name != f"{node.namespace}.read_rows":
            return
        parameters = loader.project_parameters()
        use_case = loader.read_use_cases({node.namespace: parameters[node.namespace]})
        raw = inputs[f"{node.namespace}.raw"]
        landing = use_case[node.namespace].landing
        rows = raw, inputs[f"{node.namespace}.measured"]
        changes = _changed_past(node.namespace, landing, rows, catalog, parameters.get("as_of"))
        if changes:
            LOGGER.warning("%s: %s", node.namespace, changes)

    @hook_impl
    def on_node_error(self, error: Exception, node: Any, catalog: Any) -> None:
        """Name the files whose content stopped a node, or else the node."""
        if isinstance(error, DataError):
            for name in node.inputs:
                path = file_of(catalog.get(name))
                if path is not None and not name.endswith(("search_cache", "trials")):
                    error.add_note(f"file: {path}")
        elif not isinstance(error, UserError):
            error.add_note(f"node: {node.name}")

    @hook_impl
    def on_pipeline_error(self, error: Exception, catalog: Any) -> None:
        """Name the file that cannot be read."""
        if not isinstance(error, DatasetError):
            return
        path = file_of(catalog.get(str(error).partition(":")[0]))  # Kedro puts the name first
        if path is None:
            return
        error.add_note(f"file: {path}")
        if isinstance(root_cause(error), UnicodeDecodeError):
            error.add_note(f"first in line {_first_undecodable_line(path)}")


def _use_logging_of(folder: Path) -> None:
    """Apply ``conf/logging.yml``: Kedro looks for it in the current folder only."""
    path = folder / "conf" / "logging.yml"
    if "KEDRO_LOGGING_CONFIG" not in os.environ and path.exists():
        configuration = yaml.safe_load(path.read_text(encoding="utf-8"))
        if configuration != LOGGING.data:
            configure_logging(configuration)


def _running(phases: list[str], pipeline: Any, use_cases: dict[str, UseCase]) -> dict[str, UseCase]:
    """The use cases of which a pipeline runs one of some phases."""
    spaces = {node.namespace for node in pipeline.nodes if node.tags.intersection(phases)}
    if None in spaces:  # of all use cases together
        return use_cases
    names = {space.split(".")[0] for space in spaces}
    return {name: use_case for name, use_case in use_cases.items() if name in names}


def _changed_past(name: str, landing: Any, rows: Any, catalog: Any, as_of: Any) -> str:
    """What raw file and measurements do to the rows of the champion; empty if it is not known."""
    from ratchet.bundle.reader import open_bundle
    from ratchet.bundle.scoring_frame import describe_changed_past, scoring_frame

    if landing is not None and landing.by_hand == "ignore":
        return ""
    try:
        registry = catalog.load("registry")
        url = registry.ledger.engine.url
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            return ""  # one that is opened would be made
        if (champion := registry.champion(name)) is None:
            return ""
        raw, measured = rows
        now = scoring_frame(open_bundle(registry.folder(name, champion)), raw, as_of, measured)
    except Exception as error:  # whether there is a champion is no matter of reading rows
        LOGGER.debug("%s: rows are not compared with those of the champion: %s", name, error)
        return ""
    try:
        return describe_changed_past(now, landing, as_of)
    except DataError as error:
        error.add_note(f"file: {file_of(catalog.get(f'{name}.raw'))}")
        raise


def _check_as_of(as_of: Any, use_cases: dict[str, UseCase]) -> None:
    """Make sure that the rows of every use case can be cut at a day.

    Args:
        as_of: last day whose rows are seen, or ``None`` for all.
        use_cases: name -> parameters of those whose rows are read.

    Raises:
        ConfigError: it is no date, or a use case has no time.
    """
    if as_of is None:
        return
    from ratchet.preparation.contract import read_day

    read_day(as_of)
    if timeless := [name for name, use_case in use_cases.items() if use_case.data.time is None]:
        raise ConfigError(
            f"parameter as_of: {', '.join(timeless)} names no data.time column to cut at; leave "
            f"as_of out, or run the others alone with --namespaces"
        )


def _first_undecodable_line(path: Path) -> int | None:
    """Number of the first line that is not UTF-8; the header is line 1."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None
