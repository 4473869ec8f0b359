"""The serving process: ``python -m ratchet.serving --settings FILE``.

``kedro ratchet serve`` starts it with settings from Kedro's configuration; a container with
settings from environment variables, see ``settings``. With several workers this process only holds
the port, starts them, and restarts those that have ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.util import find_spec

from ratchet.errors import ConfigError, UserError, hide_secrets
from ratchet.serving.child_processes import LOADER, SETTINGS, WORKER, start_ahead
from ratchet.serving.settings import Settings, load_settings

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def of_environment(settings: Settings) -> Settings:
    """Settings of a service whose jobs run in an environment of the project.

    Such jobs decide in the database of that environment, and the service has to follow the same
    one. Kedro, which knows it, is loaded in a process of its own.

    Args:
        settings: with ``env``; what was not set follows from the environment.

    Raises:
        ConfigError: the environment cannot be read, or another database was set.
    """
    if find_spec("kedro") is None:  # no job of the project can be started here
        return settings
    command = ["-m", "kedro", "ratchet", "serve", "--show-settings", "--env", str(settings.env)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=settings.project,
        env={**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2].removeprefix("Error: ")
        raise ConfigError(f"env: {settings.env}: {reason}")
    project = load_settings(done.stdout.strip().rpartition("\n")[2])
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    if (url := given.get("database_url", project.database_url)) != project.database_url:
        raise ConfigError(
            f"database_url: {hide_secrets(url)} is not the database of the environment "
            f"'{settings.env}' (env), in which jobs would decide "
            f"({hide_secrets(project.database_url)}): leave RATCHET_DATABASE_URL out, or name an "
            f"environment that has this database, or none"
        )
    return project.model_copy(update=given)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m ratchet.serving", description=__doc__)
    parser.add_argument("--settings", help=f"JSON, or a file of it; {SETTINGS} otherwise")
    text = parser.parse_args().settings or os.environ.get(SETTINGS) or "{}"
    for name in _ONE_THREAD:  # read when numpy is loaded
        os.environ.setdefault(name, "1")
    try:
        settings = load_settings(text, os.environ)
        if settings.env and not text.lstrip().startswith("{"):
            settings = of_environment(settings)
        if settings.workers == 1 or WORKER in os.environ:
            # It imports its libraries while this process imports others.
            start_ahead(LOADER)
        from ratchet.serving.processes import serve

        serve(settings)
    except UserError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
