"""Folders of networks, newest first."""

import os
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".pkl", ".safetensors")


@dataclass(frozen=True)
class Folder:
    """What is in a folder: folders and networks, the newest first; `error` if it cannot be read."""

    folders: tuple[Path, ...] = ()
    networks: tuple[Path, ...] = ()
    error: str | None = None


def list_folder(path: Path) -> Folder:
    """Look into a folder, but not into the folders in it; hidden ones are left out."""
    folders, networks = [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    found = (entry.stat().st_mtime, entry.name)
                    if entry.is_dir():
                        folders.append(found)
                    elif entry.name.endswith(SUFFIXES):
                        networks.append(found)
                except OSError:
                    continue  # a broken link, or gone
    except OSError as error:
        return Folder(error=f"{error.strerror}: {path}")
    return Folder(
        tuple(path / name for _, name in sorted(folders, reverse=True)),
        tuple(path / name for _, name in sorted(networks, reverse=True)),
    )
