"""Random access to the members of a ZIP, from many processes and threads at once."""

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

LOCAL_HEADER_SIZE = 30  # fixed part; the name and the extra field follow


class Member(NamedTuple):
    """Where the bytes of one file lie in the archive."""

    offset: int  # of the local header
    compressed_size: int
    size: int
    crc: int
    is_deflated: bool


class ZipArchive:
    """Read-only ZIP whose index is parsed once and travels with the object.

    Pickling drops the file handle and a forked process opens its own, which costs one `open()`:
    only the first process pays for the index of a large archive. Reads name their position
    (`pread`), so threads may share an object.

    Raises:
        OSError: If `path` cannot be read, is no ZIP, is damaged or holds encrypted members.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.members: dict[str, Member] = {}  # files only, in the archive's order
        self._file: BinaryIO | None = None
        self._file_pid: int | None = None
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise OSError(
                f"{self.path}: no readable ZIP archive ({error}); is the download or copy complete?"
            ) from error
        for info in infos:
            self._check(info)
            self.members[info.filename] = Member(
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type == zipfile.ZIP_DEFLATED,
            )

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            KeyError: If there is no such member.
            OSError: If its bytes are damaged.
        """
        return _read(self._read_at, self.members[name], f"{self.path}: {name!r}")

    def read_start(self, name: str, size: int) -> bytes:
        """The first bytes of a member, unchecked and perhaps fewer than `size` if it is compressed.

        Raises:
            KeyError: If there is no such member.
            OSError: If its header is damaged.
        """
        member = self.members[name]
        start = _content_offset(self._read_at, member, f"{self.path}: {name!r}")
        data = self._read_at(start, min(size, member.compressed_size))
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data) if member.is_deflated else data

    def close(self) -> None:
        """Close this process's handle; the next read opens it again."""
        if self._file is not None and self._file_pid == os.getpid():
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_file_pid": None}

    def _read_at(self, offset: int, size: int) -> bytes:
        if not hasattr(os, "pread"):  # Windows
            with open(self.path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        if self._file is None or self._file_pid != os.getpid():
            # Kept open until `close()` or the end of the object: opening can be slow on networks.
            self._file = open(self.path, "rb")  # noqa: SIM115
            self._file_pid = os.getpid()
        return os.pread(self._file.fileno(), size, offset)

    def _check(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & 1:
            raise OSError(f"{self.path}: {info.filename!r} is encrypted; unpack and zip it again")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise OSError(
                f"{self.path}: {info.filename!r} uses an unusual compression method;"
                " unpack the archive and zip it again (zip -0)"
            )


def read_member(path: str | os.PathLike, member: Member) -> bytes:
    """The content of one member, for processes that do not have the archive's index.

    Raises:
        OSError: If its bytes are damaged.
    """
    with open(path, "rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        return _read(read_at, member, f"{path}: a member")


def _content_offset(read_at: Callable[[int, int], bytes], member: Member, what: str) -> int:
    header = read_at(member.offset, LOCAL_HEADER_SIZE)
    if len(header) < LOCAL_HEADER_SIZE or header[:4] != b"PK\x03\x04":
        raise OSError(f"{what} has a damaged header")
    name_size, extra_size = struct.unpack_from("<HH", header, 26)
    return member.offset + LOCAL_HEADER_SIZE + name_size + extra_size


def _read(read_at: Callable[[int, int], bytes], member: Member, what: str) -> bytes:
    data = read_at(_content_offset(read_at, member, what), member.compressed_size)
    if member.is_deflated:
        try:
            # One byte more than announced is enough to notice a member that lies about it.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        except zlib.error as error:
            raise OSError(f"{what} is damaged ({error})") from error
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise OSError(f"{what} is damaged (size or checksum differs)")
    return data
