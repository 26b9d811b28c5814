"""The image of a view, or the layer that the view chooses."""

from typing import Any

import torch
from torch import Tensor

from dnnlib import moved
from dnnlib.errors import InputError
from generation import layers
from viz.view import LayerInfo, View

__getattr__ = moved.names_of(__name__)


def synthesize(
    synthesis: torch.nn.Module,
    ws: Tensor,
    view: View,
    layers_by_force_fp32: dict[bool, tuple[LayerInfo, ...]],
) -> tuple[Tensor, torch.nn.Module | None]:
    """The image, or the output of the chosen layer and the module that computed it.

    Args:
        synthesis: The synthesis network.
        ws: Styles `[1, num_ws, w_dim]`.
        view: Chooses the layer, the noise, and float32.
        layers_by_force_fp32: The layers by `force_fp32`; filled when the network first runs.

    Raises:
        ValueError: If the network has no layer of this name.
    """
    kwargs: dict[str, Any] = {"noise_mode": view.noise_mode}
    ws = ws.to(torch.float32)
    if view.force_fp32:
        kwargs["force_fp32"] = True
    if view.force_fp32 in layers_by_force_fp32:
        if view.layer is None:
            return synthesis(ws, **kwargs), None
        shown = layers.output_of(synthesis, view.layer, ws, **kwargs)
    else:
        infos: dict[str, LayerInfo] = {}
        outputs: dict[str, Tensor] = {}

        def note(name: str, output: Tensor) -> None:
            dtype = str(output.dtype).removeprefix("torch.")
            _, channels, height, width = output.shape
            infos[name] = LayerInfo(name, (channels, height, width), dtype)
            if name == view.layer:
                outputs[name] = output

        with layers.watching(synthesis, note):
            img = synthesis(ws, **kwargs)
        layers_by_force_fp32[view.force_fp32] = tuple(infos.values())
        if view.layer is None:
            return img, None
        if view.layer not in outputs:
            raise InputError(f"this network has no layer {view.layer}")
        shown = outputs[view.layer]
    return shown.float(), synthesis.get_submodule(view.layer.partition("[")[0])
