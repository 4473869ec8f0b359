"""Opening a bundle and letting it answer, before it serves."""

from __future__ import annotations

from pathlib import Path

from ratchet.release.bundle import Bundle, open_bundle


def rehearse(folder: Path) -> Bundle:
    """Open a bundle and let it answer its golden rows.

    Raises:
        BundleError: it is damaged, or answers otherwise than it must.
    """
    bundle = open_bundle(folder)
    bundle.check_golden()
    return bundle
