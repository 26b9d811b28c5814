"""Explain files that do not load as networks."""

import itertools
import pickletools
from collections.abc import Callable
from typing import BinaryIO

from dnnlib.downloads import is_web_page
from dnnlib.util import is_url

MAX_INSTRUCTIONS = 1_000_000  # to read; pickles of networks have fewer


def is_whole_pickle(f: BinaryIO) -> bool:
    """Whether a file is a pickle from its first to its last instruction, with any content."""
    try:
        for _ in itertools.islice(pickletools.genops(f.read()), MAX_INSTRUCTIONS):
            pass  # nothing is executed
    except ValueError:
        return False
    return True


def explain(head: bytes, error: Exception, name: str) -> str:
    """Describe the probable fault of a file in a few words.

    Args:
        head: The first hundred bytes of the file, or more.
        error: The error of unpickling it.
        name: Path or URL of the file.
    """
    if is_url(name) and is_web_page(head):
        return "the server sent a web page in place of a network (does it ask for a login?)"
    kind = next((kind for kind, matches in _FOREIGN_FILES.items() if matches(head)), None)
    if len(head) == 0:
        return "the file is empty"
    if kind is not None:
        return f"this is {kind}, not a network pickle"
    if head[:1] != b"\x80":
        return "this is not a network pickle"
    if isinstance(error, EOFError) or "truncated" in str(error):
        return "the pickle is truncated or damaged; download or copy it again"
    text = str(error).partition("\n")[0]
    return f"the pickle is damaged, or holds no networks ({type(error).__name__}: {text})"


def _starts_with(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip().lower().startswith(prefixes)


_FOREIGN_FILES = {  # in the order of checking; prefixes in lower case
    "a web page (a failed download?)": is_web_page,
    "a Git LFS pointer (run `git lfs pull`)": _starts_with(b"version https://git-lfs"),
    "a ZIP archive (a dataset?)": _starts_with(b"pk\x03\x04", b"pk\x05\x06"),
    "a gzip file": _starts_with(b"\x1f\x8b"),
    "an image": _starts_with(b"\x89png", b"\xff\xd8\xff", b"gif8"),
    "an HDF5 file": _starts_with(b"\x89hdf"),
}
