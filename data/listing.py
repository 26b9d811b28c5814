"""Find the images of a dataset in a folder or an archive, and count the other files.

Conversion, inspection, training and metrics all use these rules.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data import dataset_info, formats
from dnnlib.errors import InputError
from dnnlib.util import printable

METADATA = "dataset.json"

# Names in lower case of files and folders that programs leave behind. Names that start with a dot
# are left out as well.
LEFT_BEHIND = frozenset(
    {
        "@eadir",  # Synology
        "@recycle",  # QNAP
        "#recycle",
        "#snapshot",
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "__macosx",  # macOS
        "icon\r",
        "lost+found",  # Linux
        "__pycache__",
    }
)
SHEET_SUFFIX = ".contact-sheet.png"  # of files that `dataset_tool.py --inspect` writes
MAX_VISITS = 16  # of one folder; links that cross each other multiply the paths to a folder
MAX_KINDS = 8  # in a list of what was left out
REPEATED = "in folders that symbolic links repeat: these images are there more than once"


@dataclass
class Listing:
    """The files of a dataset. Names are relative to the dataset, with `/` between the parts."""

    images: list[str] = field(default_factory=list)  # as found, not sorted
    metadata: list[str] = field(default_factory=list)  # every dataset.json, at any depth
    infos: list[str] = field(default_factory=list)  # every dataset-info.json, at any depth
    others: Counter[str] = field(default_factory=Counter)  # files of other kinds, by extension
    left_behind: Counter[str] = field(default_factory=Counter)  # hidden or of programs, by name
    num_loops: int = 0  # links to folders that contain them
    num_broken: int = 0  # links that lead nowhere and do not have the name of an image
    num_repeated: int = 0  # images in folders that were listed before through another link

    def add(self, name: str) -> None:
        """Add a file to the list for its kind."""
        extension = formats.extension_of(name)
        if extension in formats.image_extensions():
            self.images.append(name)
        elif name.rpartition("/")[2] == METADATA:
            self.metadata.append(name)
        elif name.rpartition("/")[2] == dataset_info.FILE_NAME:
            self.infos.append(name)
        else:
            self.others[extension] += 1


def list_folder(folder: Path) -> Listing:
    """List all files below a folder. Links are followed, except to a folder that contains them.

    Raises:
        OSError: If a folder cannot be read.
        ValueError: If links make one folder appear more than `MAX_VISITS` times.
    """
    listing = Listing()
    for name, is_repeated in _walk(folder, listing):
        num = len(listing.images)
        listing.add(name)
        listing.num_repeated += is_repeated * (len(listing.images) - num)
    return listing


def note_repeated(num: int) -> Counter[str]:
    """A note, as from decoding, on images that appear more than once because of links."""
    return Counter({REPEATED: num} if num else {})


def list_names(names: Iterable[str]) -> Listing:
    """List files by their names in an archive."""
    listing = Listing()
    hidden_by_folder: dict[str, str | None] = {}
    hidden: set[str] = set()
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in hidden_by_folder:
            hidden_by_folder[folder] = _left_behind_part(folder.split("/"))
        part = hidden_by_folder[folder] or (name if is_left_behind(file) else None)
        if part is None:
            listing.add(name)
        elif part not in hidden:  # a folder counts once, as in `list_folder`
            hidden.add(part)
            listing.left_behind[part.rpartition("/")[2]] += 1
    return listing


def describe_left_out(listing: Listing) -> str | None:
    """Unused files, for people: "5 .heic (pip install pillow-heif), 1 .mp4"; `None` for none.

    Files of other kinds are counted one by one, hidden folders as a whole.
    """
    parts = []
    common = _most_common(listing.others)[:MAX_KINDS]
    for extension, num in common:
        package = formats.plugin_for(extension)
        hint = f" (to read them: pip install {package})" if package else ""
        kind = printable(extension) or ("file" if num == 1 else "files") + " without an extension"
        parts.append(f"{num} {kind}{hint}")
    if rest := sum(listing.others.values()) - sum(num for _, num in common):
        parts.append(f"{rest} of other kinds")
    if num := sum(listing.left_behind.values()):
        names = ", ".join(printable(name) for name, _ in _most_common(listing.left_behind)[:3])
        more = ", ..." if len(listing.left_behind) > 3 else ""
        parts.append(f"{num} hidden or left behind by other programs ({names}{more})")
    if num := listing.num_loops:
        parts.append(f"{_counted(num, 'link')} to a folder around {'it' if num == 1 else 'them'}")
    if num := listing.num_broken:
        parts.append(f"{_counted(num, 'link')} that {'leads' if num == 1 else 'lead'} nowhere")
    return ", ".join(parts) or None


def is_left_behind(part: str) -> bool:
    """Whether one part of a path is hidden, or a file or folder that programs leave behind."""
    if part.startswith("."):
        return part not in (".", "..")
    return part.lower() in LEFT_BEHIND or part.lower().endswith(SHEET_SUFFIX)


def _left_behind_part(parts: Sequence[str]) -> str | None:
    """The path up to its first part that `is_left_behind`; `None` if none is."""
    for i, part in enumerate(parts):
        if is_left_behind(part):
            return "/".join(parts[: i + 1])
    return None


def _walk(root: Path, listing: Listing) -> Iterator[tuple[str, bool]]:
    """Names of all files below a folder, and whether another path led to the same file before.

    Files and folders that are left out are counted in `listing`.
    """
    extensions = formats.image_extensions()
    visits: Counter[tuple[int, int]] = Counter()
    waiting: list[tuple[Path, str, tuple[tuple[int, int], ...]]] = [(root, "", ())]
    while waiting:
        folder, prefix, ancestors = waiting.pop()
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            raise OSError(f"cannot look into {error.filename} ({error.strerror})") from error
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            listing.num_loops += 1
            continue
        visits[identity] += 1
        if visits[identity] > MAX_VISITS:
            raise InputError(
                f"{folder} is reached by more than {MAX_VISITS} ways through symbolic links;"
                " remove links, so that there are few"
            )
        for entry in entries:
            if is_left_behind(entry.name):
                listing.left_behind[entry.name] += 1
            elif _is_folder(entry):
                waiting.append(
                    (folder / entry.name, f"{prefix}{entry.name}/", (*ancestors, identity))
                )
            elif _is_broken(entry) and formats.extension_of(entry.name) not in extensions:
                listing.num_broken += 1  # a broken link to an image is an error when it is read
            else:
                yield prefix + entry.name, visits[identity] > 1


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which is an error when it is read
        return False


def _is_broken(entry: os.DirEntry) -> bool:
    """Whether this is a symbolic link to nothing, or to itself."""
    if not entry.is_symlink():
        return False
    try:
        entry.stat()
    except OSError:
        return True
    return False


def _most_common(counts: Counter[str]) -> list[tuple[str, int]]:
    """Counts in an order that does not depend on the order of the files."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _counted(num: int, what: str) -> str:
    return f"{num} {what}" + ("" if num == 1 else "s")
