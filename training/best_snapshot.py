"""The best snapshot of a run by one of its metrics, kept as `network-best.pkl`.

The training state holds which snapshot it is, so a run that goes back to an older state gets back
the best of that time. `network-best.json` says the same to readers, and which snapshot the pickle
is a copy of.
"""

import contextlib
import copy
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnnlib import errors, strict_json
from dnnlib.atomic_file import link_atomic, open_atomic
from dnnlib.errors import InputError
from dnnlib.text import printable
from metrics import metric_main, ranking
from metrics.ranking import Ranking
from torch_utils import collectives
from torch_utils.distributed import Worker
from training.run_dirs import network_path

PICKLE, RECORD = "network-best.pkl", "network-best.json"


def choose(keep_best: str | None, metrics: Sequence[str]) -> str | None:
    """Name of the value that decides which snapshot is the best; `None` if there is none.

    Args:
        keep_best: The option: a metric, one of its values, `none`, or `None` for the first of
            `metrics` that has a single value.
        metrics: Metrics of the run.

    Raises:
        ValueError: If the run does not evaluate it, or the metric has several values.
    """
    if keep_best is not None and keep_best.lower() == "none":
        return None
    if keep_best is None:
        single = [found[0] for found in map(ranking.of_metric, metrics) if len(found) == 1]
        return single[0].value_name if single else None
    if keep_best in ranking.of_metrics(metrics):
        return keep_best
    if keep_best in metrics:
        values = ranking.of_metric(keep_best)
        if not values:
            raise InputError(
                f"--keep-best={keep_best}: no value of this metric says which snapshot is better; "
                "choose another one, or none"
            )
        names = " or ".join(f"--keep-best={value.value_name}" for value in values)
        raise InputError(
            f"--keep-best={keep_best}: several values make up this metric; use {names}"
        )
    known = ranking.of_metrics(metric_main.list_valid_metrics())
    if keep_best not in known and not metric_main.is_valid_metric(keep_best):
        raise InputError(
            f"--keep-best={keep_best} is unknown; choose from {', '.join(known)} and none"
        )
    given = ",".join(metrics) or "none"
    raise InputError(
        f"--keep-best={keep_best}: --metrics={given} does not compute it; add it there, "
        "or use --keep-best=none"
    )


@dataclass
class Standing:
    """The best so far.

    Attributes:
        value: The value of the metric; `None` before the first.
        nimg: Images that the run had seen.
        num_worse: Evaluations since then.
        former: Pairs of the images of an earlier best snapshot, and those at which a better came.
    """

    value: float | None = None
    nimg: int = 0
    num_worse: int = 0
    former: list[list[int]] = field(default_factory=list)


