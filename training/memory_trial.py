"""`--batch-gpu=auto`: tries how many samples per process and pass fit into memory.

Tried are networks, optimizers and a loss like those of the run, which is set up afterwards: random
generators and statistics stay as they were.
"""

import copy
import threading
import time
from collections.abc import Callable, Mapping

import psutil
import torch

from data import image_cache
from dnnlib import errors
from dnnlib.errors import MachineError
from torch_utils import collectives, devices, distributed, training_stats
from torch_utils.distributed import Worker
from training import build, gradients, minibatch_groups, phases, random_state
from training.config import TrainConfig
from training.health import Health

RESERVE_SHARE = 0.05  # of a GPU's memory; stays free for what comes later, and for fragmentation
CPU_SHARE = 0.8  # of the free memory that a run may take by the estimate
CPU_PROBES = (2, 4)  # samples of the passes from which larger ones are estimated
POLL_SEC = 0.002
GB = 1e9


def choose(
    worker: Worker, config: TrainConfig, images: Mapping[str, int], say: Callable[[str], None]
) -> TrainConfig:
    """Find the largest `batch_gpu` that fits in every process; all processes must call this.

    A GPU says when its memory is used up: the sizes are tried, from the largest down, while a
    twentieth of the memory is reserved. A CPU does not say so, because the system kills the process
    instead: the peaks of two small passes give a line, and the largest size is taken for which the
    line stays below four fifths of the free memory (of the machine or the container, shared by the
    processes on the machine).

    A trial is a full pass of every phase, with a second pass if the size asks for several, the
    steps of the optimizers, and a part of the sheet. Adaptive augmentation counts at full strength.

    Args:
        worker: This process.
        config: The run; `batch_size` and the group size decide which sizes there are.
        images: As `build.network_kwargs` returns them.
        say: Prints a line in the main process.

    Returns:
        The configuration with the size.

    Raises:
        MachineError: In all processes, if not even the smallest size fits into one of them.
    """
    per_process = config.batch_size // config.num_gpus
    sizes = minibatch_groups.pass_sizes(per_process, config.mbstd_group) or [per_process]
    if len(sizes) == 1:
        say(f"--batch-gpu=auto: {sizes[0]} samples per process and pass are the only choice.\n")
        return config.with_batch_gpu(sizes[0])
    say("Trying how many samples per process and pass fit into memory (--batch-gpu=auto)...")
    start_time = time.monotonic()
    find = _largest_by_estimate if worker.device.type == "cpu" else _largest_by_trying
    random = random_state.capture(worker.device)
    with training_stats.held() as reports:
        mine = find(worker, config, images, sizes, say)
        reports.clear()
    random_state.restore(random, worker.device)
    devices.free_memory(worker.device)
    if worker.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(worker.device)
    chosen = -collectives.highest(worker, -mine)[0]
    if chosen == 0:
        raise MachineError(
            f"--batch-gpu=auto: not even {sizes[-1]} samples per process and pass fit into memory; "
            f"use a smaller --cbase or --mbstd-group (--batch-gpu={sizes[-1]} tries nevertheless)"
        )
    say(
        f"--batch-gpu=auto: {chosen} samples per process and pass, in "
        f"{per_process // chosen} pass(es); found in {time.monotonic() - start_time:.1f} s, which "
        f"--batch-gpu={chosen} saves.\n"
    )
    return config.with_batch_gpu(chosen)


def _largest_by_trying(
    worker: Worker,
    config: TrainConfig,
    images: Mapping[str, int],
    sizes: list[int],
    say: Callable[[str], None],
) -> int:
    """The first of the sizes that runs without an error for lack of memory, 0 for none."""
    reserve = _reserve(worker.device)
    for size in sizes:
        fits = True
        try:
            # Networks of its own for each size, so that nothing of a failed trial stays behind.
            _Rehearsal(config, images, worker.device).run(size)
        except Exception as error:
            if not errors.is_out_of_memory(error):
                raise
            fits = False
        devices.free_memory(worker.device)
        say(f"  {size} samples: {'fit' if fits else 'out of memory'}")
        if fits:
            del reserve
            return size
    return 0


