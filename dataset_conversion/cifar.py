"""CIFAR-10 in its Python version: pickled batches in a compressed tar, read without trusting it."""

import io
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

FILE_NAME = "cifar-10-python.tar.gz"
NUM_BATCHES = 5  # of training images
MAX_BATCH_BYTES = 2**28  # nine times the size of a true one
MAX_TAR_BYTES = 2**31


def read(path: Path) -> list[tuple[np.ndarray, int]]:
    """The training images, uint8 `[32, 32, 3]`, with their classes, batch after batch.

    Raises:
        ValueError: If the file is something else or damaged.
    """
    try:
        batches = _read_batches(path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(
            f"--source={path}: cannot be read ({error}); is the download complete?"
        ) from error
    images = []
    for i in range(1, NUM_BATCHES + 1):
        name = f"data_batch_{i}"
        if name not in batches:
            raise ValueError(f"--source={path}: there is no {name} in it; is it CIFAR-10's?")
        pixels, labels = parse_batch(batches[name], f"--source={path}: {name}")
        images += zip(pixels, labels, strict=True)
    return images


def parse_batch(data: bytes, where: str) -> tuple[np.ndarray, list[int]]:
    """Pixels `[N, 32, 32, 3]` and classes of one batch.

    Raises:
        ValueError: If the pickle holds anything else, or asks for anything but arrays.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # damaged pickles can raise anything
        raise ValueError(f"{where} is no batch of CIFAR-10 ({error})") from error
    batch = batch if isinstance(batch, dict) else {}
    pixels, labels = (batch.get(key, batch.get(key.decode())) for key in (b"data", b"labels"))
    if isinstance(pixels, _Array):
        pixels = pixels.value
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"{where} is no batch of CIFAR-10 (it has no array of pixels)")
    if pixels.shape[1] != 3 * 32 * 32 or not isinstance(labels, list):
        raise ValueError(f"{where} is no batch of CIFAR-10 (no 32x32 images with classes)")
    if len(labels) != len(pixels) or not all(type(x) is int and 0 <= x < 10 for x in labels):
        raise ValueError(f"{where} is no batch of CIFAR-10 (its labels are not 0 to 9)")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _read_batches(path: Path) -> dict[str, bytes]:
    """The members that are batches, by the last part of their names; nothing is unpacked to disk.

    The tar is read once from front to end, and not beyond a size that it cannot have.
    """
    batches = {}
    total = 0
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            total += member.size
            if total > MAX_TAR_BYTES:
                raise tarfile.TarError(f"it unpacks to more than {MAX_TAR_BYTES >> 20} MB")
            name = member.name.rpartition("/")[2]
            if not member.isreg() or not name.startswith("data_batch_"):
                continue
            if member.size > MAX_BATCH_BYTES:
                raise tarfile.TarError(f"{name} unpacks to {member.size} bytes")
            batches[name] = archive.extractfile(member).read()
    return batches


class _ArrayUnpickler(pickle._Unpickler):
    """Makes plain data and arrays of bytes. Everything else that a pickle may name is refused.

    In Python, because the implementation in C can be made to use up all memory, and sets states as
    the pickle says.
    """

    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def _load_bytearray8(self) -> None:
        # Python's own way reserves as much memory as it is told to.
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(min(size, MAX_BATCH_BYTES)))

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8

    def _load_build(self) -> None:
        state = self.stack.pop()
        obj = self.stack[-1]
        if not isinstance(obj, (_Array, _Dtype)):
            raise pickle.UnpicklingError(f"it changes a {type(obj).__name__}")
        obj.set_state(state)

    dispatch[pickle.BUILD[0]] = _load_build


class _Dtype:
    """Stands for `numpy.dtype`; the pixels are bytes."""

    def __init__(self, code: Any, *ignored: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it has an array of {code!r}")

    def set_state(self, state: Any) -> None:
        """The order of bytes, which does not matter to single ones."""


class _Array:
    """Stands for `numpy.ndarray`."""

    value: np.ndarray | None = None

    def __init__(self, *ignored: Any) -> None:
        """Arguments for the empty array that gets its contents later."""

    def set_state(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("it has an array of something else than bytes")
        self.value = np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """How protocol 5 writes arrays."""
    array = _Array()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def _bytes_of_text(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it encodes bytes as {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): object(),  # is only named
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _bytes_of_text,
}
for _core in ("numpy.core", "numpy._core"):  # before and after NumPy 2
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Array
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _array_from_buffer
