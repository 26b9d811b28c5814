"""State dicts of `torch.save`, looked over before PyTorch reads them.

`torch.load(weights_only=True)` runs no code, but does all the work that the pickle in the file asks
for, and a few bytes can ask for hours. State dicts need little: texts, sizes, the names of a few
functions, and of all tuples and lists each is used once. Whatever keeps to that takes time in
proportion to its size.
"""

import io
import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

# A number at the beginning of what `torch.save` wrote before PyTorch 1.6.
OLD_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
NUM_OLD_PICKLES = 5  # magic number, version, facts of the system, contents, keys of what follows
MAX_INSTRUCTIONS = 300_000  # InceptionV3 has 20 000

_REUSABLE = {"BINUNICODE", "GLOBAL", "REDUCE"}  # texts, functions, tensors
_PUT, _GET = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
_INSTRUCTIONS = {
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "BINPERSID", "BUILD", "LONG1"),
    *_REUSABLE,
    *_PUT,
    *_GET,
}
_NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(
        f"torch {kind}Storage"
        for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Bool")
    ),
}


def is_old_format(head: bytes) -> bool:
    """Whether a file that begins with `head` is of `torch.save` before PyTorch 1.6."""
    return OLD_MAGIC in head[:32]


def check(path: Path) -> None:
    """Refuse a file that asks for more than a state dict of its size.

    Args:
        path: A file of `torch.save`, an archive or in the old format.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, compressed, or holds something else.
    """
    with path.open("rb") as f:
        if not zipfile.is_zipfile(f):
            f.seek(0)
            for _ in range(NUM_OLD_PICKLES):
                _check_pickle(f)
            return
        with zipfile.ZipFile(f) as archive:
            members = archive.infolist()
            # PyTorch compresses no state dicts.
            is_packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if is_packed or sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("it is compressed, which state dicts of PyTorch are not")
            for member in members:
                if member.filename.rpartition("/")[2] == "data.pkl":
                    _check_pickle(io.BytesIO(archive.read(member)))


def _check_pickle(f: BinaryIO) -> None:
    is_reusable: dict[int, bool] = {}  # what was put aside, by number
    previous = ""
    for count, (instruction, argument, _) in enumerate(pickletools.genops(f)):
        name = instruction.name
        if count >= MAX_INSTRUCTIONS:
            raise ValueError("it is far longer than state dicts are")
        if name not in _INSTRUCTIONS or (name == "GLOBAL" and argument not in _NAMES):
            raise ValueError("it holds more than a state dict of PyTorch")
        if name == "LONG1" and argument.bit_length() > 80:  # the magic number is the longest
            raise ValueError("it holds endless numbers")
        if name in _PUT:
            is_reusable[argument] = previous in _REUSABLE
        if name in _GET and not is_reusable.get(argument, False):
            raise ValueError("it uses the same data over and over")
        previous = name
