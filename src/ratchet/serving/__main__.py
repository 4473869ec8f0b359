"""The serving process: ``python -m ratchet.serving --settings FILE``.

``kedro ratchet serve`` starts it with settings from Kedro's configuration; a container with
settings from environment variables, see ``settings``. With several workers this process only holds
the port, starts them, and restarts those that have ended.
"""

from __future__ import annotations

import argparse
import os
import sys

from ratchet.errors import UserError
from ratchet.serving.child_processes import LOADER, SETTINGS, WORKER, start_ahead
from ratchet.serving.settings import load_settings

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m ratchet.serving", description=__doc__)
    parser.add_argument("--settings", help=f"JSON, or a file of it; {SETTINGS} otherwise")
    text = parser.parse_args().settings or os.environ.get(SETTINGS) or "{}"
    for name in _ONE_THREAD:  # read when numpy is loaded
        os.environ.setdefault(name, "1")
    try:
        settings = load_settings(text, os.environ)
        if settings.workers == 1 or WORKER in os.environ:
            # It imports its libraries while this process imports others.
            start_ahead(LOADER)
        from ratchet.serving.processes import serve

        serve(settings)
    except UserError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
