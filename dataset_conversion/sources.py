"""Where images come from: one function per kind of source, each returning a `Source`."""

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from dataset_conversion import decode
from dnnlib.util import is_power_of_two
from training import synthetic_images
from training.dataset_json import Label, parse_labels
from training.zip_archive import Member, ZipArchive, read_member

SYNTHETIC_COUNT = 1000
SYNTHETIC_RESOLUTION = 64


class SourceImage(NamedTuple):
    """An image that is read where and when it is needed.

    `load` is picklable. Of its errors, a `ValueError` says a phrase that completes "<name> ...",
    with the remedy after a semicolon; an `OSError` may say anything.
    """

    name: str  # for messages
    load: Callable[[], tuple[PIL.Image.Image, Label | None]]


class Source(NamedTuple):
    """Images in output order, and how many; `None` if that is not known beforehand."""

    images: Iterator[SourceImage]
    count: int | None


def open_source(
    source: str,
    max_images: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int | None = None,
) -> Source:
    """Recognise a source by its name.

    Args:
        source: `synthetic`, a folder or a `.zip`.
        max_images: Synthetic images to draw; for other sources the caller limits their number.
        size: Width and height of synthetic images.
        seed: Of synthetic images.

    Raises:
        ValueError: If the source is of no known kind, or malformed.
        OSError: If it does not exist or cannot be read.
    """
    if source == "synthetic":
        return _open_synthetic(max_images, size, seed or 0)
    if seed is not None:
        raise ValueError("--seed: only --source=synthetic is random; leave it out")
    path = Path(source)
    if not path.exists():
        raise OSError(f"--source={source}: no such file or folder")
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() == ".zip":
        return _open_zip(path)
    raise ValueError(
        f"--source={source}: unknown kind of file; give a folder with images, a .zip,"
        " or 'synthetic'"
    )


def _open_synthetic(max_images: int | None, size: tuple[int, int] | None, seed: int) -> Source:
    count = SYNTHETIC_COUNT if max_images is None else max(max_images, 1)
    width, height = size or (SYNTHETIC_RESOLUTION, SYNTHETIC_RESOLUTION)
    if width != height or not is_power_of_two(width):
        raise ValueError(
            f"--resolution={width}x{height}: synthetic images are square and their side is a"
            " power of two; try --resolution=64x64"
        )
    images = (
        SourceImage(f"synthetic image {index}", partial(_draw, index, seed, width))
        for index in range(count)
    )
    return Source(images, count)


def _draw(index: int, seed: int, resolution: int) -> tuple[PIL.Image.Image, Label]:
    pixels, label = synthetic_images.draw_image(index, seed, resolution)
    return PIL.Image.fromarray(pixels), label


def _open_folder(folder: Path) -> Source:
    """All image files below a folder, sorted by the parts of their paths."""
    names = []
    for parent, _, files in os.walk(folder):
        names += [Path(parent, file).relative_to(folder).parts for file in files]
    names = sorted(name for name in names if _is_image(name[-1]))
    metadata = folder / "dataset.json"
    labels = (parse_labels(metadata.read_bytes(), metadata) if metadata.is_file() else None) or {}
    images = (
        SourceImage(
            str(folder.joinpath(*name)),
            partial(_load_file, folder.joinpath(*name), labels.get("/".join(name))),
        )
        for name in names
    )
    return Source(images, len(names))


def _load_file(path: Path, label: Label | None) -> tuple[PIL.Image.Image, Label | None]:
    _check_file_size(path.stat().st_size)
    return decode.read_image(path.read_bytes()), label


def _open_zip(path: Path) -> Source:
    """All image files in a ZIP, sorted by name."""
    members = ZipArchive(path).members
    for name in members:
        _check_member_name(name, path)
    labels = {}
    if "dataset.json" in members:
        _check_file_size(members["dataset.json"].size)
        text = read_member(path, members["dataset.json"])
        labels = parse_labels(text, path / "dataset.json") or {}
    names = sorted(name for name in members if _is_image(name))
    images = (
        SourceImage(str(path / name), partial(_load_member, path, members[name], labels.get(name)))
        for name in names
    )
    return Source(images, len(names))


def _load_member(
    path: Path, member: Member, label: Label | None
) -> tuple[PIL.Image.Image, Label | None]:
    _check_file_size(member.size)
    return decode.read_image(read_member(path, member)), label


def _is_image(name: str) -> bool:
    """Whether the text after the last dot is an extension of an image format."""
    _, dot, extension = name.lower().rpartition(".")
    return dot + extension in PIL.Image.registered_extensions()


def _check_file_size(size: int) -> None:
    if size > decode.MAX_FILE_BYTES:
        raise ValueError(
            f"unpacks to {size} bytes, which is no sensible image file; remove it, or leave such"
            " files out with --on-error=skip"
        )


def _check_member_name(name: str, path: Path) -> None:
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or re.match(r"[A-Za-z]:", parts[0]) or ".." in parts:
        raise ValueError(
            f"--source={path}: the member {name!r} points outside the archive;"
            " archives like that are refused, remove it (zip -d) if you trust the rest"
        )
