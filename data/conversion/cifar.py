"""CIFAR-10 in its Python version: pickled batches in a compressed tar, read without trusting it."""

import io
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.reading import shorten
from dnnlib.errors import InputError

FILE_NAME = "cifar-10-python.tar.gz"
NUM_BATCHES = 5  # of training images
BATCHES = [f"data_batch_{i}" for i in range(1, NUM_BATCHES + 1)]
MAX_BATCH_BYTES = 2**26  # twice the size of a true one
MAX_TAR_BYTES = 2**29  # three times
MAX_HEADER_BYTES = 2**16  # of long names and the like


def read(path: Path) -> list[tuple[np.ndarray, int]]:
    """The training images, uint8 `[32, 32, 3]`, with their classes, batch after batch.

    Raises:
        ValueError: If the file is something else or damaged.
    """
    try:
        batches = _read_batches(path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"--source={path}: cannot be read ({shorten(error)}); is the download complete?"
        ) from error
    images = []
    for name in BATCHES:
        if name not in batches:
            raise InputError(f"--source={path}: there is no {name} in it; is it CIFAR-10's?")
        pixels, labels = parse_batch(batches[name], f"--source={path}: {name}")
        images += zip(pixels, labels, strict=True)
    return images


def parse_batch(data: bytes, where: str) -> tuple[np.ndarray, list[int]]:
    """Pixels `[N, 32, 32, 3]` and classes of one batch.

    Raises:
        ValueError: If the pickle holds anything else, or asks for anything but arrays.
    """
    try:
        batch = _ArrayUnpickler(data).load()
    except Exception as error:  # damaged pickles can raise anything
        raise InputError(f"{where} is no batch of CIFAR-10 ({shorten(error)})") from error
    batch = batch if isinstance(batch, dict) else {}
    pixels, labels = (batch.get(key, batch.get(key.decode())) for key in (b"data", b"labels"))
    if isinstance(pixels, _Array):
        pixels = pixels.value
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise InputError(f"{where} is no batch of CIFAR-10 (it has no array of pixels)")
    if pixels.shape[1] != 3 * 32 * 32 or not isinstance(labels, list):
        raise InputError(f"{where} is no batch of CIFAR-10 (no 32x32 images with classes)")
    if len(labels) != len(pixels) or not all(type(x) is int and 0 <= x < 10 for x in labels):
        raise InputError(f"{where} is no batch of CIFAR-10 (its labels are not 0 to 9)")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _read_batches(path: Path) -> dict[str, bytes]:
    """The members that are batches, by the last part of their names; nothing is unpacked to disk.

    The tar is read once from front to end, and not beyond a size that it cannot have.
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
            batches[name] = archive.extractfile(member).read()
    return batches


class _BoundedInfo(tarfile.TarInfo):
    """A member. Those that hold names for the next member are read into memory as a whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:  # where all kinds part
        if not self.isreg() and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)


class _ArrayUnpickler(pickle._Unpickler):
    """Makes plain data and arrays of bytes. Everything else that a pickle may ask for is refused.

    In Python, because the implementation in C can be made to use up all memory, and sets states as
    the pickle says. What instructions may do is limited, so that time and memory stay in proportion
    to the size of the batch.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.dispatch = _Handlers(1000 + len(data) // 100)  # a true batch has 4 per 3072 bytes
        self.num_characters_left = len(data)  # that calls may copy

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def read_bytearray(self) -> None:
        # Python's own way reserves as much memory as it is told to.
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(min(size, MAX_BATCH_BYTES)))

    def call(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if function not in _ALLOWED.values() or not isinstance(args, tuple) or len(args) > 4:
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        self.num_characters_left -= sum(len(item) for item in args if isinstance(item, str))
        if self.num_characters_left < 0:
            raise pickle.UnpicklingError("it copies the same text over and over")
        self.stack[-1] = function(*args)

    def set_state(self) -> None:
        state = self.stack.pop()
        obj = self.stack[-1]
        if not isinstance(obj, (_Array, _Dtype)):
            raise pickle.UnpicklingError(f"it changes a {type(obj).__name__}")
        obj.set_state(state)

    def make_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def set_items(self) -> None:
        self._set_items(self.pop_mark())

    def append_one(self) -> None:
        self._append_items([self.stack.pop()])

    def append_many(self) -> None:
        self._append_items(self.pop_mark())

    def _append_items(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError(f"it changes a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def _set_items(self, items: list) -> None:
        if type(self.stack[-1]) is not dict:
            raise pickle.UnpicklingError(f"it changes a {type(self.stack[-1]).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, bytes):  # the hash of tuples in tuples can take for ever
                raise pickle.UnpicklingError(f"it has a {type(key).__name__} as a key")
            self.stack[-1][key] = value


# What any version of Python writes for such data, in any protocol.
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    LIST EMPTY_LIST EMPTY_DICT GLOBAL STACK_GLOBAL
"""
_HANDLERS: dict[int, Callable[[_ArrayUnpickler], None]] = {
    **{code: pickle._Unpickler.dispatch[code] for code in (
        getattr(pickle, name)[0] for name in _INSTRUCTIONS.split()
    )},
    pickle.BYTEARRAY8[0]: _ArrayUnpickler.read_bytearray,
    pickle.REDUCE[0]: _ArrayUnpickler.call,
    pickle.BUILD[0]: _ArrayUnpickler.set_state,
    pickle.DICT[0]: _ArrayUnpickler.make_dict,
    pickle.SETITEM[0]: _ArrayUnpickler.set_item,
    pickle.SETITEMS[0]: _ArrayUnpickler.set_items,
    pickle.APPEND[0]: _ArrayUnpickler.append_one,
    pickle.APPENDS[0]: _ArrayUnpickler.append_many,
}  # fmt: skip


class _Handlers:
    """What to do for each instruction, for a limited number of them."""

    def __init__(self, num_instructions: int) -> None:
        self.num_left = num_instructions

    def __getitem__(self, code: int) -> Callable[[_ArrayUnpickler], None]:
        self.num_left -= 1
        if self.num_left < 0:
            raise pickle.UnpicklingError("it has far more instructions than pixels")
        if code not in _HANDLERS:
            raise pickle.UnpicklingError(f"it has the instruction {bytes([code])!r}")
        return _HANDLERS[code]


class _Dtype:
    """Stands for `numpy.dtype`; the pixels are bytes."""

    def __init__(self, code: Any, *ignored: Any) -> None:
        if code not in ("u1", b"u1"):
            # The text of tuples in tuples can take for ever.
            kind = repr(code) if isinstance(code, (str, bytes)) else type(code).__name__
            raise pickle.UnpicklingError(f"it has an array of {kind}")

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
        raise pickle.UnpicklingError("it has bytes in another encoding than Latin-1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): object(),  # is only named
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _bytes_of_text,
}
for _core in ("numpy.core", "numpy._core"):  # before and after NumPy 2
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Array
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _array_from_buffer
