"""What every run needs: the configuration at hand, and errors that name the file."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl

from ratchet import config
from ratchet.errors import DataError


class ProjectHooks:
    """Ties the pipelines to the configuration of the session."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Let the pipeline registry see the environment and the parameters of this session."""
        config.remember(context.config_loader)

    @hook_impl
    def before_pipeline_run(self, pipeline: Any) -> None:
        """Stop a run whose searches cannot work before anything is written."""
        if any("classical" in node.tags for node in pipeline.nodes):
            use_cases = config.read_use_cases(config.project_parameters())
            running = {node.namespace.split(".")[0] for node in pipeline.nodes}
            config.check_searches({n: u for n, u in use_cases.items() if n in running})

    @hook_impl
    def on_node_error(self, error: Exception, node: Any, catalog: Any) -> None:
        """Name the files a node read when their content stopped it."""
        if isinstance(error, DataError):
            for name in node.inputs:
                path = getattr(catalog.get(name), "_filepath", None)
                if path is not None and not name.endswith("search_cache"):
                    error.add_note(f"file: {path}")
