"""Two or more ways to compute the same, side by side in one run, for `benchmarks/gpu_report.py`.

The sides of a comparison take turns, so that a slow moment of the machine hits all of them.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks import compared_operations, iteration, memory
from benchmarks.gpu_plan import Plan
from benchmarks.report import Item, Row
from benchmarks.side_by_side import rows
from torch_utils import devices
from training.config import Cfg, TrainConfig

NUM_ITERATIONS = 4  # without R1, of which one in 16 has it


def items(plan: Plan) -> list[Item]:
    """One item for each comparison: whole iterations first, then parts of them.

    From here on, cuDNN tries its algorithms.
    """
    devices.configure_backends(plan.device)
    t: Cfg = "stylegan3-t"
    whole: dict[str, list[Side]] = {
        "T, TF32": [Side("off"), Side("on", options=dict(tf32=True))],
        "T, precision": [
            Side("float16"),
            Side("bfloat16", options=dict(precision="bf16")),
            Side("float32", options=dict(precision="fp32")),
            Side("float32 with TF32", options=dict(precision="fp32", tf32=True)),
        ],
        "T, float16 layers of the discriminator": [
            Side("contiguous"),
            Side("channels_last", change=_channels_last_discriminator),
        ],
        "T, augmentation": [Side("ada"), Side("noaug", options=dict(aug="noaug"))],
    }
    parts = {
        "R, 1x1 convolutions": compared_operations.convolutions_as_products,
        "T, channels": compared_operations.padded_channels,
        "Adam": compared_operations.optimizers,
        "grid_sample of ADA": compared_operations.grid_samples,
    }
    return [
        *(Item(k, functools.partial(_iterations, plan, t, k, v)) for k, v in whole.items()),
        *(Item(name, functools.partial(rows_of, plan)) for name, rows_of in parts.items()),
    ]


@dataclass(frozen=True)
class Side:
    """A way to train.

    Attributes:
        name: For the table.
        options: Fields of `TrainOptions` that differ.
        change: Changes the configuration that follows from them.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[TrainConfig], TrainConfig] = lambda config: config


def _iterations(plan: Plan, cfg: Cfg, name: str, sides: list[Side]) -> Iterator[Row]:
    """Time whole iterations of several runs, which all stay in memory."""
    setup = plan.setup(cfg, plan.batches[cfg])
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    peaks: dict[str, int | None] = {}
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(iteration.dataset(plan.resolution))
        runs = {}
        for side in sides:
            config = iteration.config_of(setup, data, plan.device, **side.options)
            run = iteration.started(side.change(config), plan.device)
            runs[side.name] = stack.enter_context(run)
            # The start of a run sets this for the process, in which there are several here.
            with devices.using_tf32(config.tf32):
                runs[side.name].warm_up(min(NUM_ITERATIONS, plan.num_iterations))
        for _ in range(plan.num_rounds):
            for side in sides:
                before = memory.used_bytes(plan.device)
                memory.reset_peak(plan.device)
                with devices.using_tf32(runs[side.name].config.tf32):
                    timed = runs[side.name].measure(min(NUM_ITERATIONS, plan.num_iterations))
                found[side.name].append(timed.median_sec)
                peaks[side.name] = _added_peak(plan.device, before)
    yield from rows(name, found, peaks)


def _added_peak(device: torch.device, before: int | None) -> int | None:
    """Peak memory less what was in use before, by the other sides, too."""
    peak = memory.peak_bytes(device)
    return None if peak is None or before is None else peak - before


def _channels_last_discriminator(config: TrainConfig) -> TrainConfig:
    block_kwargs = dict(config.D_kwargs["block_kwargs"], fp16_channels_last=True)
    return dataclasses.replace(config, D_kwargs=dict(config.D_kwargs, block_kwargs=block_kwargs))
