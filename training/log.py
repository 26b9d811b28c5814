"""One record per tick: to the console, `training_stats.jsonl` and TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

import dnnlib
from torch_utils import training_stats

GIB = 2**30


class RunLog:
    """Statistics files of a run; only the main process has one.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self._jsonl = (Path(run_dir) / "training_stats.jsonl").open("w", encoding="utf-8")
        self._tensorboard = _open_tensorboard(run_dir)

    def write(
        self,
        stats: Mapping[str, Mapping[str, float]],
        cur_nimg: int,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Append a record: `name -> {num, mean, std}`; TensorBoard counts thousands of images.

        Metrics go to TensorBoard only, as `Metrics/<name>`: they have files of their own.
        """
        record: dict[str, Any] = {**stats, "timestamp": time.time()}
        self._jsonl.write(json.dumps(record) + "\n")
        self._jsonl.flush()
        if self._tensorboard is not None:
            for name, value in stats.items():
                self._tensorboard.add_scalar(name, value["mean"], global_step=cur_nimg // 1000)
            for name, value in (metrics or {}).items():
                self._tensorboard.add_scalar(f"Metrics/{name}", value, global_step=cur_nimg // 1000)
            self._tensorboard.flush()

    def close(self) -> None:
        """Close the files."""
        self._jsonl.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def report_tick(
    tick: int,
    cur_nimg: int,
    total_sec: float,
    tick_sec: float,
    tick_nimg: int,
    maintenance_sec: float,
    augment_p: float,
    device: torch.device,
) -> str:
    """Report the figures of a tick as statistics of rank 0, and return them as the status line."""

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
            f"tick {report('Progress/tick', tick):<5d}",
            f"kimg {report('Progress/kimg', cur_nimg / 1e3):<8.1f}",
            f"time {dnnlib.util.format_time(report('Timing/total_sec', total_sec)):<12s}",
            f"sec/tick {report('Timing/sec_per_tick', tick_sec):<7.1f}",
            f"sec/kimg {report('Timing/sec_per_kimg', tick_sec / tick_nimg * 1e3):<7.2f}",
            f"maintenance {report('Timing/maintenance_sec', maintenance_sec):<6.1f}",
            f"cpumem {report('Resources/cpu_mem_gb', cpu_mem / GIB):<6.2f}",
            f"gpumem {report('Resources/peak_gpu_mem_gb', peak_gpu / GIB):<6.2f}",
            f"reserved {report('Resources/peak_gpu_mem_reserved_gb', peak_reserved / GIB):<6.2f}",
            f"augment {report('Progress/augment', augment_p):.3f}",
        ]
    )
    training_stats.report0("Timing/total_hours", total_sec / (60 * 60))
    training_stats.report0("Timing/total_days", total_sec / (24 * 60 * 60))
    return line


def _open_tensorboard(run_dir: str | Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("No TensorBoard files: run `pip install tensorboard` to get them.")
        return None
    return SummaryWriter(str(run_dir))
