"""The processes of a run: the meaning of `--gpus` and `torchrun`, and how processes meet.

Each process has a `Worker` with its rank and device, which functions take as an argument. The
exchanges between processes are in `torch_utils.collectives`.
"""

import dataclasses
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch

from dnnlib import moved
from dnnlib.errors import MachineError
from torch_utils import local_processes
from torch_utils.devices import is_cuda, resolve_device
from torch_utils.shared_texts import TextsInMemory, TextsInStore

# The others wait while the main process exports sheets, which takes long without a GPU.
COLLECTIVE_TIMEOUT = timedelta(hours=2)
REPORT_BYTES = 1000
_POLL_SEC = 0.05  # pause while processes find one another

__getattr__ = moved.names_of(__name__)


@dataclass(frozen=True)
class Worker:
    """One process of a run.

    Attributes:
        rank: Number of the process, from 0.
        size: Number of processes.
        device: Where this process computes.
        control: Process group on the CPU for decisions about the run, `None` for one process.
        reports: Where processes report their progress at any time, `None` for one process.
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


def is_torchrun() -> bool:
    """Whether this process was started by `torchrun`, which sets its rank in the environment."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def num_torchrun_processes() -> int | None:
    """Number of processes that `torchrun` started, on all machines; `None` without it."""
    return _from_environment("WORLD_SIZE") if is_torchrun() else None


def num_local_processes(worker: Worker) -> int:
    """Number of processes of the run on this machine."""
    return _from_environment("LOCAL_WORLD_SIZE", worker.size) if is_torchrun() else worker.size


def launch_id() -> str | None:
    """Name of the `torchrun` command that started this process; `None` without `torchrun`.

    Processes that `torchrun` starts again after a failure have the same name: the job's
    `--rdzv-id`, or else the agent that started this process.
    """
    if not is_torchrun():
        return None
    job = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if job != "none":
        return job
    agent = psutil.Process(os.getppid())
    return f"{socket.gethostname()}:{agent.pid}:{agent.create_time()}"


def is_main_process() -> bool:
    """Whether this process writes. Before `launch`, only `torchrun` has started other processes."""
    return not is_torchrun() or _from_environment("RANK") == 0


def check_devices(num_processes: int, device_name: str) -> None:
    """Refuse more processes than this machine has devices, or than `torchrun` started.

    Raises:
        MachineError: If devices or processes are missing; the message names `--gpus` or `--device`.
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


def launch(
    function: Callable[..., str | None], num_processes: int, device_name: str, *args: Any
) -> str | None:
    """Run `function(worker, *args)` in every process of a run.

    Under `torchrun` this process is one of them. Otherwise `num_processes` local ones are started,
    each with its own GPU on CUDA; a single one runs right here.

    Args:
        function: A module-level function, because other processes must find it by name.
        num_processes: Number of processes, `--gpus`.
        device_name: The value of `--device`.
        args: Further arguments of the function, which must pickle.

    Returns:
        What the function returned in the main process, or in this one under `torchrun`: a short
        text or `None`.

    Raises:
        MachineError: If there are fewer GPUs than processes, or `torchrun` started another number
            of processes; also as `local_processes.run`.
    """
    check_devices(num_processes, device_name)
    if is_torchrun():
        device = resolve_device(device_name, _from_environment("LOCAL_RANK", default=0))
        worker = Worker(_from_environment("RANK"), num_processes, device)
        store = _store_of_torchrun(worker)
        return _run_in_group(function, worker, store, TextsInStore(store), args)
    if num_processes == 1:
        return function(Worker(device=resolve_device(device_name)), *args)
    with tempfile.TemporaryDirectory() as folder:
        return local_processes.run(
            _run_locally,
            num_processes,
            num_processes,
            device_name,
            Path(folder),
            TextsInMemory(num_processes, REPORT_BYTES),
            function,
            args,
        )


def _from_environment(name: str, default: int = -1) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise MachineError(f"the environment variable {name}={text!r} should be a number")
    return int(text)


def _run_locally(
    rank: int,
    size: int,
    device_name: str,
    folder: Path,
    reports: TextsInMemory,
    function: Callable[..., str | None],
    args: tuple,
) -> str | None:
    worker = Worker(rank, size, resolve_device(device_name, rank if is_cuda(device_name) else 0))
    if worker.device.type == "cpu":
        # The processes share the cores instead of each claiming all of them.
        torch.set_num_threads(max(min(torch.get_num_threads(), (os.cpu_count() or 1) // size), 1))
    store = torch.distributed.FileStore(os.fspath(folder / "rendezvous"), size)
    store.set_timeout(COLLECTIVE_TIMEOUT)
    return _run_in_group(function, worker, store, reports, args)


def _store_of_torchrun(worker: Worker) -> torch.distributed.Store:
    """A store in which these processes find one another, without entries of earlier processes.

    When `torchrun` starts processes again, they get the old store (PyTorch 2.13), which holds the
    addresses of processes that have died.
    """
    store, _, _ = next(
        torch.distributed.rendezvous("env://", worker.rank, worker.size, timeout=COLLECTIVE_TIMEOUT)
    )
    return torch.distributed.PrefixStore(agree_on_name(store, worker.rank, worker.size), store)


def agree_on_name(store: torch.distributed.Store, rank: int, size: int) -> str:
    """Agree on a new name that earlier processes with the same store do not know.

    Rank 0 makes up the name and sends it to each process that introduces itself with a nonce,
    until all have replied. A process that died before it replied had another nonce than its
    successor, so rank 0 does not confuse the two.
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
    function: Callable[..., str | None],
    worker: Worker,
    store: torch.distributed.Store,
    reports: TextsInMemory | TextsInStore,
    args: tuple,
) -> str | None:
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
        return function(dataclasses.replace(worker, control=control, reports=reports), *args)
    finally:
        torch.distributed.destroy_process_group()
