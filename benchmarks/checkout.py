"""The same iterations with another checkout, side by side, for `benchmarks/gpu_report.py`.

Each side is a process of its own (`checkout_worker.py`), in the folder of its checkout. The
processes take turns, and wait while the other one computes.
"""

import functools
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from benchmarks import PROJECT_DIR, iteration, memory
from benchmarks.gpu_plan import Plan
from benchmarks.networks import Setup
from benchmarks.report import Item, Row
from dnnlib.errors import InputError
from training.config import Cfg

HEADER = ("network", "batch", "checkout", "s/kimg", "ms/iteration", "spread", "ratio", "peak GB")
WORKER = Path(__file__).with_name("checkout_worker.py")
# The published code builds its plugins with nvcc, once.
START_SEC, TURN_SEC = 240, 120


class Settings(TypedDict):
    """What `checkout_worker.py` reads; see there."""

    device: str
    G: dict[str, Any]
    D: dict[str, Any]
    loss: dict[str, Any]
    augment: dict[str, Any]
    augment_p: float
    batch: int
    resolution: int
    cur_nimg: int
    phases: dict[str, int]
    warmup: list[int]
    indices: list[int]


class CheckoutError(RuntimeError):
    """The process of a checkout has failed; the message ends with what it printed last."""


def check(folder: Path) -> None:
    """Refuse a folder that is no checkout.

    Raises:
        InputError: If it lacks one of the modules.
    """
    for name in ("training/networks_stylegan3.py", "training/loss.py", "torch_utils/misc.py"):
        if not (folder / name).exists():
            raise InputError(f"--checkout={folder}: there is no {name} in it")


def items(plan: Plan, folder: Path) -> list[Item]:
    """One item for each configuration."""
    return [Item(cfg, functools.partial(_rows, plan, cfg, folder)) for cfg in plan.batches]


def build_plugins(plan: Plan, folder: Path) -> "Side":
    """Start to build what the other checkout compiles at first use, with a tiny network."""
    setup = Setup("stylegan3-r", resolution=16, batch=4, cbase=256, cmax=8)
    return Side(folder, settings_of(setup, plan.device.type, num_iterations=1))


def settings_of(setup: Setup, device_type: str, num_iterations: int) -> Settings:
    """The networks of `train.py`, and the iterations that are timed."""
    config = setup.config
    images = setup.images
    phases = {name: interval for name, interval in setup.phases.items() if name[0] == "D"}
    if config.G_reg_interval is None:
        phases = {"Gboth": 1, **phases}
    else:
        phases = {"Gmain": 1, "Greg": config.G_reg_interval, **phases}
    return Settings(
        device=device_type,
        G={**config.G_kwargs, **images},
        D={**config.D_kwargs, **images},
        loss=config.loss_kwargs,
        augment=config.augment_kwargs or {},
        augment_p=0.2,
        batch=setup.batch,
        resolution=setup.resolution,
        cur_nimg=int(config.loss_kwargs.get("blur_fade_kimg", 0) * 1000),
        phases=phases,
        warmup=[0, 0, 1],  # all phases are due in iteration 0
        indices=list(range(iteration.FIRST, iteration.FIRST + num_iterations)),
    )


class Side:
    """A process that computes with a checkout.

    Args:
        folder: The checkout.
        settings: What the script reads, such as networks and sizes.
        worker: The script.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], worker: Path = WORKER) -> None:
        self._temp = tempfile.TemporaryDirectory()
        path = Path(self._temp.name) / "settings.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        self._errors = (Path(self._temp.name) / "errors.txt").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, str(worker), str(path)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait for networks, kernels and the first iterations; the first answer.

        Raises:
            CheckoutError: If the process fails or takes too long.
        """
        return self._answer(START_SEC)

    def measure(self) -> tuple[float, int | None]:
        """Seconds per iteration, over a whole cycle, and peak memory in bytes (on GPUs).

        Raises:
            CheckoutError: If the process fails or takes too long.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("1\n")
        self._process.stdin.flush()
        answer = self._answer(TURN_SEC)
        return answer["seconds"][0], answer["peak_bytes"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._errors.close()
        self._temp.cleanup()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, limit_sec: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=limit_sec)
        except queue.Empty:
            raise CheckoutError(f"no answer in {limit_sec} s{self._last_words()}") from None
        if not line:
            raise CheckoutError(f"ended with {self._process.wait()}{self._last_words()}")
        return json.loads(line)

    def _last_words(self) -> str:
        self._errors.flush()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return f": {lines[-1]}" if lines else ""


def _rows(plan: Plan, cfg: Cfg, folder: Path) -> Iterator[Row]:
    setup = plan.setup(cfg, plan.batches[cfg])
    settings = settings_of(setup, plan.device.type, plan.num_iterations)
    memory.release(plan.device)
    names = {"this one": PROJECT_DIR, str(folder): folder}
    sides: dict[str, Side] = {}
    try:
        for name, where in names.items():
            sides[name] = Side(where, settings)
        for name, side in sides.items():
            try:
                side.wait_until_ready()
            except CheckoutError as error:
                raise CheckoutError(f"{name}: {error}") from error
        found: dict[str, list[float]] = {name: [] for name in sides}
        peaks: dict[str, int | None] = {}
        for _ in range(plan.num_rounds):
            for name, side in sides.items():
                seconds, peaks[name] = side.measure()
                found[name].append(seconds)
    finally:
        for side in sides.values():
            side.close()
    first = median(found["this one"])
    for name, times in found.items():
        sec, spread = median(times), (max(times) - min(times)) / median(times)
        row = [cfg, str(setup.batch), name, f"{sec * 1000 / setup.batch:.4g}", f"{sec * 1e3:.4g}"]
        yield [*row, f"{spread:.0%}", f"{sec / first:.2f}", memory.gigabytes(peaks[name])]
