"""Which network snapshots of a run stay: many new ones, few old ones."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dnnlib import errors
from training import checkpoint
from training.run_dirs import network_path


class KeptSnapshots:
    """The network snapshots that a run has written, of which it deletes the surplus.

    Other files with such names, of the user or from an abandoned future of the run, stay. Sheets
    of images stay, too: they are small, and tell how the run went.

    Attributes:
        kimg: Thousands of images of each snapshot, ascending.

    Args:
        run_dir: Folder of the run.
        keep: How many may stay; 0 for all.
    """

    def __init__(self, run_dir: Path, keep: int) -> None:
        self._run_dir = run_dir
        self._keep = keep
        self.kimg: list[int] = []

    def load(self, kimg: Sequence[int]) -> None:
        """Continue with the snapshots of a state, as far as they still exist."""
        self.kimg = [number for number in kimg if self._path(number).exists()]

    def add(self, cur_nimg: int) -> None:
        """Note that the snapshot after `cur_nimg` images was written."""
        if cur_nimg // 1000 not in self.kimg:
            self.kimg.append(cur_nimg // 1000)

    def note_others(self) -> None:
        """Print how many snapshots in the folder are not among those that may be deleted."""
        if self._keep:
            known = {self._path(number) for number in self.kimg}
            if num := len(set(self._run_dir.glob("network-snapshot-*.pkl")) - known):
                print(
                    f"Note: --keep-snapshots leaves alone {num} network snapshots in the folder, "
                    "which this run has not written, or has abandoned."
                )

    def delete_surplus(self, best: Callable[[int], Collection[int]]) -> None:
        """Delete the snapshots for which there is no room, and print their names.

        Args:
            best: Takes the images of the oldest state from which the run could continue; returns
                those of the snapshots that must stay.
        """
        if not self._keep:
            return
        try:
            states = checkpoint.states(self._run_dir)
        except OSError as error:
            print(f"Warning: no old snapshot was deleted: {errors.message_of(error)}")
            return
        oldest = checkpoint.nimg_of(states[-1]) if states else 0
        wanted = {nimg // 1000 for nimg in best(oldest)}
        deleted: list[str] = []
        for number in surplus(self.kimg, self._keep, wanted):
            path = self._path(number)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                print(f"Warning: {path.name} was not deleted: {errors.message_of(error)}")
                break
            self.kimg.remove(number)
            deleted.append(path.name)
        if deleted:
            print(f"Deleted {', '.join(deleted)} (--keep-snapshots={self._keep}).")

    def _path(self, kimg: int) -> Path:
        return network_path(self._run_dir, kimg * 1000)


def surplus(kimg: Sequence[int], keep: int, wanted: Collection[int]) -> list[int]:
    """Choose snapshots to delete, so that the ages of those that stay grow by a constant factor.

    The age of a snapshot is its distance from the last one. As long as there are too many, the
    snapshot goes whose neighbours are closest together in proportion to its age; of equals, the
    oldest. The start of the run counts as a neighbour, and the last snapshot stays.

    The choice depends on nothing but the arguments. If some of the chosen snapshots have been
    deleted in the returned order, the rest is chosen again.

    Args:
        kimg: Thousands of images of each snapshot, ascending.
        keep: How many may stay, at least 1.
        wanted: Snapshots that stay in any case; they count.

    Returns:
        The snapshots to delete, in the order in which to delete them.
    """
    left, chosen = list(kimg), []
    while len(left) > keep:
        crowding = {
            this: (after - before) / (left[-1] - this)
            for before, this, after in zip([0, *left], left, left[1:], strict=False)
            if this not in wanted
        }
        if not crowding:
            break
        chosen.append(min(crowding, key=crowding.__getitem__))
        left.remove(chosen[-1])
    return chosen
