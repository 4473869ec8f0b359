"""A bar for the nodes of a run."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl

from ratchet import progress


class ProgressHooks:
    """Shows how many nodes are done and how long the rest may take."""

    @hook_impl(trylast=True)  # nobody takes the bar away when another hook stops the run here
    def before_pipeline_run(self, pipeline: Any) -> None:
        """Show the bar, on a terminal."""
        if progress.wanted():
            progress.start()
            progress.show("nodes", "nodes", 0, len(pipeline.nodes))

    @hook_impl
    def after_node_run(self) -> None:
        """One more done."""
        progress.advance("nodes")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Clear the terminal for what follows."""
        progress.stop()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Clear the terminal for the error."""
        progress.stop()
