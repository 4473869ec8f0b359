"""The part of a use case: what happens in the process that runs it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

from ratchet import progress, webhook
from ratchet.learning.processes import end_with_parent
from ratchet.runner import calls

LOGGER = logging.getLogger(__name__)

_catalog: Any = None
_hook_manager: Any = None


def open_session(
    writer: Connection,
    lock: Any,
    bars: bool,
    session: dict[str, Any],
    run_id: str | None,
    parent: int,
) -> None:
    """Open a session of Kedro like that of the parent, for its catalog and its hooks."""
    global _catalog, _hook_manager  # for `run_part`, which is called later
    from kedro.framework.project import settings
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    end_with_parent(parent)
    bootstrap_project(session["project_path"])
    calls.to_parent = send = calls.make_sender(writer, lock)
    opened = KedroSession.create(**session)
    # Versions of datasets are named after the run, as in KedroSession.run.
    catalog = opened.load_context()._get_catalog(settings.DATA_CATALOG_CLASS, save_version=run_id)
    _catalog, _hook_manager = catalog, opened._hook_manager
    calls.send_logs(send)
    if bars:
        progress.forward(send)


class _PartRunner(SequentialRunner):
    """Runs a use case of several."""

    def _suggest_resume_scenario(self, *_: Any) -> None:
        """Say nothing: the nodes where this use case goes on would leave out all other ones."""


def run_part(name: str, part: Pipeline, is_async: bool, run_id: str | None) -> list[BaseException]:
    """Run a use case; the error that stopped it and its causes, which pickle would leave out."""
    try:
        _PartRunner(is_async).run(part, _catalog, _hook_manager, run_id)
    except Exception as error:
        LOGGER.error("%s failed", name, exc_info=True)
        if calls.on_failure is not None:
            calls.on_failure()
        return [*causes_of(error)]
    finally:
        webhook.current().wait()
    return []


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, taken apart: each without its trace and as far as it can be sent."""
    while error is not None:
        cause = error.__cause__
        # Once distributed is loaded, pickle takes causes and traces along, and fails at any.
        error.__cause__ = error.__context__ = error.__traceback__ = None
        yield error if _survives(error) else _stand_in(error)
        error = cause


def _survives(error: BaseException) -> bool:
    """Whether an error says the same after it was sent: classes of errors pickle as they like."""
    try:
        return str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own
    except Exception:
        return False


def _stand_in(error: BaseException) -> BaseException:
    """An error that can be sent, with the message and the notes of one that cannot."""
    found = RuntimeError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", []):
        found.add_note(note)
    return found
