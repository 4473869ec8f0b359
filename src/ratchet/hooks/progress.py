"""How far a run is: a bar for its nodes, and messages to a webhook at its start and end."""

from __future__ import annotations

import time
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl

from ratchet import progress, webhook
from ratchet.hooks import RunParams


class ProgressHooks:
    """Shows how many nodes are done and how long the rest may take."""

    @hook_impl(trylast=True)  # the bar would stay when another hook stops the run here
    def before_pipeline_run(self, pipeline: Any) -> None:
        """Show the bar, on a terminal."""
        if progress.is_interactive():
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


class NotificationHooks:
    """Sends events to listeners; those of searches come from ``ratchet.progress``."""

    def __init__(self) -> None:
        self._webhook = webhook.current()
        self._name = "run"
        self._start = time.monotonic()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read where to."""
        try:
            credentials = context.config_loader["credentials"]
        except MissingConfigException:
            credentials = {}
        self._webhook = webhook.configure(credentials)

    @hook_impl
    def before_pipeline_run(self, run_params: RunParams, pipeline: Any) -> None:
        """A run starts."""
        names = run_params["pipeline_names"] or ["everything"]
        self._name = " ".join([",".join(names), *(run_params["namespaces"] or [])])
        self._start = time.monotonic()
        self._webhook.send(
            "start", f"{self._name}: started", run=self._name, nodes=len(pipeline.nodes)
        )

    @hook_impl
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Send the end of the run; alerts of the monitoring one by one."""
        written = {name for node in pipeline.nodes for name in node.outputs}
        for name in sorted(name for name in written if name.endswith(".watch")):
            for alert in catalog.load(name)["alerts"]:
                details = {key: alert[key] for key in ("name", "level", "value", "threshold")}
                self._webhook.send("alert", f"{alert['text']}: {alert['advice']}", **details)
        self._say_goodbye("end", "done")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """It failed."""
        self._say_goodbye("failure", f"failed: {error}")

    def interrupt(self) -> None:
        """The user has stopped it."""
        self._say_goodbye("failure", "stopped by hand")

    def _say_goodbye(self, event: str, what: str) -> None:
        seconds = round(time.monotonic() - self._start)
        text = f"{self._name}: {what} after {seconds} s"
        self._webhook.send(event, text, run=self._name, seconds=seconds)
        self._webhook.wait()
