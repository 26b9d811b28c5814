"""The outputs of a network's layers, while the network runs."""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dnnlib.errors import InputError

NUM_DEVIATIONS = 3.0  # of a layer's values, from medium grey to black and to white


@contextlib.contextmanager
def watching(
    synthesis: torch.nn.Module, note: Callable[[str, Tensor], None], module: str | None = None
) -> Iterator[None]:
    """Inside the context, `note` gets the name and output `[N, C, H, W]` of each layer that runs.

    Args:
        synthesis: The network.
        note: Called for every layer. If a module returns several tensors, their names are `NAME[0]`
            and so on. An output that two modules return, such as a block and its last layer, is
            noted once.
        module: Name of the only module to watch, without `[0]`.
    """
    seen: list[weakref.ref] = []

    def note_once(name: str, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        if any(ref() is output for ref in seen):
            return
        seen.append(weakref.ref(output))
        note(name, output)

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, (tuple, list)):
                for idx, part in enumerate(output):
                    note_once(f"{name}[{idx}]", part)
            else:
                note_once(name, output)

        return hook

    handles = [
        watched.register_forward_hook(hook_for(name))
        for name, watched in synthesis.named_modules()
        if name != "" and module in (None, name)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def output_of(synthesis: torch.nn.Module, layer: str, ws: Tensor, **kwargs: Any) -> Tensor:
    """The output of a layer, `[N, C, H, W]`; later layers do not run.

    Args:
        synthesis: The network.
        layer: Name of the layer, see `watching`.
        ws: Styles `[N, num_ws, w_dim]`.
        kwargs: More arguments of the network.

    Raises:
        InputError: If the network has no layer of this name.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        if name == layer:
            found[name] = output
            raise _EarlyStop

    with contextlib.suppress(_EarlyStop), watching(synthesis, keep, layer.partition("[")[0]):
        synthesis(ws, **kwargs)
    if layer not in found:
        raise InputError(f"this network has no layer {layer}")
    return found[layer]


def names(synthesis: torch.nn.Module, ws: Tensor) -> list[str]:
    """Names of all layers, in the order in which they run for the styles `ws`."""
    found: list[str] = []
    with watching(synthesis, lambda name, output: found.append(name)):
        synthesis(ws)
    return found


@dataclass(frozen=True)
class Scale:
    """From the first channels of a layer to the values of images, the same for all images.

    Attributes:
        mean: Mean of each channel, which becomes 0, medium grey: `[1, C, 1, 1]` with C 3 or 1.
        deviation: Standard deviation of each channel; `NUM_DEVIATIONS` of them become 1.
    """

    mean: Tensor
    deviation: Tensor

    def __call__(self, output: Tensor) -> Tensor:
        """Images `[N, 3 or 1, H, W]` of the output of a layer, `[N, C, H, W]`."""
        return (shown_channels(output) - self.mean) / (NUM_DEVIATIONS * self.deviation)


def measure(outputs: Iterable[Tensor]) -> Scale:
    """The scale for some outputs of a layer, `[N, C, H, W]` each."""
    num, total, squares = 0, torch.zeros(()), torch.zeros(())
    for output in outputs:
        x = shown_channels(output).cpu().double()
        num += x[:, 0].numel()
        total = total + x.sum((0, 2, 3), keepdim=True)
        squares = squares + x.square().sum((0, 2, 3), keepdim=True)
        device = output.device
    mean = total / num
    deviation = (squares / num - mean.square()).clamp(min=0).sqrt().clamp(min=1e-8)
    return Scale(mean.float().to(device), deviation.float().to(device))


def shown_channels(output: Tensor) -> Tensor:
    """The first three channels of a layer, or the first one if there are fewer, in float32."""
    return output[:, : 3 if output.shape[1] >= 3 else 1].float()


class _EarlyStop(Exception):
    """Ends synthesis once the wanted layer has been computed."""
