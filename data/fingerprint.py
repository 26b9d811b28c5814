"""Identify a dataset by its contents, in any place and in a folder or a ZIP.

A fingerprint is a small dictionary that JSON, pickles and training states can hold:

    version     1
    num_images  number of image files
    names       digest of their names, without a folder that all of them share
    sizes       digest of their sizes in bytes
    sample      digest of the CRC-32s of up to 256 image files, evenly spread over the sorted names
    contents    digest of the CRC-32s of all image files; `None` for a folder, which has no index
    labels      digest of the labels; `None` if they are not used
    pixels      digest of the pixels, see `data.dataset_info`; missing if it is unknown

A dataset keeps its fingerprint when it is moved, copied, touched, zipped, unpacked, or zipped again
with other compression. A replaced image is always noticed in a ZIP, whose index has the checksums
of all files. In a folder it is noticed if its name or size differs, or if it belongs to the sample:
reading all images of a folder can take hours.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import reading
from dnnlib import heartbeat

VERSION = 1
SAMPLE_SIZE = 256  # image files of a folder whose contents are read

Fingerprint = dict[str, Any]


def of_archive(
    names: Sequence[str], sizes: np.ndarray, crcs: np.ndarray, labels: np.ndarray | None = None
) -> Fingerprint:
    """The fingerprint of image files in a ZIP, from its index alone.

    Args:
        names: Names of the image files relative to the dataset, with `/` between the parts.
        sizes: Uncompressed sizes of the files in bytes, `[N]`.
        crcs: CRC-32s of the files, `[N]`.
        labels: As for `of_folder`.
    """
    return _describe(names, sizes, lambda i: int(crcs[i]), labels, is_indexed=True)


def of_folder(folder: Path, names: Sequence[str], labels: np.ndarray | None = None) -> Fingerprint:
    """The fingerprint of image files below a folder; reads at most `SAMPLE_SIZE` of them.

    Args:
        folder: The dataset.
        names: Names of the image files relative to the folder, with `/` between the parts.
        labels: Labels of the images in the order of `names`, class numbers `[N]` or vectors
            `[N, label_dim]`; `None` if labels are not used.

    Raises:
        OSError: If a file cannot be read.
    """
    parent = os.fspath(folder)
    sizes = np.fromiter((_size_of_file(f"{parent}/{name}") for name in names), np.int64)
    return _describe(names, sizes, lambda i: _crc_of_file(folder / names[i]), labels)


def differences(saved: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    """Describe how the dataset `now` differs from the dataset `saved`.

    Args:
        saved: A fingerprint from a file, which may hold anything.
        now: The fingerprint of the present dataset.

    Returns:
        Phrases such as `"7 images, not 20"` or `"other labels"`. The list is empty if no difference
        is known, and always if a fingerprint `is_unknown`.
    """
    if saved is None or now is None or is_unknown(saved) or is_unknown(now):
        return []
    found = []
    if saved["num_images"] != now["num_images"]:
        found.append(f"{now['num_images']} images, not {saved['num_images']}")
    elif saved["names"] != now["names"]:
        found.append("other names of images")
    elif any(_differ(saved, now, key) for key in ("sizes", "sample", "contents")):
        found.append("other contents of images")
    if _differ(saved, now, "labels"):
        found.append("other labels")
    return found


def short(fingerprint: Mapping[str, Any] | None) -> str | None:
    """Twelve digits for records, equal for a folder and a ZIP of it; `None` if unknown.

    Labels do not count.
    """
    if fingerprint is None or is_unknown(fingerprint):
        return None
    parts = [str(fingerprint[key]) for key in ("num_images", "names", "sizes", "sample")]
    return _digest(" ".join(parts).encode())[:12]


def pixels(fingerprint: Mapping[str, Any] | None) -> str | None:
    """Twelve digits for records, equal for equal pixels in any files; `None` if unknown."""
    found = None if fingerprint is None else fingerprint.get("pixels")
    return found[:12] if isinstance(found, str) else None


def is_unknown(fingerprint: Any) -> bool:
    """Whether this is no fingerprint, or has a version that this code cannot compare."""
    if not isinstance(fingerprint, Mapping):
        return True
    num_images = fingerprint.get("num_images")
    digests = [fingerprint.get(key) for key in ("names", "sizes", "sample")]
    others = [fingerprint.get(key) for key in ("contents", "labels")]
    return (
        fingerprint.get("version") != VERSION
        or not isinstance(num_images, int)
        or not 0 <= num_images < 2**63
        or not all(isinstance(digest, str) for digest in digests)
        or not all(isinstance(digest, (str, type(None))) for digest in others)
    )


def _describe(
    names: Sequence[str],
    sizes: np.ndarray,
    crc_of: Callable[[int], int],
    labels: np.ndarray | None,
    is_indexed: bool = False,
) -> Fingerprint:
    num = len(names)
    order = sorted(range(num), key=names.__getitem__)
    sample = (
        [order[i * num // SAMPLE_SIZE] for i in range(SAMPLE_SIZE)] if num > SAMPLE_SIZE else order
    )
    # A ZIP of a folder may have the name of the folder in front of all names.
    ends = [names[i] for i in (order[0], order[-1])] if num else [""]
    shared = len(os.path.commonprefix(ends).rpartition("/")[0])  # noqa: RUF071 - then cut at /
    text = "\0".join(names[i][shared:].lstrip("/") for i in order)
    return dict(
        version=VERSION,
        num_images=num,
        names=_digest(text.encode("utf-8", "surrogateescape")),  # names of files need not be text
        sizes=_digest(np.asarray(sizes)[order].astype("<i8").tobytes()),
        sample=_digest_of_crcs(crc_of, sample),
        contents=_digest_of_crcs(crc_of, order) if is_indexed else None,
        labels=None if labels is None else _digest_of_labels(labels, order),
    )


def _size_of_file(path: str) -> int:
    heartbeat.beat()  # a million files take minutes, and other processes wait
    return os.path.getsize(path)


def _crc_of_file(path: Path) -> int:
    heartbeat.beat()
    try:
        return zlib.crc32(reading.read_file(path))
    except reading.UnusableImage as error:
        raise OSError(f"{path} {error}") from error


def _digest_of_crcs(crc_of: Callable[[int], int], indices: list[int]) -> str:
    return _digest(np.fromiter(map(crc_of, indices), "<u4", len(indices)).tobytes())


def _digest_of_labels(labels: np.ndarray, order: list[int]) -> str:
    labels = np.ascontiguousarray(labels[order])
    labels = labels.astype(labels.dtype.newbyteorder("<"))
    return _digest(f"{labels.dtype.str} {labels.shape} ".encode() + labels.tobytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _differ(saved: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    """Whether both have a value for `key`, and the values differ."""
    return None not in (saved.get(key), now.get(key)) and saved[key] != now[key]
