"""One record per tick: to the console, `training_stats.jsonl`, TensorBoard and its like."""

import contextlib
import errno
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

import dnnlib
from data import small_copies
from data.reading import UnusableImage
from dnnlib import errors, strict_json
from torch_utils import training_stats
from training.wandb_log import WandbLog

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

GIB = 2**30
NUM_NAMED = 4  # statistics that a notice names, at most
SHEET_SIDE = 2048  # pixels of a sheet in TensorBoard's files, which keep every sheet


class RunLog:
    """Statistics files of a run; only the main process has one.

    Args:
        run_dir: Folder of the run.
        jsonl_bytes: Size of the JSON file when the state of a continued run was saved. The rest is
            removed, because the run will write it again.
        cur_nimg: Images that a continued run has seen, `None` for a new run.
        wandb: Takes a copy of everything; `None` if nothing does.
    """

    def __init__(
        self,
        run_dir: str | Path,
        jsonl_bytes: int = 0,
        cur_nimg: int | None = None,
        wandb: WandbLog | None = None,
    ) -> None:
        # Unbuffered: a line that could not be written must not appear later.
        self._jsonl = (Path(run_dir) / "training_stats.jsonl").open("ab", buffering=0)
        self._num_bytes = min(self._jsonl.tell(), jsonl_bytes)
        self._jsonl.truncate(self._num_bytes)
        self._run_dir = run_dir
        self._is_failing = False  # whether the last attempt to write TensorBoard's files failed
        self._tensorboard = _open_tensorboard(
            run_dir, purge_step=None if cur_nimg is None else cur_nimg // 1000 + 1
        )
        self._wandb = wandb

    def num_bytes(self) -> int:
        """Size of the JSON file."""
        return self._num_bytes

    def write(self, stats: Mapping[str, Mapping[str, float]], cur_nimg: int) -> None:
        """Append a record: `name -> {num, mean, std}`; TensorBoard counts thousands of images.

        JSON has no NaN: means and deviations that are not finite become null, and a notice names
        them; without values they become null silently.
        """
        record: dict[str, Any] = {**stats, "timestamp": time.time()}
        record, _ = strict_json.replace_nonfinite(record)
        bad = [name for name, value in stats.items() if value["num"] and not _is_finite(value)]
        if bad:
            more = f" and {len(bad) - NUM_NAMED} more" if len(bad) > NUM_NAMED else ""
            print(f"Note: not finite in this tick: {', '.join(bad[:NUM_NAMED])}{more}.")
        self._append(strict_json.dumps(record).encode() + b"\n")
        self._write_scalars({name: value["mean"] for name, value in stats.items()}, cur_nimg)

    def write_metrics(self, metrics: Mapping[str, float], cur_nimg: int) -> None:
        """Write metrics to TensorBoard as `Metrics/<name>`; they have JSON files of their own."""
        self._write_scalars({f"Metrics/{name}": x for name, x in metrics.items()}, cur_nimg)

    def write_sheet(self, name: str, path: Path, cur_nimg: int) -> None:
        """Copy a sheet to TensorBoard as `Sheets/<name>`, scaled down to `SHEET_SIDE` pixels."""
        try:
            image = small_copies.read(path)
        except (OSError, UnusableImage) as error:
            reason = errors.message_of(error).partition(";")[0]
            print(f"Warning: {path.name} is missing in TensorBoard: {reason}")
            return
        small_copies.shrink(image, SHEET_SIDE)
        if self._wandb is not None:
            self._wandb.write({f"Sheets/{name}": image}, cur_nimg)
        pixels = np.asarray(image)
        self._write_tensorboard(
            lambda writer: writer.add_image(
                f"Sheets/{name}", pixels, global_step=cur_nimg // 1000, dataformats="HWC"
            )
        )

    def write_warning(self, name: str, text: str, cur_nimg: int) -> None:
        """Write a warning to TensorBoard as the text `Warning/<name>`."""
        self._write_tensorboard(
            lambda writer: writer.add_text(f"Warning/{name}", text, global_step=cur_nimg // 1000)
        )

    def _append(self, line: bytes) -> None:
        """Append a line to the JSON file, whole or not at all; a full disk only gives a warning."""
        try:
            num = self._jsonl.write(line)
            if num != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._num_bytes += num
        except OSError as error:
            print(f"Warning: training_stats.jsonl lacks a line: {error.strerror}")
            with contextlib.suppress(OSError):
                self._jsonl.truncate(self._num_bytes)

    def _write_scalars(self, scalars: Mapping[str, float], cur_nimg: int) -> None:
        if self._wandb is not None:
            self._wandb.write(scalars, cur_nimg)

        def write(writer: "SummaryWriter") -> None:
            for name, value in scalars.items():
                writer.add_scalar(name, value, global_step=cur_nimg // 1000)

        self._write_tensorboard(write)

    def _write_tensorboard(self, write: Callable[["SummaryWriter"], None]) -> None:
        try:
            if self._is_failing:
                self._tensorboard = _open_tensorboard(self._run_dir)
                self._is_failing = False
            if self._tensorboard is not None:
                write(self._tensorboard)
                self._tensorboard.flush()
        except OSError as error:
            # The error has ended the writer's thread: the next tick needs a new writer.
            self._is_failing, self._tensorboard = True, None
            print(f"Warning: TensorBoard's files lack a tick: {error.strerror}")

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        for file in (self._jsonl, self._tensorboard, self._wandb):
            if file is not None:
                with contextlib.suppress(OSError):  # there was a warning when it was written
                    file.close()


@dataclass(frozen=True)
class Tick:
    """Figures of a tick.

    Attributes:
        idx: Number of the tick.
        cur_nimg: Images that the run has seen.
        num_img: Images of this tick.
        total_sec: Duration of the run.
        tick_sec: Duration of the tick.
        maintenance_sec: Time between the previous tick and this one.
        augment_p: Strength of the augmentation.
        eta_sec: Estimated time until the run ends, `None` if it is unknown.
    """

    idx: int
    cur_nimg: int
    num_img: int
    total_sec: float
    tick_sec: float
    maintenance_sec: float
    augment_p: float
    eta_sec: float | None = None


def report_tick(tick: Tick, device: torch.device) -> str:
    """Report the figures of a tick as statistics of rank 0, and return them as the status line.

    The estimated remaining time is only in the line.
    """

    def report(name: str, value: float) -> float:
        training_stats.report0(name, value)
        return value

    cpu_mem = psutil.Process().memory_info().rss
    is_cuda = device.type == "cuda"
    peak_gpu = torch.cuda.max_memory_allocated(device) if is_cuda else 0
    peak_reserved = torch.cuda.max_memory_reserved(device) if is_cuda else 0
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    line = "  ".join(
        [
            f"tick {report('Progress/tick', tick.idx):<5d}",
            f"kimg {report('Progress/kimg', tick.cur_nimg / 1e3):<8.1f}",
            f"time {dnnlib.util.format_time(report('Timing/total_sec', tick.total_sec)):<12s}",
            f"sec/tick {report('Timing/sec_per_tick', tick.tick_sec):<7.1f}",
            f"sec/kimg {report('Timing/sec_per_kimg', tick.tick_sec / tick.num_img * 1e3):<7.2f}",
            f"maintenance {report('Timing/maintenance_sec', tick.maintenance_sec):<6.1f}",
            f"cpumem {report('Resources/cpu_mem_gb', cpu_mem / GIB):<6.2f}",
            f"gpumem {report('Resources/peak_gpu_mem_gb', peak_gpu / GIB):<6.2f}",
            f"reserved {report('Resources/peak_gpu_mem_reserved_gb', peak_reserved / GIB):<6.2f}",
            f"augment {report('Progress/augment', tick.augment_p):.3f}",
            *([] if tick.eta_sec is None else [f"eta {dnnlib.util.format_time(tick.eta_sec)}"]),
        ]
    )
    training_stats.report0("Timing/total_hours", tick.total_sec / (60 * 60))
    training_stats.report0("Timing/total_days", tick.total_sec / (24 * 60 * 60))
    return line


def _is_finite(value: Mapping[str, float]) -> bool:
    return math.isfinite(value["mean"]) and math.isfinite(value["std"])


def _open_tensorboard(run_dir: str | Path, purge_step: int | None = None) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("No TensorBoard files: run `pip install tensorboard` to get them.")
        return None
    return SummaryWriter(str(run_dir), purge_step=purge_step)
