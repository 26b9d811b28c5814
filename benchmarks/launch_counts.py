"""Counts what one iteration of training launches, on the meta device; `launches.py` prints it.

The iteration is that of `training.training_loop.Trainer`: data, phases, gradients, optimizer,
moving average, statistics, adaptive augmentation. The meta device has shapes, but no data, and
stands for CUDA. Wherever a choice depends on the device, it is made as on CUDA: see
`_choose_as_on_cuda`.

How launches are counted:

- An operation of PyTorch on tensors of the device is one kernel or one copy. Views, allocations and
  operations without elements launch nothing.
- Operations on lists of tensors (`_foreach_*`, `_fused_adam_`) are cut into chunks of `CHUNK`
  elements; a launch takes as many tensors and chunks as `LIMITS` says (`MultiTensorApply.cuh`).
  `cat` takes up to `CAT_TENSORS` tensors per launch.
- A backward pass of a convolution is a kernel per gradient.
- The kernels of this project count as their launchers record them. Not counted are operations of
  PyTorch inside of our ops, which add up the sums of blocks.

This file also runs with the packages of another checkout: see `launches.py`.
"""

import collections
import contextlib
import dataclasses
import functools
import io
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.networks import Setup
from torch_utils import training_stats
from torch_utils.distributed import Worker
from torch_utils.ops.cuda import recorder
from training import ema, phases, training_loop
from training.config import Cfg

META = torch.device("meta")
CHUNK, CAT_TENSORS = 65536, 128
# Most tensors of a launch by the number of lists, and most chunks, by the version of CUDA that
# PyTorch was built with.
LIMITS = {12: ((110, 64, 48, 36, 30), 320), 13: ((770, 448, 336, 252, 210), 2240)}
NETWORKS = ("forward", "backward")
OTHERS = ("gradients", "optimizer", "EMA", "statistics", "data and ADA")
PLACES = NETWORKS + OTHERS
NO_PHASE = "iteration"  # what belongs to no phase

Counts = dict[str, dict[str, float]]  # phase -> place -> launches


def measure(
    cfg: Cfg, resolution: int, batch: int, cbase: int, cmax: int, cuda: int, num_runs: int
) -> dict[str, Any]:
    """Count the launches of an average iteration, and time iterations without lazy phases.

    Args:
        cfg: Configuration of `train.py`.
        resolution: Size of the images.
        batch: Images per iteration, in one pass.
        cbase: Capacity multiplier.
        cmax: Most feature maps per layer.
        cuda: Version of CUDA, a key of `LIMITS`.
        num_runs: Timed iterations.

    Returns:
        `launches` of each phase when it runs, by place; `intervals`, in iterations, of the phases;
        `cpu_sec`, the processor time of an iteration of `Gmain` and `Dmain`.
    """
    with meta_trainer(Setup(cfg, resolution, batch, cbase, cmax)) as trainer:
        trainer._train_batch()  # prepares filters, and the moments of the optimizers
        intervals = {phase.name: phase.interval for phase in trainer.phases}
        period = math.lcm(*intervals.values(), trainer.ada.interval)
        trainer.batch_idx = 0
        counter = LaunchCounter(cuda)
        with counter, counter.activate(), _places(counter):
            for _ in range(period):
                trainer._train_batch()
        runs_sec: list[float] = []
        while len(runs_sec) < num_runs:
            trainer.batch_idx = 1  # no lazy phase, and no adjustment of the augmentation, is due
            start = time.process_time()
            trainer._train_batch()
            runs_sec.append(time.process_time() - start)
    intervals[NO_PHASE] = 1
    launches = {
        phase: {place: counter.counts[phase, place] * interval / period for place in PLACES}
        for phase, interval in intervals.items()
    }
    return dict(launches=launches, intervals=intervals, cpu_sec=min(runs_sec))


@contextlib.contextmanager
def meta_trainer(setup: Setup) -> Iterator[Any]:
    """A trainer on the meta device, which does as on CUDA inside, with adaptive augmentation."""
    with tempfile.TemporaryDirectory() as run_dir, _choose_as_on_cuda():
        yield _make_trainer(setup, run_dir)


