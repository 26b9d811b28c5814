"""Paths from users: `~` for a home folder, folders in the environment, long names."""

import os
import re
from pathlib import Path

MAX_NAME_BYTES = 255  # of a file or folder, on nearly all file systems


class HomeError(OSError):
    """A path starts with `~`, and the home folder is unknown."""


def expand_home(path: str) -> str:
    """Replace a leading `~` or `~user` by the home folder, as shells do (except in `--x=~/y`).

    Other paths and addresses are returned unchanged; `./~` is a file of that name.

    Raises:
        HomeError: If the home folder is unknown. No returned path starts with `~`.
    """
    if not path.startswith("~"):
        return path
    user = re.split(r"[/\\]" if os.name == "nt" else "/", path[1:], maxsplit=1)[0]
    expanded = os.path.expanduser(path)
    # An empty HOME would give a path below the root.
    if os.path.isabs(expanded) and (user or os.environ.get("HOME") != ""):
        return expanded
    reason = (
        f"there is no user {user!r} with a home folder"
        if user
        else "the home folder is unknown (HOME names none)"
    )
    raise HomeError(
        f"{path}: {reason}; write the whole path, or ./{path} for a name that starts with ~"
    )


def folder_from_environment(variable: str) -> str | None:
    """The folder that an environment variable names; `None` if it is unset or empty.

    Raises:
        HomeError: If it starts with `~`, and the home folder is unknown; names the variable.
    """
    folder = os.environ.get(variable)
    if not folder:
        return None
    try:
        return expand_home(folder)
    except HomeError as error:
        raise HomeError(f"{variable}={error}") from None


def shorten_name(name: str, max_bytes: int) -> str:
    """The longest start of a name, in whole characters, with at most `max_bytes` bytes on disk."""
    while name and len(os.fsencode(name)) > max_bytes:
        name = name[:-1]
    return name


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or lies below it. Links are followed; `path` need not exist."""
    return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
