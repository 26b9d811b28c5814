"""The states of a process's random generators, as tensors and plain data."""

import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed all generators of this process with a number below 2**32."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def capture(device: torch.device) -> dict[str, Any]:
    """States of the generators of Python, NumPy, PyTorch and the device."""
    legacy_state = np.random.get_state()
    assert isinstance(legacy_state, tuple)  # the default; `legacy=False` would give a dictionary
    name, keys, position, has_gauss, gauss = legacy_state
    version, numbers, gauss_next = random.getstate()
    return {
        "python": (version, torch.tensor(numbers, dtype=torch.int64), gauss_next),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        **capture_torch(device),
    }


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Set all generators to states of `capture`; a device only if it is of the same kind."""
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    restore_torch(state, device)


def capture_torch(device: torch.device) -> dict[str, Any]:
    """States of the generators of PyTorch and the device, in less than a microsecond on CPUs."""
    return {"torch": torch.get_rng_state(), "device": _device_state(device)}


def restore_torch(state: dict[str, Any], device: torch.device) -> None:
    """Set these generators to states of `capture` or `capture_torch`, as `restore` does."""
    torch.set_rng_state(state["torch"])
    if state["device"] is not None and state["device"][0] == device.type:
        _set_device_state(device, state["device"][1])


def _device_state(device: torch.device) -> tuple[str, torch.Tensor] | None:
    if device.type == "cuda":
        return "cuda", torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return "mps", torch.mps.get_rng_state()
    return None


def _set_device_state(device: torch.device, state: torch.Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.mps.set_rng_state(state)
