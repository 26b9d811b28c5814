"""Random access to the members of a ZIP, from many processes and threads at once."""

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dnnlib.errors import InputError

LOCAL_HEADER_SIZE = 30  # fixed part; the name and the extra field follow
MAX_COMMENT_SIZE = 2**16 - 1

# The records of the format's specification (PKWARE's APPNOTE.TXT), all little-endian.
END_RECORD = struct.Struct("<4s4H2LH")
END_LOCATOR_64 = struct.Struct("<4sLQL")
END_RECORD_64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL_HEADER = np.dtype([
    ("signature", "S4"), ("made_by", "<u2"), ("needed", "<u2"), ("flags", "<u2"),
    ("method", "<u2"), ("time", "<u4"), ("crc", "<u4"), ("compressed_size", "<u4"),
    ("size", "<u4"), ("name_size", "<u2"), ("extra_size", "<u2"), ("comment_size", "<u2"),
    ("disk", "<u2"), ("internal", "<u2"), ("external", "<u4"), ("offset", "<u4"),
])  # fmt: skip
IS_ENCRYPTED, IS_UTF8 = 1 << 0, 1 << 11
STORED, DEFLATED = 0, 8
IN_EXTRA_FIELD = 2**32 - 1  # a size or an offset that takes 64 bits


class Member(NamedTuple):
    """Where the bytes of one file lie in the archive."""

    offset: int  # of the local header
    compressed_size: int
    size: int
    crc: int
    is_deflated: bool


