"""Files with the complete state of a run, written whole or not at all; the newest are kept.

`torch.save` writes the file. It holds only tensors and plain containers, so it cannot carry code.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import InputError
from dnnlib.heartbeat import BeatingFile
from dnnlib.util import open_atomic, printable
from torch_utils import state_file
from training import state_contents

VERSION = 1
FILE_NAME = re.compile(r"training-state-(\d+)\.pt")


def save(run_dir: Path, state: dict[str, Any], cur_nimg: int, keep: int) -> Path:
    """Write a state, then delete all but the newest ones.

    If a run was continued from an older state, its folder holds states of later images. These no
    longer belong to the run and are renamed to `….pt.abandoned`.

    Args:
        run_dir: Folder of the run.
        state: Tensors, numbers, texts and None, in lists, tuples and dictionaries.
        cur_nimg: Images seen; names the file.
        keep: Number of states to leave, at least 1.

    Raises:
        OSError: If the file cannot be written. All older states are still there.
    """
    path = path_of(run_dir, cur_nimg)
    try:
        with open_atomic(path) as f:
            torch.save({**state, "version": VERSION}, BeatingFile(f))
    except RuntimeError as error:  # PyTorch raises it when a file cannot grow
        raise OSError(f"cannot write {path} ({str(error).partition(chr(10))[0]})") from error
    for abandoned in states(run_dir):
        if abandoned == path:
            break
        abandoned.replace(abandoned.with_name(f"{abandoned.name}.abandoned"))
    for old in states(run_dir)[keep:]:
        old.unlink(missing_ok=True)
    return path


def path_of(run_dir: Path, cur_nimg: int) -> Path:
    """The file of the state after `cur_nimg` images."""
    return run_dir / f"training-state-{cur_nimg:09d}.pt"


def nimg_of(path: Path) -> int:
    """The images that the run had seen at a state, by the name of the file."""
    match = FILE_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def states(run_dir: Path) -> list[Path]:
    """The state files of a run, newest (most images) first."""
    found = [
        (int(match[1]), path)
        for path in run_dir.iterdir()
        if (match := FILE_NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def load(path: Path) -> dict[str, Any]:
    """Read a state, on the CPU.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged, of another version or program, or requests more memory
            than a file of its size can need.
    """
    try:
        # Reads everything except the tensors' data, and checks sizes and checksums, unlike PyTorch.
        state = state_file.outline(path)
    except ValueError as error:
        text = printable(str(error)[:200])
        raise InputError(f"{path}: the training state is damaged or truncated ({text})") from error
    version = state.get("version") if isinstance(state, dict) else None
    if type(version) is not int or version != VERSION:
        shown = version if type(version) in (int, type(None)) else type(version).__name__
        raise InputError(f"{path}: version {shown} of the training state is not supported")
    try:
        state_contents.check(state, path.stat().st_size)
    except ValueError as error:
        raise InputError(
            f"{path}: the training state is damaged, or of another program ({error})"
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the outline is good, and PyTorch still refuses the file
        raise InputError(f"{path}: the training state is damaged or truncated") from error


def load_newest(run_dir: Path) -> tuple[Path, dict[str, Any]]:
    """The newest readable state of a run, with a warning for each newer state that cannot be read.

    Raises:
        ValueError: If the run has no readable state.
    """
    paths = states(run_dir)
    for path in paths:
        try:
            return path, load(path)
        except (OSError, InputError) as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
    if paths:
        raise InputError(f"{run_dir}: none of its {len(paths)} training states can be read")
    raise InputError(f"{run_dir}: there is no training state (training-state-*.pt) to continue")
