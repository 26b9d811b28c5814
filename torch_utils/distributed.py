"""Devices and processes: what `--device`, `--gpus` and `torchrun` mean.

A `Worker` says who a process is; it is passed around explicitly. Collective functions do nothing in
a run of one process.
"""

import dataclasses
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from dnnlib import heartbeat
from dnnlib.errors import InputError, MachineError
from torch_utils import local_processes
from torch_utils.host_memory import keep_freed_memory
from torch_utils.shared_texts import TextsInMemory, TextsInStore

DEVICES = ("auto", "cuda", "cpu", "mps")

# Processes wait while the main one exports sheets of images, which takes long without a GPU.
COLLECTIVE_TIMEOUT = timedelta(hours=2)
_POLL_SEC = 0.05  # while processes find one another
REPORT_BYTES = 1000


@dataclass(frozen=True)
class Worker:
    """One process of a run.

    Attributes:
        rank: Number of the process, from 0.
        size: Number of processes.
        device: Where this process computes.
        control: Process group on the CPU for what steers the run, `None` for one process.
        reports: Where processes say at any time what they have got done, `None` for one process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    control: Any = None
    reports: TextsInMemory | TextsInStore | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0


def resolve_device(name: str = "auto", index: int = 0) -> torch.device:
    """Turn the value of `--device` into a device of this machine.

    Args:
        name: One of `DEVICES`; `"auto"` takes CUDA where there is a GPU, the CPU otherwise.
        index: Which of several GPUs.

    Raises:
        ValueError: If the name is unknown.
        RuntimeError: If the machine does not have the device.
    """
    if name not in DEVICES:
        raise InputError(f"--device must be one of {', '.join(DEVICES)}, got {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        present = num_gpus()
        if index >= present:
            raise MachineError(
                f"--device=cuda: this machine has {present} usable GPU(s), number {index + 1} was "
                "asked for; use --device=cpu, fewer --gpus, or check the driver with nvidia-smi"
            )
        return torch.device("cuda", index)
    if name == "mps" and not torch.backends.mps.is_available():
        raise MachineError("--device=mps: this machine has no Apple GPU; use --device=cpu")
    return torch.device(name)


def num_gpus() -> int:
    """GPUs that `--device=cuda` can have on this machine."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def is_torchrun() -> bool:
    """Whether this process was started by `torchrun`, which sets its rank in the environment."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def num_torchrun_processes() -> int | None:
    """How many processes `torchrun` started, on all machines; `None` without it."""
    return _from_environment("WORLD_SIZE") if is_torchrun() else None


def launch_id() -> str | None:
    """What the processes that one `torchrun` command starts, again after failures, have in common.

    That is the job's `--rdzv-id`; without one, the agent that started this process. `None` without
    `torchrun`.
    """
    if not is_torchrun():
        return None
    job = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if job != "none":
        return job
    agent = psutil.Process(os.getppid())
    return f"{socket.gethostname()}:{agent.pid}:{agent.create_time()}"


def is_main_process() -> bool:
    """Whether this process writes; before `launch`, only `torchrun` has started others."""
    return not is_torchrun() or _from_environment("RANK") == 0


def check_devices(num_processes: int, device_name: str) -> None:
    """Refuse more processes than this machine has devices for, or than `torchrun` started.

    Raises:
        RuntimeError: If there are not enough; the message names `--gpus` or `--device`.
    """
    if is_torchrun():
        size = _from_environment("WORLD_SIZE")
        if size != num_processes:
            raise MachineError(
                f"--gpus={num_processes}, but torchrun started {size} processes: make them equal"
            )
        resolve_device(device_name, _from_environment("LOCAL_WORLD_SIZE", default=1) - 1)
        return
    device = resolve_device(device_name)
    if device.type == "cuda":
        resolve_device(device_name, num_processes - 1)
    elif num_processes > 1 and device.type == "mps":
        raise MachineError(f"--gpus={num_processes}: there is one Apple GPU; use --gpus=1")
    elif num_processes > 1 and device_name == "auto":
        raise MachineError(
            f"--gpus={num_processes}: this machine has no usable GPU; use --gpus=1, or "
            "--device=cpu to start so many processes on the processor"
        )


def launch(function: Callable[..., None], num_processes: int, device_name: str, *args) -> None:
    """Run `function(worker, *args)` in every process of a run.

    Under `torchrun` this process is one of them. Otherwise `num_processes` local ones are started,
    each with its own GPU on CUDA; a single one runs right here.

    Args:
        function: What to run; a module-level function, since other processes must find it.
        num_processes: Number of processes, `--gpus`.
        device_name: The value of `--device`.
        args: Further arguments of the function, which must pickle.

    Raises:
        RuntimeError: If there are fewer GPUs than processes, or `torchrun` started another number;
            or as `local_processes.run` says.
    """
    check_devices(num_processes, device_name)
    if is_torchrun():
        device = resolve_device(device_name, _from_environment("LOCAL_RANK", default=0))
        worker = Worker(_from_environment("RANK"), num_processes, device)
        store = _store_of_torchrun(worker)
        _run_in_group(function, worker, store, TextsInStore(store), args)
    elif num_processes == 1:
        function(Worker(device=resolve_device(device_name)), *args)
    else:
        with tempfile.TemporaryDirectory() as folder:
            local_processes.run(
                _run_locally,
                num_processes,
                num_processes,
                device_name,
                Path(folder),
                TextsInMemory(num_processes, REPORT_BYTES),
                function,
                args,
            )


def configure_backends(
    device: torch.device, cudnn_benchmark: bool = True, deterministic: bool = False
) -> None:
    """Compute in full float32 on GPUs (no TF32), and let cuDNN try its algorithms or not.

    Where the CPU computes, it keeps memory that was freed: see `keep_freed_memory`.

    Args:
        device: Where this process computes.
        cudnn_benchmark: Let cuDNN measure which algorithm is fastest.
        deterministic: Use algorithms that give the same bits each time only.
    """
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.utils.deterministic.fill_uninitialized_memory = False  # only costs time


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def broadcast_module(worker: Worker, module: torch.nn.Module | None) -> None:
    """Give every process the parameters and buffers of rank 0."""
    if worker.size > 1 and module is not None:
        with heartbeat.collective():
            for tensor in [*module.parameters(), *module.buffers()]:
                torch.distributed.broadcast(tensor.detach(), src=0)


def any_of(worker: Worker, *flags: bool) -> list[bool]:
    """Each flag, or-ed over all processes, so that they decide alike. Does not wait for GPUs."""
    if worker.size == 1:
        return list(flags)
    shared = torch.tensor(flags, dtype=torch.uint8)
    with heartbeat.collective():
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, group=worker.control)
    return [bool(flag) for flag in shared.tolist()]


def gather(worker: Worker, value: Any) -> list[Any] | None:
    """What each process has, by rank, on rank 0; `None` elsewhere."""
    if worker.size == 1:
        return [value]
    values = [None] * worker.size if worker.is_main else None
    with heartbeat.collective():
        torch.distributed.gather_object(value, values, dst=0, group=worker.control)
    return values


def broadcast(worker: Worker, value: Any) -> Any:
    """What rank 0 has, on all processes."""
    if worker.size == 1:
        return value
    values = [value]
    with heartbeat.collective():
        torch.distributed.broadcast_object_list(values, src=0, group=worker.control)
    return values[0]


def average(worker: Worker, tensors: Iterable[Tensor]) -> None:
    """Replace tensors of one dtype by their averages over all processes, in one reduction."""
    tensors = list(tensors)
    if worker.size == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    with heartbeat.collective():
        torch.distributed.all_reduce(flat)
    flat /= worker.size
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))


def _from_environment(name: str, default: int = -1) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise MachineError(f"the environment variable {name}={text!r} should be a number")
    return int(text)


def _is_cuda(device_name: str) -> bool:
    return device_name == "cuda" or (device_name == "auto" and torch.cuda.is_available())


def _run_locally(
    rank: int, size: int, device_name: str, folder: Path, reports: TextsInMemory, function, args
) -> None:
    worker = Worker(rank, size, resolve_device(device_name, rank if _is_cuda(device_name) else 0))
    if worker.device.type == "cpu":
        # The processes share the cores instead of each claiming all of them.
        torch.set_num_threads(max(min(torch.get_num_threads(), (os.cpu_count() or 1) // size), 1))
    store = torch.distributed.FileStore(os.fspath(folder / "rendezvous"), size)
    store.set_timeout(COLLECTIVE_TIMEOUT)
    _run_in_group(function, worker, store, reports, args)


def _store_of_torchrun(worker: Worker) -> torch.distributed.Store:
    """What processes tell one another where they can be reached, without what others left there.

    When `torchrun` starts processes again it hands the old store to them (PyTorch 2.13), with the
    addresses of processes that have died.
    """
    store, _, _ = next(
        torch.distributed.rendezvous("env://", worker.rank, worker.size, timeout=COLLECTIVE_TIMEOUT)
    )
    return torch.distributed.PrefixStore(agree_on_name(store, worker.rank, worker.size), store)


def agree_on_name(store: torch.distributed.Store, rank: int, size: int) -> str:
    """A new name that only the processes which call this now have in common.

    Rank 0 makes it up, and repeats it to each process that introduces itself until all have
    replied. Those that died before they replied have other nonces than their successors.
    """
    if rank > 0:
        nonce = uuid.uuid4().hex
        store.set(f"hello/{rank}", nonce)
        name = store.get(f"name/{nonce}").decode()
        store.set(f"reply/{name}/{rank}", "")
        return name
    name = uuid.uuid4().hex
    missing = set(range(1, size))
    while missing:
        for other in list(missing):
            if store.check([f"reply/{name}/{other}"]):
                missing.remove(other)
            elif store.check([f"hello/{other}"]):
                nonce = store.get(f"hello/{other}").decode()
                store.set(f"name/{nonce}", name)
        time.sleep(_POLL_SEC)
    return name


def _run_in_group(
    function,
    worker: Worker,
    store: torch.distributed.Store,
    reports: TextsInMemory | TextsInStore,
    args,
) -> None:
    backend = "nccl" if worker.device.type == "cuda" and os.name != "nt" else "gloo"
    if worker.device.type == "cuda":
        torch.cuda.set_device(worker.device)
    torch.distributed.init_process_group(
        backend,
        store=store,
        rank=worker.rank,
        world_size=worker.size,
        timeout=COLLECTIVE_TIMEOUT,
    )
    try:
        control = torch.distributed.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
        function(dataclasses.replace(worker, control=control, reports=reports), *args)
    finally:
        torch.distributed.destroy_process_group()