class BestSnapshot:
    """Follows one value of the metrics. All processes construct this and are told the same.

    Attributes:
        ranking: The value; `None` if nothing is followed.
        standing: The best so far.

    Args:
        worker: This process; the main one prints and writes.
        run_dir: Folder of the run.
        value_name: Result of `choose`.
        available: Metrics that can be evaluated.
    """

    def __init__(
        self, worker: Worker, run_dir: Path, value_name: str | None, available: Iterable[str]
    ) -> None:
        self._worker = worker
        self._run_dir = run_dir
        self.standing = Standing()
        # State of earlier sessions, handed on to later ones while nothing is followed.
        self._unfollowed: dict[str, Any] | None = None
        self.ranking: Ranking | None = None
        if value_name is not None:
            self.ranking = ranking.of_metrics(available).get(value_name)
            if self.ranking is None:
                self._say(
                    f"Warning: without {value_name} the best snapshot is unknown: it is not kept, "
                    "and --patience has no effect."
                )
            else:
                self._say(f"{PICKLE} will be the snapshot with {self.ranking.describe()}.")

    def state_dict(self) -> dict[str, Any] | None:
        """What a continued run needs to know; `None` if nothing was ever followed."""
        if self.ranking is None:
            return copy.deepcopy(self._unfollowed)
        return dict(value_name=self.ranking.value_name, **dataclasses.asdict(self.standing))

    def load_state_dict(self, state: Mapping[str, Any] | None, is_other_data: bool) -> None:
        """Continue from a state; `restore` then sees to the file.

        Values of another metric, or of other data, cannot be compared: they are forgotten. If this
        session follows no value, the state is kept for one that does.

        Args:
            state: Result of `state_dict`; `None` if the run has followed no value until now.
            is_other_data: Whether the run goes on with other data than those of the state.
        """
        if self.ranking is None:
            self._unfollowed = None
            if state is not None and not is_other_data:
                self._unfollowed = copy.deepcopy(dict(state))
            return
        if state is None:
            reason = "the run has not looked for it until now"
        elif state["value_name"] != self.ranking.value_name:
            reason = f"until now the run looked for the best {printable(state['value_name'])}"
        elif is_other_data:
            reason = "values of other data cannot be compared"
        else:
            self.standing = _standing_in(state)
            return
        self._say(f"Note: the best snapshot is looked for from here on: {reason}.")

    def restore(self, cur_nimg: int) -> None:
        """Make the file that of a run which goes on after `cur_nimg` images; all take part.

        If the run goes back to an older state, the file may show images that it has not seen yet.
        It gets the best of that time back, and another file is renamed to `….abandoned`.
        """
        if self.ranking is None:
            return
        if self._worker.is_main:
            self._restore(cur_nimg)
        state = collectives.broadcast(self._worker, self.state_dict())
        self.load_state_dict(state, is_other_data=False)

    def update(self, values: Mapping[str, float], cur_nimg: int) -> None:
        """Take in the metrics of the snapshot after `cur_nimg` images.

        If the value is missing, because the metric failed, this was no evaluation.
        """
        if self.ranking is None:
            return
        value = values.get(self.ranking.value_name)
        if value is None:
            self._say(f"Note: without {self.ranking.value_name} this snapshot is not compared.")
            return
        best = self.standing
        if best.value is None:
            self.standing = Standing(value, cur_nimg)
        elif self.ranking.is_better(value, best.value):
            former = [*best.former, [best.nimg, cur_nimg]]
            self.standing = Standing(value, cur_nimg, former=former)
        else:
            best.num_worse += 1
        self._say(self.describe() + ".")
        if self._worker.is_main and not self._is_written():
            self._write()

    def describe(self) -> str:
        """`Best so far: fid50k_full 12.3 at 400.0 kimg, 2 evaluations ago`."""
        assert self.ranking is not None
        best = self.standing
        if best.value is None:
            return f"Best so far: no {self.ranking.value_name} yet"
        when = "this snapshot"
        if best.num_worse:
            when = f"{best.num_worse} evaluation{'s' * (best.num_worse > 1)} ago"
        where = f"at {best.nimg / 1000:.1f} kimg"
        return f"Best so far: {self.ranking.value_name} {best.value:g} {where}, {when}"

    def wanted(self, oldest_state: int) -> list[int]:
        """Snapshots that must stay, by their images: the best one, and those of older states.

        The best of earlier sessions stays even if this session follows no value.

        Args:
            oldest_state: Images of the oldest state from which the run could continue.
        """
        best = self.standing if self._unfollowed is None else _standing_in(self._unfollowed)
        if best.value is None:
            return []
        # The state of a snapshot is saved before the snapshot is evaluated.
        former = [nimg for nimg, replaced_at in best.former if replaced_at >= oldest_state]
        return [*former, best.nimg]

    def _restore(self, cur_nimg: int) -> None:
        is_gone = False
        if self.standing.value is not None and not self._is_written():
            is_gone = not self._snapshot().exists()
            if is_gone:
                self._say(
                    f"Note: {self._snapshot().name}, the best so far, is gone; the best snapshot "
                    "is looked for from here on."
                )
                self.standing = Standing()
            else:
                self._write()
        if is_gone or self._written_nimg() > cur_nimg:
            for name in (PICKLE, RECORD):
                with contextlib.suppress(FileNotFoundError):
                    (self._run_dir / name).replace(self._run_dir / f"{name}.abandoned")

    def _snapshot(self) -> Path:
        return network_path(self._run_dir, self.standing.nimg)

    def _record(self) -> dict[str, Any]:
        """What `network-best.json` must say."""
        assert self.ranking is not None
        names = dict(metric=self.ranking.metric, value_name=self.ranking.value_name)
        place = dict(nimg=self.standing.nimg, snapshot_pkl=self._snapshot().name)
        return dict(**names, value=self.standing.value, **place)

    def _written_record(self) -> dict[str, Any]:
        """What `network-best.json` says; empty if it says nothing."""
        try:
            record = json.loads((self._run_dir / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def _written_nimg(self) -> int:
        nimg = self._written_record().get("nimg")
        return nimg if isinstance(nimg, int) else -1

    def _is_written(self) -> bool:
        pickle, snapshot = self._run_dir / PICKLE, self._snapshot()
        if not pickle.exists() or self._written_record() != self._record():
            return False
        # The process may have been killed between writing one file and the other.
        return not snapshot.exists() or _size_and_time(pickle) == _size_and_time(snapshot)

    def _write(self) -> None:
        """Write both files; after a failure the next evaluation tries again."""
        try:
            link_atomic(self._snapshot(), self._run_dir / PICKLE)
            # Last, so that the record never speaks of a file that is not there yet.
            with open_atomic(self._run_dir / RECORD, "w") as f:
                f.write(strict_json.dumps(self._record(), indent=2))
        except OSError as error:
            self._say(f"Warning: {PICKLE} was not written: {errors.message_of(error)}")

    def _say(self, text: str) -> None:
        if self._worker.is_main:
            print(text)


def _standing_in(state: Mapping[str, Any]) -> Standing:
    """The best so far of a state, see `BestSnapshot.state_dict`."""
    values = {key: value for key, value in state.items() if key != "value_name"}
    return copy.deepcopy(Standing(**values))


def _size_and_time(path: Path) -> tuple[int, int]:
    """The same for a hard link and for a copy, see `link_atomic`."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
