"""Read pickles of plain data without running code in them.

A pickle is a program: it names functions and calls them. Here it can name only the keys of
`RestrictedUnpickler.allowed`. The functions behind these names are our own. They check their
arguments and make plain data.

A small program can also cause much work. The instructions and the bytes that they copy are limited,
so that time and memory stay in proportion to the size of the file.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, BinaryIO, ClassVar

import numpy as np

MAX_COPIES = 4  # of the file's contents; tensors are copied from text to bytes to numbers
MAX_DIMENSIONS = 64  # of tensors and arrays; NumPy has no more either
MAX_KEY = 1 << 31  # of numbers that are keys

# Cost of an instruction that handles data, in bytes that could be copied in the same time.
CALL_COST = 32
ITEM_COST = 16

_PythonUnpickler: Any = pickle._Unpickler  # annotated as the class in C, which has no `stack`


class ForbiddenError(pickle.UnpicklingError):
    """A pickle requests something that files of this kind do not need."""


class RestrictedUnpickler(_PythonUnpickler):
    """Looks up names in `allowed` only, calls functions only, and changes plain containers only.

    Based on the Python version of Python's unpickler. The C version sets any state that the pickle
    gives, and eight bytes can make it use up all memory.

    Args:
        f: The pickle, in a file that can seek.
        max_instructions: Refuse a pickle with more instructions.
        encoding: Of Python 2's texts, as for `pickle.load`.
    """

    # By module and name: functions, and values that are only passed on as arguments.
    allowed: ClassVar[Mapping[tuple[str, str], Any]] = {}  # named by subclasses
    handlers: ClassVar[Mapping[int, Callable[[Any], None]]] = {}  # by instruction; filled below
    key_types: ClassVar[tuple[type, ...]] = (str, int)  # of dictionaries and sets

    # Attributes of Python's class.
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    load: Callable[[], Any]

    def __init__(self, f: BinaryIO, max_instructions: int, encoding: str = "ASCII") -> None:
        file = _File(f)
        super().__init__(file, encoding=encoding)
        self.dispatch = _Handlers(self.handlers, max_instructions)
        self.num_bytes_left = MAX_COPIES * file.num_left + (1 << 20)  # that calls may copy

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise ForbiddenError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the pickle")

    def charge(self, args: Any) -> None:
        """Refuse programs that handle the same data again and again to waste memory or time.

        Functions copy their arguments: texts, bytes and arrays. They also visit the items of
        containers, at any depth.
        """
        self.num_bytes_left -= CALL_COST + ITEM_COST * _num_items(args)
        for arg in _items(args):
            self.num_bytes_left -= _num_bytes(arg) + ITEM_COST * _num_items(arg)
            if self.num_bytes_left < 0:
                break
            self.num_bytes_left -= ITEM_COST * sum(_num_items(item) for item in _items(arg))
        if self.num_bytes_left < 0:
            raise pickle.UnpicklingError("it copies the same data over and over")

    # Each of the following methods executes one instruction, as `handlers` says.

    def read_bytearray(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))  # Python's own reserves memory before it reads

    def call(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, FunctionType) or not isinstance(args, tuple):
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        self.charge(args)
        self.stack[-1] = function(*args)

    def set_state(self) -> None:
        state = self.stack.pop()
        self.charge(state)
        self.set_state_of(self.stack[-1], state)

    def set_state_of(self, obj: Any, state: Any) -> None:
        """Set the state of an object. Subclasses override this for objects that have a state."""
        raise pickle.UnpicklingError(f"it changes a {type(obj).__name__}")

    def make_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items[::2], items[1::2])

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key], [value])

    def set_items(self) -> None:
        items = self.pop_mark()
        self._set_items(items[::2], items[1::2])

    def append_one(self) -> None:
        value = self.stack.pop()
        self._check_last(list)
        self.stack[-1].append(value)

    def append_many(self) -> None:
        items = self.pop_mark()
        self._check_last(list)
        self.stack[-1].extend(items)

    def add_items(self) -> None:
        items = self.pop_mark()
        self._check_last(set)
        self.stack[-1].update(checked_keys(items, self.key_types))

    def make_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(checked_keys(items, self.key_types)))

    def _set_items(self, keys: list, values: list) -> None:
        self._check_last(dict)
        target = self.stack[-1]
        for key, value in zip(checked_keys(keys, self.key_types), values, strict=True):
            target[key] = value

    def _check_last(self, kind: type) -> None:
        """Refuse to change the object on top of the stack unless it is a container of this kind."""
        if not isinstance(self.stack[-1], kind):
            raise pickle.UnpicklingError(f"it changes a {type(self.stack[-1]).__name__}")


def checked_keys(items: Iterable, key_types: tuple[type, ...] = (str, int)) -> list:
    """Return keys of dictionaries, or members of sets: texts and small numbers only.

    Hashes of other objects can take forever, or crash: of tuples in tuples, and of numbers that
    were chosen to collide.

    Raises:
        ForbiddenError: If a key has another type or is a large number.
    """
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError(f"it makes a set of a {type(items).__name__}")
    for key in items:
        if type(key) not in key_types or (type(key) is int and abs(key) >= MAX_KEY):
            raise ForbiddenError(f"it has a {type(key).__name__} as a key")
    return list(items)


def check_shapes(*shapes: Any) -> None:
    """Refuse shapes that are no tuples of non-negative whole numbers."""
    for shape in shapes:
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("it has a tensor with an impossible shape")
        if len(shape) > MAX_DIMENSIONS:
            raise pickle.UnpicklingError(f"it has a tensor of {len(shape)} dimensions")


def _num_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) if isinstance(value, (str, bytes, bytearray)) else 0


def _num_items(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple, dict, set, frozenset)) else 0


def _items(value: Any) -> Iterable:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


class _Handlers:
    """Looks up the functions of instructions, for a limited number of instructions."""

    def __init__(
        self, handlers: Mapping[int, Callable[[Any], None]], max_instructions: int
    ) -> None:
        self.handlers = handlers
        self.max_instructions = self.num_left = max_instructions

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self.num_left -= 1
        if self.num_left < 0:
            raise pickle.UnpicklingError(
                f"it has more than {self.max_instructions} instructions, far more than such a file"
                " needs"
            )
        if code not in self.handlers:
            names = {ord(instruction.code): instruction.name for instruction in pickletools.opcodes}
            raise pickle.UnpicklingError(f"it has the instruction {names.get(code, hex(code))}")
        return self.handlers[code]


class _File:
    """A file that allocates no memory for missing bytes."""

    def __init__(self, f: BinaryIO) -> None:
        start = f.tell()
        self.num_left = f.seek(0, io.SEEK_END) - start
        self._f = f
        f.seek(start)

    def read(self, size: int) -> bytes:
        if size > self.num_left:
            raise EOFError("the pickle ends too early")
        self.num_left -= size
        return self._f.read(size)

    def readline(self) -> bytes:
        line = self._f.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the pickle ends too early")
        self.num_left -= len(line)
        return line


def handlers_of_python(names: str) -> dict[int, Callable[[Any], None]]:
    """Python's own functions for instructions that need no restriction."""
    codes = [getattr(pickle, name)[0] for name in names.split()]
    return {code: _PythonUnpickler.dispatch[code] for code in codes}


# The instructions of Python 3's binary protocols. Others do not occur, and some are dangerous:
# those that look up objects elsewhere, and those that can make numbers without end.
RestrictedUnpickler.handlers = {
    **handlers_of_python("""
        PROTO FRAME STOP MARK POP POP_MARK BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
        NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
        BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
        EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST EMPTY_DICT EMPTY_SET
        GLOBAL STACK_GLOBAL
    """),
    pickle.BYTEARRAY8[0]: RestrictedUnpickler.read_bytearray,
    pickle.REDUCE[0]: RestrictedUnpickler.call,
    pickle.BUILD[0]: RestrictedUnpickler.set_state,
    pickle.SETITEM[0]: RestrictedUnpickler.set_item,
    pickle.SETITEMS[0]: RestrictedUnpickler.set_items,
    pickle.APPEND[0]: RestrictedUnpickler.append_one,
    pickle.APPENDS[0]: RestrictedUnpickler.append_many,
    pickle.ADDITEMS[0]: RestrictedUnpickler.add_items,
    pickle.FROZENSET[0]: RestrictedUnpickler.make_frozenset,
}
