"""Start a run from trained weights: copies the tensors that fit, and lists the others.

Networks for other labels or colours differ in a few layers, which then start from scratch, and so
do discriminators with more or fewer layers for labels (`--d-map-depth`). Networks of another
configuration, capacity or resolution share too few tensors with the run. They are refused, and the
message names the options that would fit.
"""

from dataclasses import dataclass
from typing import Any

import torch

from dnnlib.errors import InputError
from network_files.load import load_network
from torch_utils import misc
from torch_utils.layers import MappedGenerator
from training.config import TrainConfig

NOTHING = "-"
LATENT_LAYER = "mapping.fc0.weight"  # of a generator; its input is a latent, then a label if any


@dataclass(frozen=True)
class Leftover:
    """A tensor that is not copied: its name, and its shape in the file and in the run."""

    name: str
    in_file: list[int] | None
    in_run: list[int] | None


def load(config: TrainConfig) -> dict[str, Any]:
    """The networks of `--resume`; `G` and `D` may be missing.

    Raises:
        click.ClickException: If the file cannot be loaded; the message names the option.
    """
    assert config.resume_pkl is not None, "the run starts from a network"
    return load_network(
        config.resume_pkl, option="--resume", allow_untrusted=config.allow_untrusted
    )


def check(found: torch.nn.Module, network: torch.nn.Module) -> None:
    """Refuse weights that do not fit a network of the run.

    Args:
        found: The generator or discriminator in the file.
        network: The same network of the run.

    Raises:
        ValueError: The message says which options fit the file.
    """
    leftovers = compare(found, network)
    if not leftovers:
        return
    if found.img_resolution != network.img_resolution:
        size, own_size = (f"{net.img_resolution}x{net.img_resolution}" for net in (found, network))
        raise InputError(
            f"--resume: this network is for images of {size}, those of --data are {own_size}; "
            f"dataset_tool.py --resolution={size} makes others"
        )
    options, own_options = options_of(found), options_of(network)
    wrong = [f"{key}={value}" for key, value in options.items() if value != own_options[key]]
    if wrong:
        raise InputError(
            f"--resume: this network was trained with {' '.join(wrong)}; use the same here"
        )
    if _what_may_differ(found) == _what_may_differ(network):
        first = leftovers[0]
        raise InputError(
            f"--resume: {len(leftovers)} tensors do not fit: {first.name} is "
            f"{first.in_file or 'missing'} in the file, but {first.in_run or 'unknown'} with these "
            f"options"
        )


def check_finite(data: dict[str, Any]) -> None:
    """Refuse networks with NaN or infinite values, which training would not repair.

    Raises:
        ValueError: The message names the networks.
    """
    networks = {name: data[name] for name in ("G", "D", "G_ema") if data[name] is not None}
    damaged = [name for name, net in networks.items() if misc.nonfinite_tensors(net)]
    if damaged:
        raise InputError(
            f"--resume: NaN or infinite values in {' and '.join(damaged)}, which training would "
            "never get rid of; use an earlier snapshot"
        )


def compare(found: torch.nn.Module, network: torch.nn.Module) -> list[Leftover]:
    """The parameters and buffers whose name or shape differs between two networks."""
    theirs, ours = (
        {name: list(tensor.shape) for name, tensor in misc.named_params_and_buffers(net)}
        for net in (found, network)
    )
    return [
        Leftover(name, theirs.get(name), ours.get(name))
        for name in {**ours, **theirs}
        if theirs.get(name) != ours.get(name)
    ]


@torch.no_grad()
def copy(found: torch.nn.Module, network: torch.nn.Module) -> list[Leftover]:
    """Copy the tensors of the same name and shape; return the others.

    If one of two generators has labels and the other has none, the first layer of the mapping
    network keeps its weights for latents, so that a new conditional generator starts with all the
    variety of the unconditional one.
    """
    leftovers = compare(found, network)
    source = dict(misc.named_params_and_buffers(found))
    left_out = {leftover.name for leftover in leftovers}
    for name, tensor in misc.named_params_and_buffers(network):
        if name not in left_out:
            tensor.copy_(source[name])
        elif name == LATENT_LAYER and isinstance(network, MappedGenerator):
            _copy_latent_columns(source[name], tensor, network.z_dim)
    return leftovers


def table(title: str, network: torch.nn.Module, leftovers: list[Leftover]) -> str:
    """Describe a copy: a line with numbers, and a row for each tensor that was not copied."""
    num = len(misc.named_params_and_buffers(network))
    num_copied = num - sum(leftover.in_run is not None for leftover in leftovers)
    if not leftovers:
        return f"{title}: all {num} tensors copied"
    rows: list[tuple[str, ...]] = [("not copied", "in the file", "in this run", "")]
    for leftover in leftovers:
        shapes = [str(shape or NOTHING) for shape in (leftover.in_file, leftover.in_run)]
        fate = "left out" if leftover.in_run is None else "starts from scratch"
        if leftover.name == LATENT_LAYER and isinstance(network, MappedGenerator):
            fate = "copied for latents"
        rows.append((leftover.name, *shapes, fate))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([f"{title}: {num_copied} of {num} tensors copied", *lines])


def options_of(net: Any) -> dict[str, Any]:
    """The options of `train.py` that determine the layers of a persistent network.

    Those of a discriminator are its own: `--d-cbase` and `--d-cmax`.
    """
    kwargs = net.init_kwargs
    options: dict[str, Any] = {}
    prefix, factor = "--d-", 1
    if hasattr(net, "synthesis"):
        prefix = "--"
        options["--cfg"] = "stylegan2"
        if hasattr(net.synthesis, "input"):
            is_rotation = kwargs.get("conv_kernel", 3) == 1
            factor = 2 if is_rotation else 1  # of the capacity, see `config.make_config`
            options["--cfg"] = "stylegan3-r" if is_rotation else "stylegan3-t"
        options["--map-depth"] = net.mapping.num_layers
    options[f"{prefix}cbase"] = kwargs.get("channel_base", 32768) // factor
    options[f"{prefix}cmax"] = kwargs.get("channel_max", 512) // factor
    return options


def _copy_latent_columns(source: torch.Tensor, target: torch.Tensor, z_dim: int) -> None:
    """Copy the weights for latents between layers of another number of inputs.

    A layer divides its weights by the root of this number (`FullyConnectedLayer`): they are scaled
    so that they have the effect that they had.
    """
    scale = (target.shape[1] / source.shape[1]) ** 0.5
    target[:, :z_dim] = source[:, :z_dim] * scale


def _what_may_differ(net: Any) -> tuple[int, ...]:
    """Settings whose layers may start from scratch; those of G's mapping must fit."""
    is_conditional_D = net.c_dim > 0 and not hasattr(net, "synthesis")
    return net.c_dim, net.img_channels, net.mapping.num_layers if is_conditional_D else 0
