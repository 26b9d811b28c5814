"""Check that no other user could have written a file: only then does code from a cache run.

A path is safe if its file or folder belongs to us or to root, nobody else may write to it, and the
same is true of all folders and links on the way to it. A folder on the way may also be like /tmp:
others may write there, but its sticky bit prevents renaming files of other users.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_LINKS = 40  # on the way to a file, as in Linux


def make_private(folder: Path) -> None:
    """Make a folder, and missing folders above it, that no other user can read.

    Raises:
        OSError: If a folder cannot be made.
    """
    if folder.is_dir():
        return
    make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def find_fault(path: Path) -> str | None:
    """Explain how other users could have written to a path, with a remedy; `None` if it is safe.

    A missing file is as safe as the folder in which it will be made. Windows is not checked.

    Args:
        path: A file or a folder, absolute or not; links are followed.
    """
    if not hasattr(os, "geteuid"):
        return None
    try:
        faults = (_fault(*entry) for entry in _way_to(path.absolute()))
        return next(filter(None, faults), None)
    except OSError as error:
        return f"{path} cannot be examined ({error.strerror})"


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result, bool]]:
    """All folders and links that a path goes through, from the root on, as far as they exist.

    Yields:
        A folder or link, or at the end the file; its status; whether it is the end.
    """
    place = Path(path.anchor)
    names, num_links = list(reversed(path.parts[1:])), 0
    yield place, place.lstat(), not names
    while names:
        name = names.pop()
        if name == "..":
            place = place.parent
            continue
        entry = place / name
        try:
            status = entry.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        is_link = stat.S_ISLNK(status.st_mode)
        yield entry, status, not names and not is_link
        if not is_link:
            place = entry
            continue
        num_links += 1
        if num_links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink(entry))
        place = Path(target.anchor) if target.is_absolute() else place
        names += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _fault(path: Path, status: os.stat_result, is_last: bool) -> str | None:
    """The fault of one file, folder or link; folders on the way are judged less strictly."""
    is_folder = stat.S_ISDIR(status.st_mode)
    owners = {os.geteuid(), 0}
    if not is_last:
        owners.add(_root_uid())
    if status.st_uid not in owners:
        remedy = "" if is_folder or not is_last else "; remove it"
        return f"{path} belongs to another user (uid {status.st_uid}{remedy})"
    if stat.S_ISLNK(status.st_mode):
        return None  # the mode of a link has no meaning
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not writable or (writable == stat.S_IWGRP and _is_own_group(status.st_gid)):
        return None
    if not is_last and status.st_mode & stat.S_ISVTX:
        return None
    # Files in a folder show their owner, but not who wrote to them.
    remedy = f"chmod go-w {path}" if is_folder else "remove it"
    return f"other users may write to {path} (mode {stat.S_IMODE(status.st_mode):04o}; {remedy})"


def _root_uid() -> int:
    """The uid of root: not 0 in a container that an unprivileged user has started."""
    return os.stat("/").st_uid


def _is_own_group(gid: int) -> bool:
    """Whether we are the only member of a group; many systems make such a group for each user."""
    import grp  # not on Windows
    import pwd

    if gid == 0:  # containers put users of any uid into it
        return False
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:  # many containers lack these entries
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
