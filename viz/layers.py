"""Run the synthesis of a network and watch its layers."""

import contextlib
import weakref
from collections.abc import Iterator

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
    """The image, or the output of the layer to show and the module that it comes from.

    Args:
        synthesis: The synthesis network.
        ws: Styles `[1, num_ws, w_dim]`.
        view: Says which layer, and how.
        layers_by_force_fp32: The layers by `force_fp32`; filled when the network first runs.

    Raises:
        ValueError: If there is no such layer.
    """
    kwargs = {"noise_mode": view.noise_mode}
    if view.force_fp32:
        kwargs["force_fp32"] = True
    if view.force_fp32 not in layers_by_force_fp32:
        layers, shown = {}, {}
        with _watching(synthesis, view.layer, layers, shown):
            img = synthesis(ws.to(torch.float32), **kwargs)
        layers_by_force_fp32[view.force_fp32] = tuple(layers.values())
        if view.layer is None:
            return img, None
    elif view.layer is None:
        return synthesis(ws.to(torch.float32), **kwargs), None
    else:
        shown = {}
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
        layers: Where to note all layers; None ends synthesis after the wanted one.
        shown: Where to put the output of the wanted layer.
    """
    seen: list[weakref.ref] = []

    def note(name: str, output: Tensor) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        if any(ref() is output for ref in seen):  # a block hands on what its last layer returned
            return
        seen.append(weakref.ref(output))
        if layers is not None:
            dtype = str(output.dtype).removeprefix("torch.")
            layers[name] = LayerInfo(name, tuple(output.shape[1:]), dtype)
        if name == wanted:
            shown[name] = output
            if layers is None:
                raise _EarlyStop

    def hook_for(name: str):
        def hook(module, args, output) -> None:
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


def content_width(module: torch.nn.Module | None, x: Tensor) -> float:
    """Pixels that the image's width spans in the output of a layer; StyleGAN3's have margins."""
    for name in ("out_sampling_rate", "sampling_rate"):
        if hasattr(module, name):
            return float(getattr(module, name))
    return float(x.shape[-1])


class _EarlyStop(Exception):
    """Ends synthesis once the layer to show has been computed."""
