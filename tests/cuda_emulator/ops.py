"""Lets the ops run the CUDA kernels on tensors of the CPU, in the emulator."""

import importlib
from collections.abc import Callable

import pytest

from tests.cuda_emulator import emulator
from torch_utils.ops import selection
from torch_utils.ops.cuda import launcher


def emulate(monkeypatch: pytest.MonkeyPatch, launch: Callable = emulator.launch) -> None:
    """From here on, ops on the CPU call the launchers of CUDA kernels, and these the emulator.

    Args:
        monkeypatch: Undoes this.
        launch: Takes the place of `launcher.launch`.
    """
    for name in ("upfirdn2d", "filtered_lrelu", "bias_act"):
        op = importlib.import_module(f"torch_utils.ops.{name}")
        monkeypatch.setattr(op, "cpu", op.cuda)
    monkeypatch.setattr(selection.cpu, "is_supported", lambda *_: True)
    monkeypatch.setattr(launcher, "launch", launch)
