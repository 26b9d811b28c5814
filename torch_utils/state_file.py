"""Check files of `torch.save` with tensors and plain data, before PyTorch reads them.

`torch.load(weights_only=True)` runs no code, but follows every instruction of the pickle in the
file, and a few bytes can cause hours of work. Here the same pickle is read first, with limits and
without the tensors' data.
"""

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch

from dnnlib.errors import InputError
from dnnlib.restricted_arrays import ArrayUnpickler
from torch_utils import restricted_tensors
from torch_utils.restricted_tensors import (
    NUM_OLD_PICKLES,
    Storage,
    StorageUnpickler,
    TensorUnpickler,
)

OLD_MAGIC = restricted_tensors.OLD_MAGIC.to_bytes(10, "little")
MAX_PICKLE_BYTES = 64 << 20  # of the pickle alone, without tensors
MAX_INSTRUCTIONS = 2_000_000  # a run of a thousand processes needs half of them


def is_old_format(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `torch.save` before PyTorch 1.6."""
    return OLD_MAGIC in head[:32]


def outline(path: str | os.PathLike, max_instructions: int = MAX_INSTRUCTIONS) -> Any:
    """Read the contents of a file of `torch.save`, in either format, with meta tensors.

    Args:
        path: The file.
        max_instructions: Refuse a file whose pickle has more instructions.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, compressed, or requests more time or memory than a file of
            its size can need. The checksums of an archive are verified, too.
    """
    try:
        with Path(path).open("rb") as f:
            is_archive = f.read(4) == b"PK\x03\x04"  # PyTorch decides by the same bytes
            f.seek(0)
            read = _outline_of_archive if is_archive else _outline_of_old_format
            return read(f, max_instructions)
    except (OSError, ValueError):
        raise
    except Exception as error:  # damaged bytes can make both readers raise anything
        raise InputError(str(error).partition("\n")[0] or type(error).__name__) from error


def _outline_of_archive(f: BinaryIO, max_instructions: int) -> Any:
    num_bytes = os.fstat(f.fileno()).st_size
    with zipfile.ZipFile(f) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise InputError("its parts are compressed, which PyTorch does not do")
        if sum(member.file_size for member in members) > num_bytes:
            raise InputError("its parts are larger than the file")
        if (damaged := archive.testzip()) is not None:  # PyTorch does not look at the checksums
            raise InputError(f"in {damaged}")
        # PyTorch's reader takes upper and lower case for the same.
        (index,) = (m for m in members if m.filename.rpartition("/")[2].lower() == "data.pkl")
        if index.file_size > MAX_PICKLE_BYTES:
            raise InputError("its description is larger than its tensors")
        sizes = {member.filename.rpartition("/data/")[2]: member.file_size for member in members}
        pickled = io.BytesIO(archive.read(index))
    return _OutlineUnpickler(pickled, max_instructions, lambda key, _: sizes.get(key)).load()


def _outline_of_old_format(f: BinaryIO, max_instructions: int) -> Any:
    """Read the five pickles before the numbers; the fourth is the contents."""
    num_left = os.fstat(f.fileno()).st_size  # PyTorch reserves memory before it looks for numbers
    sizes: dict[str, int] = {}

    def size_of(key: str, asked: int) -> int:
        nonlocal num_left
        if key not in sizes:
            sizes[key] = asked
            num_left -= asked
        return sizes[key] if num_left >= 0 else -1

    _, _, _, content, _ = (
        _OutlineUnpickler(f, max_instructions, size_of).load() for _ in range(NUM_OLD_PICKLES)
    )
    return content


class _OutlineUnpickler(TensorUnpickler):
    """Knows what a training state needs: containers, numbers, texts, and tensors.

    Args:
        f: The pickle.
        max_instructions: As for the base class.
        size_of: Returns the bytes that the file has for a storage, by its key. Its second argument
            is the number of bytes that the pickle asks for.
    """

    allowed: ClassVar[Mapping[tuple[str, str], Any]] = {
        **StorageUnpickler.allowed,
        **restricted_tensors.STATE_DICT_NAMES,
        ("_codecs", "encode"): ArrayUnpickler.allowed["_codecs", "encode"],
    }

    def __init__(
        self, f: BinaryIO, max_instructions: int, size_of: Callable[[str, int], int | None]
    ) -> None:
        super().__init__(f, max_instructions)
        self._size_of = size_of

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, num, *view = pid  # the old format has a sixth part, which is None
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(num) is not int:
            raise InputError("it has a tensor of an unknown format")
        if num < 0 or any(part is not None for part in view):
            raise InputError("it has a tensor of an unknown format")
        num_bytes = num * dtype.itemsize
        if not isinstance(key, str) or self._size_of(key, num_bytes) != num_bytes:
            raise InputError("it has a tensor that is larger or smaller than its data")
        return Storage(torch.empty(num, dtype=dtype, device="meta"))
