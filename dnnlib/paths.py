"""Paths as people write them: `~` for a home folder, folders in the environment, long names."""

import os
import re
from pathlib import Path

MAX_NAME_BYTES = 255  # of a file or folder, on nearly all file systems


class HomeError(OSError):
    """A path starts with `~`, and what that stands for is unknown."""


def expand_home(path: str) -> str:
    """Replace a leading `~` or `~user` by a home folder, as shells do, but not within `--x=~/y`.

    Everything else, addresses included, is returned as it is; `./~` is a file of that name.

    Raises:
        HomeError: If there is no such folder; no path that still starts with `~` is ever returned.
    """
    if not path.startswith("~"):
        return path
    user = re.split(r"[/\\]" if os.name == "nt" else "/", path[1:], maxsplit=1)[0]
    expanded = os.path.expanduser(path)
    # An empty HOME would make it a path below the root.
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
    """The folder that an environment variable names; `None` if it is not set, or empty.

    Raises:
        HomeError: If it starts with `~`, and what that stands for is unknown; names the variable.
    """
    folder = os.environ.get(variable)
    if not folder:
        return None
    try:
        return expand_home(folder)
    except HomeError as error:
        raise HomeError(f"{variable}={error}") from None


def shorten_name(name: str, max_bytes: int) -> str:
    """The start of a name, in whole characters, that takes at most so many bytes in a folder."""
    while name and len(os.fsencode(name)) > max_bytes:
        name = name[:-1]
    return name


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path`, which need not exist, is `folder` or lies below it; links are followed."""
    return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
