"""Command-line options of the benchmarks, and the set-up that follows them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import timing
from dnnlib import cli
from dnnlib.options import device_option, version_option
from torch_utils import devices
from torch_utils.layers import check_resolution
from training.config import CFGS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

checkout = click.option(
    "--checkout",
    type=cli.LocalPath(exists=True, file_okay=False, path_type=Path),
    help="Folder of another version of this project, to measure beside this one.",
)


def number(name: str, help: str, default: int | None = None, minimum: int | None = 1) -> Decorator:
    """An option for a whole number from `minimum` on; without a default it may be left out."""
    return click.option(
        name,
        type=cli.WholeNumber(min=minimum),
        default=default,
        show_default=default is not None,
        help=help,
    )


def value(name: str, type: click.ParamType, default: Any, help: str, **kwargs: Any) -> Decorator:
    """An option with a default that the help shows."""
    return click.option(name, type=type, default=default, show_default=True, help=help, **kwargs)


def names(name: str, choices: Iterable[str], help: str, may_be_empty: bool = False) -> Decorator:
    """An option for a list of names; the default is all of them."""

    def refuse_none(ctx: click.Context, param: click.Parameter, value: list[str]) -> list[str]:
        if not value and not may_be_empty:
            raise click.BadParameter("name at least one")
        return value

    choices = list(choices)
    return click.option(
        name,
        type=cli.NameList(choices),
        default=",".join(choices),
        show_default=True,
        callback=refuse_none,
        help=help,
    )


def networks(may_be_empty: bool = False, **defaults: int) -> Decorator:
    """The option `--configs`, and the options of `sizes` with these arguments."""
    configs = names("--configs", CFGS, "Networks to measure.", may_be_empty)
    others = sizes(**defaults)
    return lambda command: configs(others(command))


def sizes(resolution: int, minimum: int = 4, cbase: int = 32768, cmax: int = 512) -> Decorator:
    """The options `--resolution` (a power of two from `minimum` on), `--cbase` and `--cmax`."""

    def check(ctx: click.Context, param: click.Parameter, value: int) -> int:
        try:
            check_resolution(value, minimum)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return value

    size = click.option(
        "--resolution",
        type=cli.WholeNumber(),
        default=resolution,
        show_default=True,
        callback=check,
        help="Size of the images.",
    )
    base = number("--cbase", "Capacity multiplier, as for train.py.", cbase)
    most = number("--cmax", "Most feature maps per layer, as for train.py.", cmax)
    return lambda command: size(base(most(command)))


def repeat(what: str, default: str = "as many as fit into 2 seconds, {} at least") -> Decorator:
    """The option `--repeat`: how many timed runs of `what`; `default` describes what is usual."""
    return number(
        "--repeat", f"Timed runs of {what}.  [default: {default.format(timing.MIN_RUNS)}]"
    )


def machine(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options `--threads`, `--device` and `--version`."""
    threads = number("--threads", "CPU threads.  [default: as PyTorch chooses]")
    return threads(device_option(version_option(command)))


def start(device: str, threads: int | None, keep_memory: bool = True) -> torch.device:
    """Prepare PyTorch for measurements.

    Args:
        device: Value of the option `--device`.
        threads: CPU threads; `None` leaves PyTorch's choice.
        keep_memory: Let a CPU keep freed memory for later tensors, as the scripts do.
    """
    torch_device = devices.resolve_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    if keep_memory or torch_device.type != "cpu":
        devices.configure_backends(torch_device)
    return torch_device
