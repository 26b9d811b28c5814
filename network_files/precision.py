"""Rebuild a network with another type for the features of its highest resolutions."""

import copy
from typing import Any, Literal

import torch

from dnnlib.errors import InputError
from torch_utils import misc

Precision = Literal["fp32", "fp16", "bf16"]

# The number of resolutions and the clamp are those of `train.py`. Float32 needs no clamp, but keeps
# that of the network, which stays the same function.
_KWARGS: dict[Precision, dict[str, Any]] = {
    "fp32": dict(num_fp16_res=0),
    "fp16": dict(num_fp16_res=4, conv_clamp=256),
    "bf16": dict(num_fp16_res=4, conv_clamp=256, half_dtype="bf16"),
}


def with_precision(net: Any, precision: Precision) -> torch.nn.Module:
    """The same network with features of another type; `net` itself if nothing changes.

    Weights are float32 whatever the type of the features. Features are float16 on GPUs only,
    bfloat16 on GPUs and CPUs, in each case at the four highest resolutions.

    Args:
        net: A generator or discriminator of this project.
        precision: The type.

    Raises:
        ValueError: If the network was constructed in a way that allows no other type.
    """
    kwargs = copy.deepcopy(net.init_kwargs)
    synthesis_kwargs = kwargs.get("synthesis_kwargs", kwargs)  # older generators have them here
    synthesis_kwargs.pop("half_dtype", None)
    synthesis_kwargs.update(_KWARGS[precision])
    if kwargs == net.init_kwargs:
        return net
    try:
        rebuilt = type(net)(*net.init_args, **kwargs).eval().requires_grad_(False)
    except TypeError as error:  # the options were given by position
        raise InputError(f"{type(net).__name__} cannot use {precision}: {error}") from error
    misc.copy_params_and_buffers(net, rebuilt, require_all=True)
    return rebuilt
