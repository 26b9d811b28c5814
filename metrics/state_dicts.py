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

from dnnlib.errors import InputError

# A number at the beginning of what `torch.save` wrote before PyTorch 1.6.
OLD_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
NUM_OLD_PICKLES = 5  # magic number, version, facts of the system, contents, keys of what follows
MAX_INSTRUCTIONS = 300_000  # InceptionV3 has 20 000

_ORDERED_DICT = "collections OrderedDict"
_REBUILD = {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"}
_STORAGES = {
    f"torch {kind}Storage"
    for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Bool")
}
_NAMES = {_ORDERED_DICT, *_REBUILD, *_STORAGES}
_TENSOR, _DICT = "tensor", "dictionary"
_REUSABLE = {"BINUNICODE", _TENSOR, *_NAMES}  # may be there more than once
_CHANGES = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"}  # of what is already there
_PUT, _GET = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
_INSTRUCTIONS = {
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "EMPTY_DICT"),
    *("BINPERSID", "REDUCE", "LONG1", "BINUNICODE", "GLOBAL"),
    *_CHANGES,
    *_PUT,
    *_GET,
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
        is_archive = f.read(4) == b"PK\x03\x04"  # as PyTorch decides it
        f.seek(0)
        if not is_archive:
            for _ in range(NUM_OLD_PICKLES):
                _check_pickle(f)
            return
        with zipfile.ZipFile(f) as archive:
            members = archive.infolist()
            # PyTorch compresses no state dicts.
            is_packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if is_packed or sum(member.file_size for member in members) > path.stat().st_size:
                raise InputError("it is compressed, which state dicts of PyTorch are not")
            for member in members:
                if member.filename.rpartition("/")[2].lower() == "data.pkl":
                    _check_pickle(io.BytesIO(archive.read(member)))


def _check_pickle(f: BinaryIO) -> None:
    """Follow a pickle without making anything: what is on its stack are kinds of things only."""
    stack: list[str] = []
    memo: dict[int, str] = {}
    for count, (instruction, argument, _) in enumerate(pickletools.genops(f)):
        name = instruction.name
        if count >= MAX_INSTRUCTIONS:
            raise InputError("it is far longer than state dicts are")
        if name not in _INSTRUCTIONS or (name == "GLOBAL" and argument not in _NAMES):
            raise InputError("it holds more than a state dict of PyTorch")
        if name == "LONG1" and argument.bit_length() > 80:  # the magic number is the longest
            raise InputError("it holds endless numbers")
        if name in _PUT:
            memo[argument] = stack[-1] if stack else name
            continue
        taken = _take(stack, instruction)
        kind = name
        if name == "GLOBAL":
            kind = argument
        elif name in _GET:
            kind = memo.get(argument, name)
            if kind not in _REUSABLE:
                raise InputError("it uses the same data over and over")
        elif name == "REDUCE":
            kind = _result_of(*taken)
        elif name in _CHANGES:
            kind = taken[0] if taken else name
            if name == "BUILD" and kind != _DICT:
                raise InputError("it changes more than dictionaries")
        stack += [kind] * len(instruction.stack_after)


def _result_of(function: str = "", arguments: str = "") -> str:
    """What a call gives: tensors are made of data that is there once, dictionaries are empty."""
    if function in _REBUILD and arguments.startswith("TUPLE"):
        return _TENSOR
    if function == _ORDERED_DICT and arguments == "EMPTY_TUPLE":
        return _DICT
    raise InputError("it calls what state dicts do not call")


def _take(stack: list[str], instruction: pickletools.OpcodeInfo) -> list[str]:
    """Take from the stack what an instruction does; what it works on, but for items of a list."""
    before = instruction.stack_before
    if pickletools.markobject in before:
        while stack and stack.pop() != "MARK":
            pass
        before = before[: before.index(pickletools.markobject)]
    start = max(len(stack) - len(before), 0)
    taken = stack[start:]
    del stack[start:]
    return taken
