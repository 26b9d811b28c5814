"""Training phases: each trains one network at an interval, with an optimizer.

With lazy regularisation (Karras et al. 2020, "Analyzing and Improving the Image Quality of
StyleGAN", Sec. 3.1) the regularisation is a phase of its own that runs in every n-th iteration.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import dnnlib
from dnnlib import heartbeat
from training.loss import StyleGAN2Loss

# Real images, their labels, latents, and the labels of these.
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass
class Phase:
    """One kind of update.

    Attributes:
        name: As `StyleGAN2Loss.accumulate_gradients` takes it.
        module: The network that is trained.
        optimizer: Its optimizer, shared by the phases of one network.
        interval: Run once in this many iterations, with the gradients times this number.
        timer: Measures the executions.
    """

    name: str
    module: torch.nn.Module
    optimizer: torch.optim.Optimizer
    interval: int = 1
    timer: "Timer" = field(default_factory=lambda: Timer())


def make_phases(
    name: str, module: torch.nn.Module, opt_kwargs: dict[str, Any], reg_interval: int | None
) -> list[Phase]:
    """The phases of one network, in the order in which they run.

    Args:
        name: `"G"` or `"D"`.
        module: The network.
        opt_kwargs: `class_name` and arguments of the optimizer.
        reg_interval: Interval of lazy regularisation, `None` to regularise in every iteration.
    """
    if reg_interval is not None:
        opt_kwargs = lazy_optimizer_kwargs(opt_kwargs, reg_interval)
    devices = {param.device for param in module.parameters()}
    opt_kwargs = {**opt_kwargs, **device_options(devices.pop())}
    # Adam refuses integer betas next to float ones.
    opt_kwargs = {**opt_kwargs, "betas": tuple(float(beta) for beta in opt_kwargs["betas"])}
    optimizer = dnnlib.util.construct_class_by_name(module.parameters(), **opt_kwargs)
    if reg_interval is None:
        return [Phase(f"{name}both", module, optimizer)]
    return [
        Phase(f"{name}main", module, optimizer),
        Phase(f"{name}reg", module, optimizer, interval=reg_interval),
    ]


def device_options(device: torch.device) -> dict[str, Any]:
    """Arguments of optimizers for parameters on a device: how to compute, not what."""
    # One call for all parameters, rather than about ten operations for each; on CUDA, one launch
    # for many parameters, which counts their steps on the device.
    return dict(fused=True) if device.type in ("cpu", "cuda") else {}


def lazy_optimizer_kwargs(opt_kwargs: dict[str, Any], reg_interval: int) -> dict[str, Any]:
    """Adjust learning rate and betas to `reg_interval + 1` updates in place of `reg_interval`."""
    ratio = reg_interval / (reg_interval + 1)
    return {
        **opt_kwargs,
        "lr": opt_kwargs["lr"] * ratio,
        "betas": [beta**ratio for beta in opt_kwargs["betas"]],
    }


def accumulate_gradients(
    loss: StyleGAN2Loss, phase: Phase, batch: Batch, batch_gpu: int, cur_nimg: int
) -> None:
    """Add the gradients of a phase, averaged over passes of `batch_gpu` samples, to its network."""
    passes = [tensor.split(batch_gpu) for tensor in batch]
    for real_img, real_c, gen_z, gen_c in zip(*passes, strict=True):
        loss.accumulate_gradients(
            phase=phase.name,
            real_img=real_img,
            real_c=real_c,
            gen_z=gen_z,
            gen_c=gen_c,
            gain=phase.interval / len(passes[0]),
            cur_nimg=cur_nimg,
        )
        heartbeat.beat()


def optimizers(phases: Iterable[Phase]) -> dict[str, torch.optim.Optimizer]:
    """Each optimizer once, under the name of the last phase that shares it."""
    last = {id(phase.optimizer): phase for phase in phases}
    return {phase.name: phase.optimizer for phase in last.values()}


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the moments of an optimizer; it keeps its learning rate and other settings.

    The settings decide where PyTorch keeps the numbers of steps, so those of the optimizer replace
    those of the state, which may come from another kind of device.
    """
    groups = [
        {**own, "params": saved["params"]}
        for own, saved in zip(optimizer.param_groups, state["param_groups"], strict=True)
    ]
    moments = {idx: _with_step_on_cpu(of_param) for idx, of_param in state["state"].items()}
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _with_step_on_cpu(moments: dict[str, Any]) -> dict[str, Any]:
    """Moments whose number of steps is on the CPU, where PyTorch expects it in a state.

    PyTorch itself moves the number to the device of an optimizer with `fused`.
    """
    return {k: v.cpu() if k == "step" else v for k, v in moments.items()}


class Timer:
    """Measures the last execution of a block; on CUDA, the time on the device.

    Reading the duration waits for the device; measuring does not.
    """

    def __init__(self) -> None:
        self._start: float | torch.cuda.Event | None = None
        self._end: float | torch.cuda.Event | None = None

    def __enter__(self) -> "Timer":
        self._start = _now()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end = _now()

    @property
    def ms(self) -> float | None:
        """Milliseconds, `None` before the first execution."""
        if self._start is None or self._end is None:
            return None
        if isinstance(self._start, float) or isinstance(self._end, float):
            assert isinstance(self._start, float) and isinstance(self._end, float)
            return (self._end - self._start) * 1e3
        self._end.synchronize()
        return self._start.elapsed_time(self._end)


def _now() -> float | torch.cuda.Event:
    if not torch.cuda.is_initialized():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
