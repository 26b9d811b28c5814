"""A context for what becomes a CUDA graph, which must not copy between the CPU and the GPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RefuseCopies(TorchDispatchMode):
    """Refuse operations that take tensors of several devices, or move one to another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        y = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, y))
        devices = {t.device.type for t in leaves if isinstance(t, torch.Tensor)}
        assert len(devices) < 2, f"{func} takes part on {devices}"
        return y
