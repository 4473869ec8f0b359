"""What Kedro-Viz is told of a run."""

from __future__ import annotations

from types import SimpleNamespace

from ratchet.hooks.workflow import WorkflowHooks


def test_a_run_in_a_read_only_project_does_not_fail(tmp_path, caplog):
    """As in a container: results are in the data folder, and the view misses a run."""
    (tmp_path / ".viz").write_text("a folder cannot be made here")
    hooks = WorkflowHooks()
    hooks.after_context_created(SimpleNamespace(project_path=tmp_path))

    hooks._add_event({"event": "after_pipeline_run"}, flush=True)

    assert f"Kedro-Viz will not show this run: {tmp_path}/.viz" in caplog.text
