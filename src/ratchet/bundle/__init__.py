"""Bundle: one version of the models of a use case, as a folder with everything for answers.

``write_bundle`` writes it, ``open_bundle`` checks and opens it. Its files are described in
``docs/reference/bundle.md``.
"""

from __future__ import annotations

from pathlib import Path

from ratchet.bundle.manifest import BundleError, check_files, read_manifest_with_digest
from ratchet.bundle.reader import Bundle
from ratchet.bundle.writer import BundleContents, hash_rows, write_bundle

__all__ = ["Bundle", "BundleContents", "BundleError", "hash_rows", "open_bundle", "write_bundle"]


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle after making sure that it is whole and unchanged.

    Every file is compared with its hash in the manifest before anything in it is interpreted.
    Models are loaded when they are first needed, if all types in them are trusted.

    Raises:
        BundleError: the folder or a file is missing, extra, changed or cut off, or the manifest is
            not that of a bundle.
    """
    folder = Path(folder)
    manifest, digest = read_manifest_with_digest(folder)
    check_files(folder, manifest)
    return Bundle(folder, manifest, digest)
