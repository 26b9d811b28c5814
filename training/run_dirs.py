"""The folders of runs: each gets a unique number, even if several runs start at once.

Also the names of the network pickles in these folders.
"""

import errno
import re
from pathlib import Path


def next_run_dir(outdir: Path, description: str) -> Path:
    """`<outdir>/<number>-<description>` with the next free number; creates nothing."""
    number = max(_numbers(outdir, folders_only=True), default=-1) + 1
    taken = _numbers(outdir)
    while number in taken:  # by a file: the line above looks at folders only
        number += 1
    return _run_dir(outdir, number, description)


def create_run_dir(outdir: Path, description: str) -> Path:
    """Create the folder that `next_run_dir` names, with the next number that is free now.

    A process claims a number with a hidden folder of that number, which only one process can
    create. This works on all file systems, with and without locks.

    Raises:
        OSError: If it cannot be created; the message names `--outdir`.
    """
    run_dir = next_run_dir(outdir, description)
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        number = int(run_dir.name.partition("-")[0])
        while not _create(run_dir, outdir / f".{number:05d}.new", number):
            number += 1
            run_dir = _run_dir(outdir, number, description)
    except OSError as error:
        hint = ""
        if error.errno == errno.ENAMETOOLONG:
            hint = "; a shorter --outdir, --desc or name of the dataset helps"
        raise OSError(f"--outdir: cannot create {run_dir}: {error.strerror}{hint}") from error
    return run_dir


def network_path(run_dir: Path, cur_nimg: int) -> Path:
    """The network pickle after `cur_nimg` images."""
    return run_dir / f"network-snapshot-{cur_nimg // 1000:06d}.pkl"


def _create(run_dir: Path, claim: Path, number: int) -> bool:
    """Create the folder of a run unless its number is taken."""
    try:
        claim.mkdir()
    except FileExistsError:
        return False
    try:
        # Meanwhile another process may have used the number, and have removed its claim.
        if number in _numbers(run_dir.parent):
            return False
        run_dir.mkdir()
    finally:
        claim.rmdir()
    return True


def _run_dir(outdir: Path, number: int, description: str) -> Path:
    return outdir / f"{number:05d}-{description}"


def _numbers(outdir: Path, folders_only: bool = False) -> set[int]:
    """The numbers at the start of the names in a folder."""
    if not outdir.is_dir():
        return set()
    names = [path.name for path in outdir.iterdir() if not folders_only or path.is_dir()]
    matches = [re.match(r"\d+", name, re.ASCII) for name in names]
    return {int(match[0]) for match in matches if match}