def _largest_by_estimate(
    worker: Worker,
    config: TrainConfig,
    images: Mapping[str, int],
    sizes: list[int],
    say: Callable[[str], None],
) -> int:
    """The largest size whose estimated peak the free memory holds, 0 for none."""
    free = image_cache.free_bytes() * CPU_SHARE / distributed.num_local_processes(worker)
    collectives.highest(worker, 0)  # all look at the free memory before one of them takes some
    probes = [min(size, config.batch_size // config.num_gpus) for size in CPU_PROBES]
    peaks = []
    with _PeakMemory() as memory:
        rehearsal = _Rehearsal(config, images, worker.device)
        for num in probes:
            rehearsal.run(num)
            peaks.append(memory.peak())
            say(f"  {num} samples: {peaks[-1] / GB:.2f} GB")
    per_sample = max(peaks[1] - peaks[0], 0) / max(probes[1] - probes[0], 1)
    estimates = {size: peaks[0] + per_sample * (size - probes[0]) for size in sizes}
    fitting = [size for size in sizes if estimates[size] <= free]
    size = fitting[0] if fitting else sizes[-1]
    say(f"  {size} samples: {estimates[size] / GB:.2f} GB by estimate, of {free / GB:.2f} GB")
    return fitting[0] if fitting else 0


class _Rehearsal:
    """What takes memory in a run, to try passes with."""

    def __init__(
        self, config: TrainConfig, images: Mapping[str, int], device: torch.device
    ) -> None:
        self.per_process = config.batch_size // config.num_gpus
        G = build.build_generator(config, images, device).requires_grad_(False)
        D = build.build_discriminator(config, images, device).requires_grad_(False)
        pipe = build.build_augment_pipe(config, device)
        if pipe is not None and config.ada_target is not None:
            pipe.p.fill_(1)  # the strength that takes most memory
        self.G_ema = copy.deepcopy(G).eval()
        self.loss = build.build_loss(config, device, G, D, pipe)
        self.phases = [
            *phases.make_phases("G", G, config.G_opt_kwargs, config.G_reg_interval),
            *phases.make_phases("D", D, config.D_opt_kwargs, config.D_reg_interval),
        ]
        self.health = Health([phase.name for phase in self.phases], config.max_nan_steps, device)
        size, channels = images["img_resolution"], images["img_channels"]
        self.batch: phases.Batch = (
            torch.zeros([self.per_process, channels, size, size], device=device),
            torch.zeros([self.per_process, images["c_dim"]], device=device),
            torch.randn([self.per_process, G.z_dim], device=device),
            torch.zeros([self.per_process, images["c_dim"]], device=device),
        )

    def run(self, num_samples: int) -> None:
        """Run all phases with passes of this size, and draw as many images of the sheet."""
        # The second pass needs more memory than the first: it adds to gradients that exist.
        num = min(2 * num_samples, self.per_process // num_samples * num_samples)
        real_img, real_c, gen_z, gen_c = (tensor[:num] for tensor in self.batch)
        for phase in self.phases:
            phase.module.requires_grad_(True)
            batch = (real_img, real_c, gen_z, gen_c)
            phases.accumulate_gradients(self.loss, phase, batch, num_samples, cur_nimg=0)
            phase.module.requires_grad_(False)
            with torch.no_grad():
                if (grads := gradients.join(phase.module)) is not None:
                    grads = self.health.make_finite(phase.name, grads)
                    gradients.replace(phase.module, grads)
                    phase.optimizer.step()
            phase.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.G_ema(gen_z[:num_samples], gen_c[:num_samples], noise_mode="const")
        devices.synchronize(real_img.device)


class _PeakMemory:
    """Highest memory of this process since the start of a `with` block, in bytes.

    `host_memory.keep_freed_memory` keeps the memory that passes free, so that a peak stays visible;
    where memory returns to the system, a thread looks often enough to see most peaks.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_PeakMemory":
        self._start = self._highest = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def peak(self) -> int:
        """Bytes above those at the start."""
        return max(self._highest, self._now()) - self._start

    def _now(self) -> int:
        return self._process.memory_info().rss

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SEC):
            self._highest = max(self._highest, self._now())


def _reserve(device: torch.device) -> torch.Tensor | None:
    """Memory of a GPU that the trial must not use."""
    if device.type != "cuda":
        return None
    total = torch.cuda.mem_get_info(device)[1]
    return torch.empty([int(total * RESERVE_SHARE)], dtype=torch.uint8, device=device)