class ZipArchive:
    """Read-only ZIP whose index is parsed once and travels with the object.

    The index is a few arrays, 21 bytes for each file, and a list of names. Forked processes share
    the index; pickling copies it and drops the file handle. In both cases
    another process only opens the file and does not parse the index again. Each read gives its
    position (`pread`), so threads may share an object.

    If several files have the same name, the last one counts, as in other programs.

    Attributes:
        names: Files only, in the archive's order.
        sizes: Uncompressed sizes of the files in bytes, int64 `[N]`.
        crcs: CRC-32s of the files, uint32 `[N]`.
        directory_digest: Hash of the index, which changes with every file.

    Raises:
        OSError: If `path` cannot be read, is no ZIP, is damaged or holds encrypted members.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None
        self._file_pid: int | None = None
        with open(self.path, "rb") as file:
            try:
                directory, shift = _read_central_directory(file)
                headers, names, wide = _parse_central_directory(directory)
            except (ValueError, struct.error, UnicodeDecodeError) as error:
                raise OSError(
                    f"{self.path}: no readable ZIP archive ({error}); is the download or copy"
                    " complete?"
                ) from error
            archive_size = file.seek(0, os.SEEK_END)
        if not any("/" in name for name in names):  # some programs for Windows write \\
            names = [name.replace("\\", "/") for name in names]
        last_of_name = {name: i for i, name in enumerate(names) if not name.endswith("/")}
        rows = np.fromiter(last_of_name.values(), np.int64, len(last_of_name))
        self.names: list[str] = list(last_of_name)
        self._check(headers[rows])
        self._offsets = wide["offset"][rows] + shift
        self._compressed_sizes, self._sizes = wide["compressed_size"][rows], wide["size"][rows]
        self._crcs = headers["crc"][rows]
        self.directory_digest = hashlib.sha256(directory).hexdigest()
        self._is_deflated = headers["method"][rows] == DEFLATED
        outside = self._offsets + LOCAL_HEADER_SIZE + self._compressed_sizes > archive_size
        outside |= (self._offsets < 0) | (self._compressed_sizes < 0) | (self._sizes < 0)
        if outside.any():
            name = self.names[int(outside.argmax())]
            raise OSError(f"{self.path}: {name!r} ends outside the archive; is it complete?")

    @cached_property
    def position(self) -> dict[str, int]:
        """The index in `names` of each name."""
        return {name: i for i, name in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name in self.position

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes

    @property
    def crcs(self) -> np.ndarray:
        return self._crcs

    def member(self, index: int) -> Member:
        """The file `names[index]`."""
        return Member(
            int(self._offsets[index]),
            int(self._compressed_sizes[index]),
            int(self._sizes[index]),
            int(self._crcs[index]),
            bool(self._is_deflated[index]),
        )

    def size_of(self, index: int) -> int:
        """Uncompressed size of `names[index]` in bytes, as the archive states it."""
        return int(self._sizes[index])

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            KeyError: If the archive has no member of this name.
            OSError: If the member is damaged.
        """
        return self.read_at(self.position[name])

    def read_at(self, index: int, check: bool = True) -> bytes:
        """The content of `names[index]`; `check=False` ignores its checksum.

        Raises:
            OSError: If the member is damaged.
        """
        return _read(self._pread, self.member(index), f"{self.path}: {self.names[index]!r}", check)

    def read_start(self, index: int, size: int) -> bytes:
        """The first bytes of `names[index]`, unchecked; a compressed member can give fewer.

        Raises:
            OSError: If the header of the member is damaged.
        """
        member = self.member(index)
        start = _content_offset(self._pread, member, f"{self.path}: {self.names[index]!r}")
        data = self._pread(start, min(size, member.compressed_size))
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data) if member.is_deflated else data

    def close(self) -> None:
        """Close this process's handle; the next read opens it again."""
        if self._file is not None and self._file_pid == os.getpid():
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict:
        state = {**self.__dict__, "_file": None, "_file_pid": None}
        state.pop("position", None)
        return state

    def _pread(self, offset: int, size: int) -> bytes:
        if not hasattr(os, "pread"):  # Windows
            with open(self.path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        if self._file is None or self._file_pid != os.getpid():
            # Stays open until `close()` or the end of the object: network file systems open slowly.
            # A forked process opens its own handle.
            self._file = open(self.path, "rb")  # noqa: SIM115
            self._file_pid = os.getpid()
        return os.pread(self._file.fileno(), size, offset)

    def _check(self, headers: np.ndarray) -> None:
        is_encrypted = headers["flags"] & IS_ENCRYPTED != 0
        if is_encrypted.any():
            name = self.names[int(is_encrypted.argmax())]
            raise OSError(f"{self.path}: {name!r} is encrypted; unpack and zip it again")
        is_unusual = ~np.isin(headers["method"], (STORED, DEFLATED))
        if is_unusual.any():
            name = self.names[int(is_unusual.argmax())]
            raise OSError(
                f"{self.path}: {name!r} uses an unusual compression method;"
                " unpack the archive and zip it again (zip -0)"
            )


def read_member(path: str | os.PathLike, member: Member) -> bytes:
    """The content of one member, for processes that do not have the archive's index.

    Raises:
        OSError: If the member is damaged.
    """
    with open(path, "rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        return _read(read_at, member, f"{path}: a member")


def _read_central_directory(file: BinaryIO) -> tuple[bytes, int]:
    """The bytes of the index, and the position in the file at which the archive starts."""
    file_size = file.seek(0, os.SEEK_END)
    start = max(file_size - END_RECORD.size - MAX_COMMENT_SIZE, 0)
    file.seek(start)
    tail = file.read()
    at = _find_end_record(tail)
    end = start + at
    # `size` and `offset` of the index; in large archives, the record for 64 bits has them.
    _, disk, _, _, _, size, offset, _ = END_RECORD.unpack_from(tail, at)
    if disk not in (0, 2**16 - 1):
        raise InputError("it is one of several volumes")
    if end >= END_LOCATOR_64.size:
        file.seek(end - END_LOCATOR_64.size)
        locator = END_LOCATOR_64.unpack(file.read(END_LOCATOR_64.size))
        if locator[0] == b"PK\x06\x07":
            end = end - END_LOCATOR_64.size - END_RECORD_64.size
            file.seek(max(end, 0))
            record = END_RECORD_64.unpack(file.read(END_RECORD_64.size))
            if record[0] != b"PK\x06\x06":
                raise InputError("its end is damaged")
            *_, size, offset = record
    # The index ends where the end records start. Offsets count from the start of the archive, and
    # self-extracting archives have a program in front.
    shift = end - size - offset
    if shift < 0:
        raise InputError("its beginning is missing")
    file.seek(end - size)
    return file.read(size), shift


def _find_end_record(tail: bytes) -> int:
    """The position of the last record. Its comment, which ends the file, can hold any bytes."""
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if at + END_RECORD.size <= len(tail):
            *_, comment_size = END_RECORD.unpack_from(tail, at)
            if at + END_RECORD.size + comment_size <= len(tail):
                return at
    raise InputError("its end is missing")


def _parse_central_directory(
    directory: bytes,
) -> tuple[np.ndarray, Sequence[str], dict[str, np.ndarray]]:
    """Headers and names of all entries, and the fields that can have 64 bits."""
    # Python only steps from entry to entry; NumPy takes the fields of all entries at once.
    starts = []
    pos = 0
    unpack_sizes = struct.Struct("<3H").unpack_from
    while pos + CENTRAL_HEADER.itemsize <= len(directory):
        name_size, extra_size, comment_size = unpack_sizes(directory, pos + 28)
        starts.append(pos)
        pos += CENTRAL_HEADER.itemsize + name_size + extra_size + comment_size
    if pos != len(directory):
        raise InputError("its index is damaged")
    headers = np.zeros(0, CENTRAL_HEADER)
    if starts:
        windows = sliding_window_view(np.frombuffer(directory, np.uint8), CENTRAL_HEADER.itemsize)
        headers = windows[np.array(starts)].view(CENTRAL_HEADER)[:, 0]
    if (headers["signature"] != b"PK\x01\x02").any():
        raise InputError("its index is damaged")

    names = []
    is_utf8 = (headers["flags"] & IS_UTF8 != 0).tolist()
    for start, size, is_flagged in zip(starts, headers["name_size"].tolist(), is_utf8, strict=True):
        start += CENTRAL_HEADER.itemsize
        name = _decode_name(directory[start : start + size], is_flagged)
        names.append(name.partition("\0")[0])

    wide = {key: headers[key].astype(np.int64) for key in ("size", "compressed_size", "offset")}
    is_wide = np.any([values == IN_EXTRA_FIELD for values in wide.values()], axis=0)
    for row in np.flatnonzero(is_wide):
        start = starts[row] + CENTRAL_HEADER.itemsize + int(headers["name_size"][row])
        extra = directory[start : start + int(headers["extra_size"][row])]
        _read_wide_fields(extra, wide, row)
    return headers, names, wide


def _decode_name(name: bytes, is_utf8: bool) -> str:
    """The name of a member: UTF-8 if possible, since macOS does not set the flag, or else cp437.

    Raises:
        UnicodeDecodeError: If the flag says UTF-8, and the name is not UTF-8.
    """
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        if is_utf8:
            raise
        return name.decode("cp437")


def _read_wide_fields(extra: bytes, wide: dict[str, np.ndarray], row: int) -> None:
    """Fill in fields of an entry that need 64 bits, from its extra field (kind 1)."""
    pos = 0
    while pos + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, pos)
        if kind == 1:
            values = extra[pos + 4 : pos + 4 + size]
            for key in ("size", "compressed_size", "offset"):
                if wide[key][row] == IN_EXTRA_FIELD:
                    (value,) = struct.unpack_from("<q", values)
                    wide[key][row], values = value, values[8:]
            return
        pos += 4 + size
    raise InputError("its index lacks the size of a large file")


def _content_offset(read_at: Callable[[int, int], bytes], member: Member, what: str) -> int:
    header = read_at(member.offset, LOCAL_HEADER_SIZE)
    if len(header) < LOCAL_HEADER_SIZE or header[:4] != b"PK\x03\x04":
        raise OSError(f"{what} has a damaged header")
    name_size, extra_size = struct.unpack_from("<HH", header, 26)
    return member.offset + LOCAL_HEADER_SIZE + name_size + extra_size


def _read(
    read_at: Callable[[int, int], bytes], member: Member, what: str, check: bool = True
) -> bytes:
    data = read_at(_content_offset(read_at, member, what), member.compressed_size)
    if member.is_deflated:
        try:
            # One byte more than announced is enough to notice that a member unpacks to more.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        except zlib.error as error:
            raise OSError(f"{what} is damaged ({error})") from error
    if len(data) != member.size or (check and zlib.crc32(data) != member.crc):
        raise OSError(f"{what} is damaged (size or checksum differs)")
    return data
