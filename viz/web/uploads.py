"""Files that visitors have uploaded, until they leave.

The files of a session are in a folder of its own below one folder of the server, which nobody else
may read. The folder goes with the session, at the latest with the server; only a server that is
killed (SIGKILL) leaves it, as `viewer-uploads-*` in the folder for temporary files.

While a form comes in, the web server keeps the file in the folder for temporary files, too, so the
disk needs twice the size. `web_utils.guard` ends forms that are too large.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from dnnlib.errors import InputError
from dnnlib.text import one_line
from viz.web.places import SUFFIXES

MAX_NAME = 60  # characters of the name on disk
FILES_OF_SESSION = 2  # of the largest size, or more of smaller ones
FILES_OF_ALL = 4
MAX_FILES = 20  # in a session; empty files have no size that counts


class Uploads:
    """The uploads of all sessions.

    Args:
        max_bytes: Largest file; 0 for no uploads. One session may have twice as much, all sessions
            together four times as much.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0  # in all sessions
        # Removed at the end of the process, if not before.
        self._folder = tempfile.TemporaryDirectory(prefix="viewer-uploads-")

    def begin_session(self) -> "SessionUploads":
        """The uploads of a new session; close them when it ends."""
        return SessionUploads(self, Path(tempfile.mkdtemp(dir=self._folder.name)))

    def close(self) -> None:
        """Remove all files."""
        self._folder.cleanup()


class SessionUploads:
    """The uploads of one session, a collection of paths; made by `Uploads`."""

    def __init__(self, uploads: Uploads, folder: Path) -> None:
        self._uploads = uploads
        self._folder = folder
        self._names: dict[str, str] = {}  # of whole files, by path
        self._num_bytes = 0  # of files that are still coming, too
        self._whole_bytes = 0
        self._num_begun = 0
        self._num_coming = 0
        self._is_closed = False

    def __contains__(self, path: object) -> bool:
        return path in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def name_of(self, path: str) -> str:
        """The name that the visitor has given to a file; other paths are returned unchanged."""
        return self._names.get(path, path)

    def with_names(self, text: str) -> str:
        """The text of a message, in which files have the names that the visitor has given them."""
        for path, name in self._names.items():
            text = text.replace(path, name)
        return text

    async def save(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Save a file, and return its path.

        Args:
            name: Its name, as the browser says; anything is allowed.
            chunks: Its content.

        Raises:
            InputError: If it is no file for the viewer, or too large. Nothing of it is kept.
            OSError: If it cannot be written, likewise.
        """
        shown = one_line(re.split(r"[/\\]", name)[-1], 100)
        suffix = Path(shown).suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"{shown}: the name of a file must end in {', '.join(SUFFIXES)}")
        if len(self) + self._num_coming >= MAX_FILES:
            raise InputError(
                f"{shown}: you can upload at most {MAX_FILES} files; "
                "open the page anew to begin without them"
            )
        self._num_begun += 1
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(shown).stem)[:MAX_NAME].strip("-") or "file"
        path = self._folder / f"{self._num_begun}-{stem}{suffix}"
        size = 0
        self._check(shown, size)
        self._num_coming += 1
        try:
            with path.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    self._count(len(chunk))
                    self._check(shown, size)
                    await asyncio.to_thread(file.write, chunk)
            self._check(shown, size)  # the page may have been closed
        except BaseException:
            path.unlink(missing_ok=True)
            self._count(-size)
            raise
        finally:
            self._num_coming -= 1
        self._names[str(path)] = shown
        self._whole_bytes += size
        return str(path)

    def close(self) -> None:
        """Remove the files."""
        self._is_closed = True
        shutil.rmtree(self._folder, ignore_errors=True)
        self._count(-self._whole_bytes)
        self._whole_bytes = 0
        self._names.clear()

    def _count(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self._uploads.num_bytes += num_bytes

    def _check(self, shown: str, size: int) -> None:
        most = self._uploads.max_bytes
        if self._is_closed:
            raise InputError(f"{shown}: the page was closed before the file was here")
        if most == 0:
            raise InputError(f"{shown}: this server takes no files (--max-upload=0)")
        if size > most:
            raise InputError(f"{shown}: a file can be at most {_megabytes(most)} (--max-upload)")
        if self._num_bytes > FILES_OF_SESSION * most:
            raise InputError(
                f"{shown}: your files can be at most {_megabytes(FILES_OF_SESSION * most)} "
                "together; open the page anew to begin without them"
            )
        if self._uploads.num_bytes > FILES_OF_ALL * most:
            raise InputError(
                f"{shown}: the files of all visitors can be at most "
                f"{_megabytes(FILES_OF_ALL * most)} together; try again when others have left"
            )


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MB"
