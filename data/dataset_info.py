"""The file `dataset-info.json`, which says how a dataset was made.

`dataset_tool.py` writes it beside `dataset.json`. Programs that look for image files and
`dataset.json` ignore it. It is JSON:

    version        1
    pixels         digest of the pixels of all images, see `PixelDigest`
    images         twelve digits that identify the image files, see `data.fingerprint.short`
    num_images     number of images
    num_source     number of images of the source, of which some may have been dropped
    size           width and height
    colours        "grey" or "RGB"
    transform      the crop before resizing, or null
    resolution     width and height that images were resized to, or null
    resize_filter  the filter of resizing, or null
    versions       of the programs that made the pixels, by name
"""

import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from data import reading
from data.zip_archive import ZipArchive
from dnnlib import strict_json
from dnnlib.errors import InputError, UserError, message_of
from dnnlib.version import __version__

FILE_NAME = "dataset-info.json"
VERSION = 1


@dataclass(frozen=True)
class DatasetInfo:
    """The content of the file; its fields are those of the JSON."""

    pixels: str
    images: str
    num_images: int
    num_source: int
    size: list[int]
    colours: str
    transform: str | None
    resolution: list[int] | None
    resize_filter: str | None
    versions: dict[str, str]

    def to_json(self) -> bytes:
        """The content of the file."""
        fields = {"version": VERSION, **dataclasses.asdict(self)}
        return (strict_json.dumps(fields, indent=2) + "\n").encode()

    def __str__(self) -> str:
        width, height = self.size
        steps = [f"{self.num_images} of {self.num_source} images of a source"]
        if self.transform is not None:
            steps.append(self.transform)
        if self.resolution is not None:
            steps.append(f"{self.resize_filter} to {self.resolution[0]}x{self.resolution[1]}")
        steps.append(f"{width}x{height} {self.colours}")
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{', '.join(steps)} ({versions})"


class PixelDigest:
    """A digest of the pixels of many images, in their order.

    It depends on the pixels and shapes of images alone, not on their names or their compression.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, image_digest: bytes) -> None:
        """Add the result of `digest_of` for the next image."""
        self._digest.update(image_digest)

    def text(self) -> str:
        """32 hexadecimal digits."""
        return self._digest.hexdigest()[:32]


def digest_of(pixels: np.ndarray) -> bytes:
    """16 bytes that identify uint8 pixels `[H, W, C]`."""
    shape = " ".join(map(str, pixels.shape)).encode()
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=shape).digest()


def versions() -> dict[str, str]:
    """The versions that can matter for pixels: this tool's and Pillow's."""
    return {"tool": __version__, "Pillow": PIL.__version__}


def parse(text: bytes) -> DatasetInfo:
    """Read the content of the file.

    Raises:
        ValueError: If it is malformed, or of another version.
    """
    try:
        fields = json.loads(text)
        if fields["version"] != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        known = {name: fields[name] for name in _CHECKS}
        wrong = [name for name, is_good in _CHECKS.items() if not is_good(known[name])]
        if wrong:
            raise ValueError(f"its {wrong[0]} makes no sense")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{FILE_NAME} cannot be used: {_describe(error)}") from error
    return DatasetInfo(**known)


def find(path: str | Path) -> DatasetInfo | str | None:
    """The content of the file in a folder or ZIP.

    Returns:
        A text if the file cannot be used; `None` if there is none, or if `path` is something else.
    """
    path = Path(path)
    try:
        if path.is_dir():
            file = path / FILE_NAME
            return parse(reading.read_file(file)) if file.exists() else None
        if path.suffix.lower() != ".zip" or not path.is_file():
            return None
        with contextlib.closing(ZipArchive(path)) as archive:
            if FILE_NAME not in archive.position:
                return None
            reading.check_size(archive.size_of(archive.position[FILE_NAME]))
            return parse(archive.read(FILE_NAME))
    except reading.UnusableImage as error:  # a pipe, or too large
        return f"{FILE_NAME} {str(error).partition(';')[0]}"
    except (OSError, UserError) as error:
        return message_of(error)


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return "it is nested without end" if isinstance(error, RecursionError) else str(error)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= 100


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


_CHECKS = {
    "pixels": _is_text,
    "images": _is_text,
    "num_images": _is_count,
    "num_source": _is_count,
    "size": _is_size,
    "colours": _is_text,
    "transform": lambda value: value is None or _is_text(value),
    "resolution": lambda value: value is None or _is_size(value),
    "resize_filter": lambda value: value is None or _is_text(value),
    "versions": lambda value: (
        isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))
    ),
}
