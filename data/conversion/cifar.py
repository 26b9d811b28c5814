"""Read CIFAR-10's Python version (pickled batches in a compressed tar) without running code."""

import io
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from data.reading import shorten
from dnnlib.errors import InputError
from dnnlib.restricted_arrays import AnyProtocolUnpickler

FILE_NAME = "cifar-10-python.tar.gz"
NUM_BATCHES = 5  # of training images
BATCHES = [f"data_batch_{i}" for i in range(1, NUM_BATCHES + 1)]
MAX_BATCH_BYTES = 2**26  # twice the size of a true batch
MAX_TAR_BYTES = 2**29  # three times the size of the true archive
MAX_HEADER_BYTES = 2**16  # of long names and the like


def read(path: Path) -> list[tuple[np.ndarray, int]]:
    """The training images, uint8 `[32, 32, 3]`, with their classes, batch after batch.

    Raises:
        ValueError: If the file is damaged, or is another file.
    """
    try:
        batches = _read_batches(path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"--source={path}: cannot be read ({shorten(error)}); is the download complete?"
        ) from error
    images: list[tuple[np.ndarray, int]] = []
    for name in BATCHES:
        if name not in batches:
            raise InputError(f"--source={path}: the archive has no {name}; is it CIFAR-10's?")
        pixels, labels = parse_batch(batches[name], f"--source={path}: {name}")
        images += zip(pixels, labels, strict=True)
    return images


def parse_batch(data: bytes, where: str) -> tuple[np.ndarray, list[int]]:
    """Pixels `[N, 32, 32, 3]` and classes of one batch.

    Raises:
        ValueError: If the pickle holds anything but such arrays and classes.
    """
    try:
        # A true batch has 4 instructions per 3072 bytes.
        batch = AnyProtocolUnpickler(io.BytesIO(data), 1000 + len(data) // 100).load()
    except Exception as error:  # damaged pickles can raise anything
        raise InputError(f"{where} is no batch of CIFAR-10 ({shorten(error)})") from error
    batch = batch if isinstance(batch, dict) else {}
    pixels, labels = (batch.get(key, batch.get(key.decode())) for key in (b"data", b"labels"))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise InputError(f"{where} is no batch of CIFAR-10 (it has no array of pixels)")
    if pixels.shape[1] != 3 * 32 * 32 or not isinstance(labels, list):
        raise InputError(f"{where} is no batch of CIFAR-10 (no 32x32 images with classes)")
    if len(labels) != len(pixels) or not all(type(x) is int and 0 <= x < 10 for x in labels):
        raise InputError(f"{where} is no batch of CIFAR-10 (its labels are not 0 to 9)")
    return np.asarray(pixels).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _read_batches(path: Path) -> dict[str, bytes]:
    """Read the batches, by the last part of their names. Nothing is unpacked to disk.

    The tar is read once from front to end, and not beyond `MAX_TAR_BYTES`.
    """
    batches = {}
    total = 0
    with tarfile.open(path, "r|gz", tarinfo=_BoundedInfo) as archive:
        for member in archive:
            total += member.size
            if total > MAX_TAR_BYTES:
                raise tarfile.TarError(f"it unpacks to more than {MAX_TAR_BYTES >> 20} MB")
            name = member.name.rpartition("/")[2]
            if not member.isreg() or name not in BATCHES:
                continue
            if member.size > MAX_BATCH_BYTES:
                raise tarfile.TarError(f"{name} unpacks to {member.size} bytes")
            content = archive.extractfile(member)
            assert content is not None  # because it is a regular file
            batches[name] = content.read()
    return batches


_TarInfo: Any = tarfile.TarInfo  # its annotations leave out `_proc_member`


class _BoundedInfo(_TarInfo):
    """A member of bounded size: tarfile reads long names, which are members too, into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:  # called for every member
        if not self.isreg() and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)
