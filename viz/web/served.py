"""What all pages of a server share."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from viz.shared_renderer import SharedRenderer
from viz.view import View
from viz.web.options import ServeOptions
from viz.web.places import Places
from viz.web.uploads import SessionUploads, Uploads


@dataclass
class Served:
    """What all pages of a server share.

    Attributes:
        options: How the viewer is served.
        networks: Networks of the command line; the first is shown.
        view: The first view of a session, without its network.
        browse_dirs: Folders of runs.
        renderer: Renders for all sessions.
        uploads: Files of all visitors.
        places: Files that all visitors may open.
        num_sessions: Pages that are open.
    """

    options: ServeOptions
    networks: Sequence[str]
    view: View
    browse_dirs: Sequence[Path]
    renderer: SharedRenderer
    uploads: Uploads
    places: Places
    num_sessions: int = field(default=0, init=False)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Count a session."""
        self.num_sessions += 1
        try:
            yield
        finally:
            self.num_sessions -= 1

    @property
    def is_full(self) -> bool:
        """Whether there may be no other session."""
        return self.num_sessions >= self.options.max_sessions

    @property
    def takes_uploads(self) -> bool:
        """Whether visitors may upload files."""
        return self.options.max_upload_bytes > 0 and not self.options.simple


class VisitorFiles:
    """The files that one visitor may open.

    Args:
        places: Files that all visitors may open.
        uploads: Files of this visitor.
    """

    def __init__(self, places: Places, uploads: SessionUploads) -> None:
        self._places = places
        self._uploads = uploads

    def check(self, path: str) -> None:
        """Refuse a path that this visitor may not open, see `Places.check`."""
        self._places.check(path, self._uploads)

    def is_uploaded(self, path: str) -> bool:
        """Whether the visitor has uploaded a file."""
        return path in self._uploads

    def with_names(self, text: str) -> str:
        """A message in the visitor's own names, see `SessionUploads.with_names`."""
        return self._uploads.with_names(text)
