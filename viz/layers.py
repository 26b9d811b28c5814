"""Run the synthesis of a network and watch its layers."""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dnnlib.errors import InputError
from viz.view import LayerInfo, View


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
    shown: dict[str, Tensor] = {}
    if view.force_fp32:
        kwargs["force_fp32"] = True
    if view.force_fp32 not in layers_by_force_fp32:
        layers: dict[str, LayerInfo] = {}
        with _watching(synthesis, view.layer, layers, shown):
            img = synthesis(ws.to(torch.float32), **kwargs)
        layers_by_force_fp32[view.force_fp32] = tuple(layers.values())
        if view.layer is None:
            return img, None
    elif view.layer is None:
        return synthesis(ws.to(torch.float32), **kwargs), None
    else:
        with (
            contextlib.suppress(_EarlyStop),
            _watching(synthesis, view.layer, None, shown),
        ):
            synthesis(ws.to(torch.float32), **kwargs)
    if view.layer not in shown:
        raise InputError(f"this network has no layer {view.layer}")
    return shown[view.layer].float(), synthesis.get_submodule(view.layer.partition("[")[0])


@contextlib.contextmanager
def _watching(
    synthesis: torch.nn.Module,
    wanted: str | None,
    layers: dict[str, LayerInfo] | None,
    shown: dict[str, Tensor],
) -> Iterator[None]:
    """Note the layers of a network while it runs.

    Args:
        synthesis: The network.
        wanted: Name of the layer to keep.
        layers: Receives all layers; None ends synthesis after the wanted layer.
        shown: Receives the output of the wanted layer.
    """
    seen: list[weakref.ref] = []

    def note(name: str, output: Tensor) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        if any(ref() is output for ref in seen):  # a block returns the output of its last layer
            return
        seen.append(weakref.ref(output))
        if layers is not None:
            dtype = str(output.dtype).removeprefix("torch.")
            _, channels, height, width = output.shape
            layers[name] = LayerInfo(name, (channels, height, width), dtype)
        if name == wanted:
            shown[name] = output
            if layers is None:
                raise _EarlyStop

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, (tuple, list)):
                for idx, part in enumerate(output):
                    note(f"{name}[{idx}]", part)
            else:
                note(name, output)

        return hook

    only = None if layers is not None else (wanted or "").partition("[")[0]
    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in synthesis.named_modules()
        if name != "" and only in (None, name)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _EarlyStop(Exception):
    """Ends synthesis once the layer to show has been computed."""
