"""Which files a visitor may open.

A visitor names paths, and the server opens them with the rights of whoever has started it. Nothing
outside of the allowed folders is touched, not even to see whether it exists: a path is compared as
text first, and its links are followed only then. Who may write to these folders can still swap a
file for a link between the check and the reading; visitors cannot write there.
"""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from dnnlib import addresses, pretrained
from dnnlib.errors import InputError
from dnnlib.paths import MAX_NAME_BYTES
from dnnlib.text import one_line
from viz import browse

SUFFIXES = (*browse.SUFFIXES, ".npz", ".pt")  # networks, latents and directions
MAX_PATH_BYTES = 4096
_SUFFIXES = ", ".join(SUFFIXES)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # a drive of Windows has one letter


class Places:
    """The files that visitors may open.

    Args:
        browse_dirs: Folders whose files may be opened, except for hidden ones.
        named: Networks and files of the command line, as the viewer names them. A folder among them
            counts as one of `browse_dirs`.
        allow_addresses: Whether visitors may name web addresses. The server fetches them, from its
            place in the network: it may reach machines that a visitor does not.
    """

    def __init__(
        self, browse_dirs: Sequence[Path], named: Collection[str], allow_addresses: bool
    ) -> None:
        folders = [Path(path) for path in named if os.path.isdir(path)]
        self._browse_dirs = (*browse_dirs, *folders)
        self._named = frozenset(named)
        self._allow_addresses = allow_addresses

    def check(self, path: str, uploaded: Collection[str] = ()) -> None:
        """Refuse a path or an address that this visitor may not open.

        A folder stands for its newest network, as in `viz.browse`.

        Args:
            path: What the visitor asks for.
            uploaded: Paths of the files that this visitor has uploaded.

        Raises:
            InputError: If it may not be opened; the line is the same whether or not it exists.
        """
        if path in self._named or path in uploaded or pretrained.is_pretrained(path):
            return
        if addresses.is_url(path):
            if not self._allow_addresses:
                raise InputError(
                    f"{_shown(path)}: this server opens no web addresses of visitors; whoever "
                    "starts the server can name the address on the command line"
                )
            return
        self._check_local(path)

    def _check_local(self, path: str) -> None:
        folder = self._folder_of(path)
        if folder is None or not _is_open(path, folder):
            raise self._outside(path)
        if os.path.isdir(path):
            newest = browse.resolve(path)
            if newest != path and not _is_open(newest, folder):  # a link
                raise self._outside(newest)
        elif not path.lower().endswith(SUFFIXES):
            raise InputError(f"{_shown(path)}: the name of a file must end in {_SUFFIXES}")
        elif os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
            raise InputError(f"{_shown(path)} is not a file")

    def _folder_of(self, path: str) -> Path | None:
        """The folder that a path is in by its text, if the text can be trusted."""
        try:
            encoded = os.fsencode(path)
        except UnicodeEncodeError:
            return None
        # `urlsplit`, and so `open_url`, finds addresses behind spaces and line ends, too.
        is_plain = (
            path != "" and path.isprintable() and path == path.strip() and not _SCHEME.match(path)
        )
        is_local = not path.startswith(("~", "//", "\\\\")) and is_plain
        names = re.split(r"[/\\]" if os.name == "nt" else "/", path)
        is_short = len(encoded) <= MAX_PATH_BYTES and all(
            len(os.fsencode(name)) <= MAX_NAME_BYTES for name in names
        )
        # Even if `..` leads back, the way there would tell which folders exist.
        if not (is_local and is_short) or ".." in names:
            return None
        whole = os.path.abspath(path)
        for folder in self._browse_dirs:
            for start in (Path(os.path.abspath(folder)), folder.resolve()):
                if Path(whole).is_relative_to(start):
                    return start
        return None

    def _outside(self, path: str) -> InputError:
        folders = ", ".join(map(str, self._browse_dirs)) or "none"
        return InputError(
            f"{_shown(path)} is outside of --browse-dir, or hidden: visitors may open files in "
            f"{one_line(folders)}"
        )


def _is_open(path: str, folder: Path) -> bool:
    """Whether a path is in a folder, also behind links, and nothing below the folder is hidden."""
    try:
        pairs = [(Path(os.path.abspath(path)), folder), (Path(path).resolve(), folder.resolve())]
    except (OSError, RuntimeError):  # a circle of links
        return False
    return all(
        inner.is_relative_to(outer)
        and not any(name.startswith(".") for name in inner.relative_to(outer).parts)
        for inner, outer in pairs
    )


def _shown(path: str) -> str:
    return one_line(path, 200)
