"""Open sources of images: one function per kind of source."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from data import listing, reading, synthetic_images, synthetic_symbols
from data.conversion import cifar, decode, label_tables, lsun, mnist
from data.conversion import labels as labels_of
from data.conversion.decode import DecodeOptions
from data.conversion.labels import Labels
from data.conversion.source import Source as Source
from data.conversion.source import SourceImage as SourceImage
from data.conversion.transform import suggest_size
from data.decoding import Picture
from data.zip_archive import Member, ZipArchive, read_member
from dnnlib import moved
from dnnlib.errors import InputError
from dnnlib.util import is_power_of_two, printable

__getattr__ = moved.names_of(__name__)
SYNTHETIC = "synthetic"
# Drawings by name: `--source=synthetic:NAME`. The first ones need no name.
DRAWINGS = {"shapes": synthetic_images, "symbols": synthetic_symbols}
SYNTHETIC_COUNT = 1000
SYNTHETIC_RESOLUTION = 64


def open_source(
    source: str,
    max_images: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int | None = None,
    labels: str | None = None,
    decode_options: DecodeOptions | None = None,
) -> Source:
    """Recognise a source by its name.

    Args:
        source: `synthetic` or `synthetic:NAME`, a folder, a `.zip`, or a dataset under its own
            file name.
        max_images: Number of synthetic images. The caller limits the images of other sources.
        size: Width and height of synthetic images.
        seed: Random seed of synthetic images.
        labels: `folders`, `none`, or a file; `None` for the labels of the source.
        decode_options: How files are decoded. Sources that are no image files refuse any.

    Raises:
        ValueError: If the kind of the source is unknown, or the source is malformed.
        OSError: If the source does not exist or cannot be read.
    """
    name = Path(source).name
    options = decode_options or DecodeOptions()
    has_no_files = is_synthetic(source) or name == cifar.FILE_NAME
    if has_no_files or name.endswith(mnist.IMAGES_SUFFIX):
        _refuse_options(options, source)
    if is_synthetic(source):
        images = _open_synthetic(source, max_images, size, seed or 0)
        return _with_own_labels(images, source, labels)
    if seed is not None:
        raise InputError("--seed: only --source=synthetic is random; leave it out")
    path = Path(source)
    if not path.exists():
        raise OSError(f"--source={source}: no such file or folder")
    if path.name == cifar.FILE_NAME:
        return _with_own_labels(_open_cifar(path), source, labels)
    if path.name.endswith(mnist.IMAGES_SUFFIX):
        return _with_own_labels(_open_mnist(path, labels != "none"), source, labels)
    if path.is_dir() and path.resolve().name.endswith(lsun.FOLDER_SUFFIX):
        return _open_lsun(path, labels, max_images, options)
    if path.is_dir():
        return _open_folder(path, labels, max_images, options)
    if path.suffix.lower() == ".zip":
        return _open_zip(path, labels, max_images, options)
    if path.name.endswith(mnist.LABELS_SUFFIX):
        raise InputError(
            f"--source={source}: these are labels; give the images beside it,"
            f" {path.name.removesuffix(mnist.LABELS_SUFFIX)}{mnist.IMAGES_SUFFIX}"
        )
    raise InputError(
        f"--source={source}: unknown kind of file; give a folder with images, a .zip, an LSUN"
        f" folder (*{lsun.FOLDER_SUFFIX}), {cifar.FILE_NAME}, train{mnist.IMAGES_SUFFIX}, or"
        " 'synthetic'"
    )


def is_synthetic(source: str) -> bool:
    """Whether a source is drawn: `synthetic`, or `synthetic:` and a name."""
    return source.partition(":")[0] == SYNTHETIC


def _refuse_options(options: DecodeOptions, source: str) -> None:
    """Refuse options that do nothing for a source without image files."""
    if options.keep_profile_values:
        raise InputError(
            f"--keep-profile-values: the images of {source} have no colour profiles; leave it out"
        )
    if options.background is not None:
        raise InputError(
            f"--background={options.background.name}: the images of {source} are never transparent;"
            " leave it out"
        )


def _with_own_labels(source: Source, name: str, labels: str | None) -> Source:
    if labels is None:
        return source
    if labels != "none":
        raise InputError(f"--labels={labels}: {name} has labels of its own; leave it out")
    return dataclasses.replace(
        source, images=(image._replace(label=None) for image in source.images)
    )


def _open_cifar(path: Path) -> Source:
    images = cifar.read(path)
    return Source(
        (
            SourceImage(f"{path}: image {i}", partial(_given, pixels.copy()), label)
            for i, (pixels, label) in enumerate(images)
        ),
        len(images),
    )


def _open_mnist(path: Path, with_labels: bool) -> Source:
    pixels, labels = mnist.read(path, with_labels)
    images = (
        SourceImage(
            f"{path}: image {i}",
            partial(_given, pixels[i].copy()),
            None if labels is None else labels[i],
        )
        for i in range(len(pixels))
    )
    return Source(images, len(pixels))


def _given(pixels: np.ndarray) -> tuple[Picture, Counter[str]]:
    """A picture that needs no decoding, `[H, W]` or `[H, W, 3]`."""
    return Picture(pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]), Counter()


def _open_lsun(
    path: Path, option: str | None, max_images: int | None, options: DecodeOptions
) -> Source:
    if option == "folders":
        raise InputError(f"--labels=folders: {path} is a database without folders")
    count = lsun.count(path)
    keys, labels = [], Labels({})
    if option not in (None, "none"):
        keys = list(lsun.keys(path))
        labels = label_tables.from_file(Path(option), keys)
    images = (
        SourceImage(
            f"{path}: {printable(key)}",
            partial(decode.read_image, data, options),
            labels.by_name.get(key),
        )
        for key, data in lsun.read(path)
    )
    return Source(images, count, labels, _find_gaps(labels, keys, path, max_images))


def _open_synthetic(
    source: str, max_images: int | None, size: tuple[int, int] | None, seed: int
) -> Source:
    name = source.removeprefix(SYNTHETIC).removeprefix(":") or next(iter(DRAWINGS))
    if name not in DRAWINGS or source.endswith(":"):
        known = " and ".join(f"{SYNTHETIC}:{name}" for name in DRAWINGS)
        raise InputError(f"--source={source}: no drawings have this name; there are {known}")
    drawings = DRAWINGS[name]
    count = SYNTHETIC_COUNT if max_images is None else max(max_images, 1)
    width, height = size or (SYNTHETIC_RESOLUTION, SYNTHETIC_RESOLUTION)
    if width != height or not is_power_of_two(width):
        raise InputError(
            f"--resolution={width}x{height}: synthetic images are square and their side is a"
            f" power of two; try --resolution={suggest_size(width)}"
        )
    images = (
        SourceImage(
            f"synthetic image {index}",
            partial(_draw, drawings.draw_image, index, seed, width),
            index % len(drawings.CLASSES),
        )
        for index in range(count)
    )
    return Source(images, count)


def _draw(
    draw_image: Callable[[int, int, int], tuple[np.ndarray, int]],
    index: int,
    seed: int,
    resolution: int,
) -> tuple[Picture, Counter[str]]:
    pixels, _ = draw_image(index, seed, resolution)
    return _given(pixels)


def _open_folder(
    folder: Path, option: str | None, max_images: int | None, options: DecodeOptions
) -> Source:
    """All image files below a folder, sorted by the parts of their paths."""
    files = listing.list_folder(folder)
    names = sorted(files.images, key=lambda name: name.split("/"))
    labels = _choose_labels(
        option, names, folder, files.metadata, lambda name: reading.read_file(folder / name)
    )
    images = (
        SourceImage(
            printable(str(folder / name)),
            partial(_load_file, folder / name, options),
            labels.by_name.get(name),
        )
        for name in names
    )
    gaps = _find_gaps(labels, names, folder, max_images)
    left_out = listing.describe_left_out(files)
    return Source(images, len(names), labels, gaps, left_out, files.num_repeated)


def _load_file(path: Path, options: DecodeOptions) -> tuple[Picture, Counter[str]]:
    return decode.read_image(reading.read_file(path), options)


def _open_zip(
    path: Path, option: str | None, max_images: int | None, options: DecodeOptions
) -> Source:
    """All image files in a ZIP, sorted by name."""
    archive = ZipArchive(path)
    for name in archive.names:
        _check_member_name(name, path)
    files = listing.list_names(archive.names)
    names = sorted(files.images)
    labels = _choose_labels(option, names, path, files.metadata, partial(_read_metadata, archive))
    images = (
        SourceImage(
            printable(str(path / name)),
            partial(_load_member, path, archive.member(archive.position[name]), options),
            labels.by_name.get(name),
        )
        for name in names
    )
    gaps = _find_gaps(labels, names, path, max_images)
    return Source(images, len(names), labels, gaps, listing.describe_left_out(files))


def _read_metadata(archive: ZipArchive, name: str) -> bytes:
    reading.check_size(archive.member(archive.position[name]).size)
    return archive.read(name)


def _load_member(
    path: Path, member: Member, options: DecodeOptions
) -> tuple[Picture, Counter[str]]:
    reading.check_size(member.size)
    return decode.read_image(read_member(path, member), options)


def _choose_labels(
    option: str | None,
    names: list[str],
    where: Path,
    metadata: list[str],
    read: Callable[[str], bytes],
) -> Labels:
    """The labels that `--labels` names; by default those in the source's `dataset.json`."""
    if option == "none":
        return Labels({})
    if option == "folders":
        return labels_of.from_folders(names, str(where))
    if option is not None:
        return label_tables.from_file(Path(option), names)
    try:
        return labels_of.from_dataset(metadata, read, names, where)
    except ValueError as error:
        raise InputError(f"{error}; --labels=none leaves all labels out") from error


def _find_gaps(labels: Labels, names: list[str], where: Path, max_images: int | None) -> str | None:
    """The message if some of the first `max_images` images have no label."""
    considered = names if max_images is None else names[: max(max_images, 1)]
    gaps = labels.find_gaps(considered)
    return None if gaps is None else f"{where}: {gaps}"


def _check_member_name(name: str, path: Path) -> None:
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or re.match(r"[A-Za-z]:", parts[0]) or ".." in parts:
        raise InputError(
            f"--source={path}: the member {name!r} points outside the archive;"
            " archives like that are refused, remove it (zip -d) if you trust the rest"
        )
