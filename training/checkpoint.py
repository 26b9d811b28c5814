"""The complete state of a run in a file: saved whole or not at all, found again, few kept.

The file is one of `torch.save` with tensors and plain containers only: it cannot carry code.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from dnnlib.heartbeat import BeatingFile
from dnnlib.util import open_atomic

VERSION = 1
FILE_NAME = re.compile(r"training-state-(\d+)\.pt")


def save(run_dir: Path, state: dict[str, Any], cur_nimg: int, keep: int) -> Path:
    """Write a state, then delete all but the newest ones.

    A run that was continued from an older state, or because the newest was damaged, leaves states
    of more images behind that are not its own any more: these are renamed to `….pt.abandoned`.

    Args:
        run_dir: Folder of the run.
        state: Tensors, numbers, texts, None, and lists, tuples and dictionaries of them.
        cur_nimg: Images seen; names the file.
        keep: Number of states to leave, at least 1.

    Raises:
        OSError: If the file cannot be written. All older states are still there.
    """
    path = run_dir / f"training-state-{cur_nimg:09d}.pt"
    try:
        with open_atomic(path) as f:
            torch.save({**state, "version": VERSION}, BeatingFile(f))
    except RuntimeError as error:  # how PyTorch puts it that the file cannot grow
        raise OSError(f"cannot write {path} ({str(error).partition(chr(10))[0]})") from error
    for abandoned in states(run_dir):
        if abandoned == path:
            break
        abandoned.replace(abandoned.with_name(f"{abandoned.name}.abandoned"))
    for old in states(run_dir)[keep:]:
        old.unlink(missing_ok=True)
    return path


def states(run_dir: Path) -> list[Path]:
    """The files with states of a run, those of most images first."""
    found = [path for path in run_dir.iterdir() if FILE_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(FILE_NAME.fullmatch(path.name)[1]), reverse=True)


def load(path: Path) -> dict[str, Any]:
    """Read a state, on the CPU.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged or of another version.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            damaged = archive.testzip()
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # damaged bytes can make the reader raise anything
        raise ValueError(f"{path}: the training state is damaged or truncated") from error
    if damaged is not None:
        raise ValueError(f"{path}: the training state is damaged (in {damaged})")
    if not isinstance(state, dict) or state.get("version") != VERSION:
        version = state.get("version") if isinstance(state, dict) else None
        raise ValueError(f"{path}: version {version!r} of the training state is not supported")
    return state


def load_newest(run_dir: Path) -> tuple[Path, dict[str, Any]]:
    """The newest state of a run that can be read, with a warning for each that cannot.

    Raises:
        ValueError: If there is none.
    """
    paths = states(run_dir)
    for path in paths:
        try:
            return path, load(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
    if paths:
        raise ValueError(f"{run_dir}: none of its {len(paths)} training states can be read")
    raise ValueError(f"{run_dir}: there is no training state (training-state-*.pt) to continue")
