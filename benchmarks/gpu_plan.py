"""The sizes of all measurements of `benchmarks/gpu_report.py`."""

from dataclasses import dataclass, field

import torch

from benchmarks import accuracy, op_calls
from benchmarks.networks import Setup
from training.config import CFGS, Cfg

# Images per GPU and pass that people train with at 256x256; not what fills the memory.
BATCHES: dict[Cfg, int] = {"stylegan3-t": 16, "stylegan3-r": 8, "stylegan2": 16}


@dataclass(frozen=True)
class Plan:
    """The sizes of all measurements.

    Attributes:
        device: Where.
        resolution: Size of the images.
        cbase: Capacity of the networks, as for `train.py`.
        cmax: Likewise.
        check_resolution: Size of the images behind the calls that are checked.
        layer_batch: Images per call of a layer.
        batches: Images per iteration of training.
        graph_batch: Images per iteration with and without CUDA graphs.
        synthesis_batches: Images per pass of synthesis.
        dtypes: Types of the calls that are checked.
        num_iterations: Iterations of a timed run of training; a multiple of the intervals of lazy
            regularisation gives the mean over all of them.
        num_runs: Timed runs of everything; `None` for as many as fit into a budget.
        num_rounds: How often the sides of a comparison take turns.
        peak_sizes: Arguments of `measure_peaks`.
        start_cfgs: Configurations whose cold starts are timed.
    """

    device: torch.device
    resolution: int = 256
    cbase: int = 32768
    cmax: int = 512
    check_resolution: int = 32
    layer_batch: int = 4
    batches: dict[Cfg, int] = field(default_factory=lambda: dict(BATCHES))
    graph_batch: int = 4
    synthesis_batches: tuple[int, ...] = (1, 32)
    dtypes: tuple[torch.dtype, ...] = tuple(accuracy.MAX_ERROR)
    num_iterations: int = 16
    num_runs: int | None = None
    num_rounds: int = 2
    peak_sizes: tuple[int | None, int | None] = (None, None)
    start_cfgs: tuple[Cfg, ...] = CFGS

    @classmethod
    def tiny(cls, device: torch.device) -> "Plan":
        """A plan that takes seconds."""
        return cls(
            device,
            resolution=8,
            cbase=64,
            cmax=8,
            check_resolution=8,
            layer_batch=1,
            batches=dict.fromkeys(BATCHES, 4),
            synthesis_batches=(1, 2),
            dtypes=(torch.float32,),
            num_iterations=2,
            num_runs=1,
            num_rounds=1,
            peak_sizes=(256, 1 << 20),
            start_cfgs=CFGS[:1],
        )

    def setup(self, network: str, batch: int) -> Setup:
        """A network of `op_calls.NETWORKS`."""
        return Setup(op_calls.cfg_of(network), self.resolution, batch, self.cbase, self.cmax)
