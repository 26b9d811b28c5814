"""What `torch.save` wrote of tensors and plain data, looked over before PyTorch reads it.

`torch.load(weights_only=True)` runs no code, but does all the work that the pickle in the file asks
for. This reads the same pickle first, with the limits of `unpickler` and without the numbers.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch

from dnnlib.errors import InputError
from network_files.torch_file import OLD_MAGIC
from network_files.unpickler import _ALLOWED, LimitedUnpickler, Storage, StorageUnpickler

MAX_PICKLE_BYTES = 64 << 20  # of a file in which tensors are not counted
MAX_INSTRUCTIONS = 2_000_000  # a run of a thousand processes is half of it

_NAMES = (
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("_codecs", "encode"),
)


def outline(path: str | os.PathLike) -> Any:
    """The contents of a file of `torch.save`, in either of its formats, with meta tensors.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, compressed, or asks for more time or memory than a file of
            its size can need. Checksums have been compared.
    """
    try:
        return _outline(path)
    except (OSError, ValueError):
        raise
    except Exception as error:  # damaged bytes can make both readers raise anything
        raise InputError(str(error).partition("\n")[0] or type(error).__name__) from error


def _outline(path: str | os.PathLike) -> Any:
    with Path(path).open("rb") as f:
        if OLD_MAGIC in f.read(32):
            f.seek(0)
            return _outline_of_old_format(f)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise InputError("its parts are compressed, which PyTorch does not do")
        if sum(member.file_size for member in members) > os.path.getsize(path):
            raise InputError("its parts are larger than the file")
        if (damaged := archive.testzip()) is not None:  # PyTorch does not look at the checksums
            raise InputError(f"in {damaged}")
        (index,) = (m for m in members if m.filename.rpartition("/")[2] == "data.pkl")
        if index.file_size > MAX_PICKLE_BYTES:
            raise InputError("its description is larger than its tensors")
        sizes = {member.filename.rpartition("/data/")[2]: member.file_size for member in members}
        return _OutlineUnpickler(archive.read(index), sizes).load()


def _outline_of_old_format(f: BinaryIO) -> Any:
    """Five pickles before the numbers; `unpickler` reads the same format inside of pickles."""
    _, _, _, content, _ = (_OutlineUnpickler(f, os.fstat(f.fileno()).st_size) for _ in range(5))
    return content


class _OutlineUnpickler(LimitedUnpickler):
    """Knows what a training state needs: containers, numbers, texts, and tensors of an archive."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        **StorageUnpickler.allowed,
        **{name: _ALLOWED[name] for name in _NAMES},
    }

    def __init__(self, data: bytes, sizes: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(data), MAX_INSTRUCTIONS)
        self.sizes = sizes  # of the storages in the archive, in bytes

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, num = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(num) is not int:
            raise InputError("it has a tensor of an unknown format")
        if not isinstance(key, str) or self.sizes.get(key) != num * dtype.itemsize:
            raise InputError("it has a tensor that is larger or smaller than its data")
        return Storage(torch.empty(num, dtype=dtype, device="meta"))