class LaunchCounter(TorchDispatchMode, recorder.LaunchRecorder):
    """Counts launches inside by phase and place, which others set.

    Attributes:
        phase: What takes place now.
        place: Which part of it.
        counts: Number of launches so far.
    """

    def __init__(self, cuda: int) -> None:
        TorchDispatchMode.__init__(self)
        recorder.LaunchRecorder.__init__(self)
        self._limits = LIMITS[cuda]
        self.phase, self.place = NO_PHASE, "data and ADA"
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, kernel: Any) -> None:
        """Count a launch of a kernel of ours."""
        self.counts[self.phase, self.place] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation, and count its launches."""
        result = func(*args, **(kwargs or {}))
        if func.namespace == "aten":
            self.counts[self.phase, self.place] += self._num_launches(func, args, result)
        return result

    def _num_launches(self, func: Any, args: tuple[Any, ...], result: Any) -> int:
        name = func.overloadpacket.__name__
        tensors = [t for t in _flatten([args, result]) if t.numel() > 0]
        if not _is_on_device(tensors, self.place) or _launches_nothing(func, name):
            return 0
        if name.startswith(("_foreach_", "_fused_")):
            return self._num_list_launches(name, args)
        if name == "cat":
            return -(-len(args[0]) // CAT_TENSORS)
        if name == "convolution_backward":
            return sum(args[-1])
        return 1

    def _num_list_launches(self, name: str, args: tuple[Any, ...]) -> int:
        lists = [a for a in args if isinstance(a, (list, tuple)) and a and _flatten(a)]
        depth = len(lists) + (not name.endswith("_"))  # a list of results
        depth -= name.startswith("_fused_")  # the steps are passed in another way
        most_tensors, most_chunks = self._limits[0][depth - 1], self._limits[1]
        launches, num_tensors, num_chunks = 0, 0, 0
        for tensor in lists[0]:
            num_tensors += 1
            for _ in range(-(-tensor.numel() // CHUNK)):
                num_chunks += 1
                if num_chunks == most_chunks:
                    launches, num_tensors, num_chunks = launches + 1, 1, 0
            if num_tensors == most_tensors:
                launches, num_tensors, num_chunks = launches + 1, 0, 0
        return launches + (num_chunks > 0)

    @contextlib.contextmanager
    def at(self, place: str | None = None, phase: str | None = None) -> Iterator[None]:
        """Count what is launched inside under another place or phase."""
        before = self.phase, self.place
        self.phase, self.place = phase or self.phase, place or self.place
        yield
        self.phase, self.place = before


def _flatten(value: Any) -> list[Tensor]:
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in _flatten(item)]
    return [value] if isinstance(value, Tensor) else []


def _is_on_device(tensors: list[Tensor], place: str) -> bool:
    # Statistics are reported from stand-ins on the CPU; a counter of steps stays there anyway.
    return place == "statistics" or any(t.device == META for t in tensors)


@functools.cache
def _launches_nothing(func: Any, name: str) -> bool:
    """Whether an operation only makes a view, or allocates memory."""
    if name.startswith(("empty", "new_empty", "_unsafe_view", "_local_scalar", "set_", "resize_")):
        return True
    returns = [value.alias_info for value in func._schema.returns]
    return bool(returns) and all(alias is not None and not alias.is_write for alias in returns)


class _MetaTrainer(training_loop.Trainer):
    """A trainer without data and files."""

    def say(self, text: str) -> None:
        """Nobody reads it."""

    def _set_up_data(self, start: int) -> None:
        resolution = self.config.training_set_kwargs["resolution"]
        self.training_set: Any = _TrainingSet(resolution)
        self.batches: Any = _Batches(self.config.batch_gpu, resolution)

    def _set_up_files(self, state: Any) -> None:
        pass


class _TrainingSet:
    """The facts about a dataset of colour images without labels."""

    num_channels, label_dim = 3, 0

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution


class _Batches:
    """Serves the same batch again and again."""

    def __init__(self, batch: int, size: int) -> None:
        self._batch = torch.zeros([batch, 3, size, size], dtype=torch.uint8), torch.zeros(batch, 0)

    def load(self) -> tuple[Tensor, Tensor]:
        return self._batch


def _make_trainer(setup: Setup, run_dir: str) -> Any:
    config = dataclasses.replace(
        setup.config,
        run_dir=run_dir,
        training_set_kwargs=dict(resolution=setup.resolution),
        metrics=[],
        ada_target=0.6,
        cudnn_benchmark=False,
    )
    with META:
        trainer: Any = _MetaTrainer(Worker(device=META), config)
    trainer.cur_nimg = 1_000_000  # the blur of config R, which fades, is over
    # The counters cannot be read here; training reads them in every sixteenth iteration only.
    trainer.health.check = lambda networks: None
    options = getattr(phases, "device_options", lambda _: dict(foreach=True))
    for phase in trainer.phases:
        for group in phase.optimizer.param_groups:
            group.update(options(torch.device("cuda")))
    return trainer


@contextlib.contextmanager
def _choose_as_on_cuda() -> Iterator[None]:
    """Where PyTorch or this project treats the meta device otherwise than CUDA, do as on CUDA."""
    report, zeros = training_stats.report, functools.cache(torch.zeros)

    def report_stand_in(name: str, value: Any) -> Any:
        report(name, zeros(value.shape) if torch.is_tensor(value) else value)
        return value

    with (
        mock.patch.object(training_stats, "report", report_stand_in),
        mock.patch.object(
            sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused", lambda *_, **__: None
        ),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        yield


@contextlib.contextmanager
def _places(counter: LaunchCounter) -> Iterator[None]:
    """Tell a counter in which phase, and at which place of it, each launch takes place."""

    def wrapped(function: Callable[..., Any], place: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with counter.at(place):
                return function(*args, **kwargs)

        return call

    trainer_class = training_loop.Trainer
    run_phase = trainer_class._run_phase

    def run_phase_counted(trainer: Any, phase: Any, *args: Any) -> None:
        with counter.at("forward", phase.name):
            run_phase(trainer, phase, *args)

    targets = [
        (torch.autograd, "grad", "backward"),
        (torch.Tensor, "backward", "backward"),
        *((trainer_class, name, "gradients") for name in ("_join", "_share", "_step")),
        (torch.optim.Adam, "step", "optimizer"),
        (ema, "update_ema", "EMA"),
        (training_stats, "report", "statistics"),
        (training_stats, "_exchange", "statistics"),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, place in targets:
            if not hasattr(owner, name):
                continue  # an older version
            patch = mock.patch.object(owner, name, wrapped(getattr(owner, name), place))
            stack.enter_context(patch)
        stack.enter_context(mock.patch.object(trainer_class, "_run_phase", run_phase_counted))
        yield


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
