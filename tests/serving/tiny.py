"""A loader of versions that answer with their own number; ``python tiny.py`` is its process.

What ``bundles/<version>`` holds says how a version behaves: nothing, ``broken``, ``slow``, ``dies``
or ``waits``, or ``lies``: it opens, and does not answer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from ratchet.compiled.answers import Answer, Prediction
from ratchet.errors import DataError
from ratchet.serving import version_loader
from ratchet.serving.version_transfer import Description


class Tiny:
    """Answers every row with the number of its version.

    Args:
        content: the number, as a loader hands it over.
    """

    def __init__(self, content):
        self.version, self.lies = json.loads(bytes(content).partition(b"\n")[0])

    book = SimpleNamespace(keys=())

    def answer(self, rows):
        if self.lies:
            raise ArithmeticError("it opens, and does not answer")
        return [
            Answer(str(row["film"]), {"rating": Prediction(float(self.version), 0.0, 9.0)})
            for row in rows
        ]

    def observe(self, rows):
        """Nothing is looked back at."""


def opened(source, use_case, version, digest):
    place = Path(source.bundles)
    behaves = (place / version).read_text() if (place / version).is_file() else ""
    if behaves == "broken":
        raise DataError(f"version {version} is damaged")
    if behaves == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaves == "waits":
        time.sleep(60)
    manifest = {"signature": {"inputs": {}}, "last_row": None}
    parameters = json.loads((place / "parameters.json").read_text())
    golden = [{"film": 1}]
    told = Description(
        "slow" if behaves == "slow" else "compiled",
        "it is too odd" if behaves == "slow" else None,
        *("0" * 64, manifest, parameters, golden),
    )
    content = json.dumps([version, behaves == "lies"]).encode()
    return told, content + b"\n" + bytes(300_000)  # more than a pipe holds


def main():
    if sys.argv[1:] == ["worker"]:
        from ratchet.serving import bundle_worker  # which takes six times as long as all else here

        bundle_worker.main(
            lambda request: Tiny(json.dumps([request.versions[0][1], False]).encode())
        )
    else:
        version_loader.main(opened, *sys.argv[1:])


if __name__ == "__main__":
    main()
