"""Charts: their specifications, which Kedro-Viz shows as images, and the images themselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview
from kedro_datasets.json import JSONDataset

from ratchet.learning.atomic_files import atomic_write


class VegaLiteDataset(JSONDataset):
    """A Vega-Lite specification as JSON."""

    def preview(self) -> ImagePreview:
        """Draw it as a PNG, in base64."""
        import vl_convert

        image = vl_convert.vegalite_to_png(self.load())
        return ImagePreview(base64.b64encode(image).decode())


class ImagesDataset(AbstractDataset[dict[str, bytes], dict[str, bytes]]):
    """A folder of images, which is replaced as a whole.

    Args:
        filepath: the folder.
        metadata: ignored here, read by plug-ins such as Kedro-Viz.
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, object] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, bytes]:
        """Read all images: name of the file -> its content."""
        return {path.name: path.read_bytes() for path in sorted(self._filepath.iterdir())}

    def save(self, data: dict[str, bytes]) -> None:
        """Write all images next to their place, then move them there."""
        with atomic_write(self._filepath) as folder:
            folder.mkdir()
            for name, image in data.items():
                (folder / name).write_bytes(image)

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, object]:
        return {"filepath": str(self._filepath)}
