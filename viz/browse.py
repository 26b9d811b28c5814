"""Folders of networks, newest first."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnnlib.paths import HomeError, expand_home

SUFFIXES = (".pkl", ".safetensors")
# The demo, the walkthrough and README's examples train in these folders.
USUAL_FOLDERS = (Path("demo/runs"), Path("runs"), Path("training-runs"))


@dataclass(frozen=True)
class Folder:
    """Folders and networks in a folder, the newest first; `error` if it cannot be read."""

    folders: tuple[Path, ...] = ()
    networks: tuple[Path, ...] = ()
    error: str | None = None


def list_folder(path: Path) -> Folder:
    """List a folder without its hidden entries; folders in it are not opened."""
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
                    continue  # a broken link, or just removed
    except OSError as error:
        return Folder(error=f"{error.strerror}: {path}")
    return Folder(
        tuple(path / name for _, name in sorted(folders, reverse=True)),
        tuple(path / name for _, name in sorted(networks, reverse=True)),
    )


def resolve(network: str) -> str:
    """The path of the newest network in a folder; other paths and URLs are returned unchanged."""
    with contextlib.suppress(HomeError):  # loading will report it
        if os.path.isdir(folder := expand_home(network)):
            return str(newest_network(Path(folder)) or network)
    return network


def newest_network(path: Path) -> Path | None:
    """The newest network in the folder of a run, or in the newest run of a folder of runs."""
    folder = list_folder(path)
    if folder.networks:
        return folder.networks[0]
    for run in folder.folders:
        if networks := list_folder(run).networks:
            return networks[0]
    return None


def newest_of_runs(browse_dirs: Sequence[Path], most: int) -> list[Path]:
    """The newest network of each of the newest runs in some folders, the newest run first."""
    runs = [run for path in browse_dirs for run in list_folder(path).folders]
    found: list[Path] = []
    for run in sorted(runs, key=_modified, reverse=True):
        if len(found) < most and (networks := list_folder(run).networks):
            found.append(networks[0])
    return found


def usual_folders() -> tuple[Path, ...]:
    """The usual folders that exist; all usual folders if none exists."""
    return tuple(path for path in USUAL_FOLDERS if path.is_dir()) or USUAL_FOLDERS


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone
        return 0
