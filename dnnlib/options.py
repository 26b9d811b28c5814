"""Options that several scripts have, each declared once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dnnlib import cli, trust
from dnnlib.version import __version__

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Trust(click.Option):
    """A flag that the environment can switch on, by the words that `dnnlib.trust` knows."""

    def value_from_envvar(self, ctx: click.Context) -> str | None:
        try:
            is_allowed = trust.is_allowed_by_environment()
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        return "true" if is_allowed else None  # None: as if the variable were unset


def value_option(
    name: str,
    type: click.ParamType,
    help: str,
    *,
    default: Any = None,
    metavar: str | None = None,
    required: bool = False,
) -> Decorator:
    """An option with a value; the help text shows the default, if there is one."""
    # Click takes None as a default: the option would never count as missing.
    given = {} if default is None else {"default": default, "show_default": True}
    return click.option(name, type=type, metavar=metavar, required=required, help=help, **given)


def count_option(name: str, help: str, *, default: int | None = None) -> Decorator:
    """An option that takes a number from 1 on."""
    return value_option(name, cli.WholeNumber(min=1), help, default=default)


def size_option(name: str, help: str, *, default: str | None = None) -> Decorator:
    """An option that takes a width and a height."""
    return value_option(name, cli.Size(), help, default=default, metavar="WxH")


def file_option(name: str, help: str, *, metavar: str, required: bool = False) -> Decorator:
    """An option that takes a file to write, as a `Path`."""
    file = cli.LocalPath(dir_okay=False, path_type=Path)
    return value_option(name, file, help, metavar=metavar, required=required)


def latents_option(name: str, help: str, *, required: bool = False) -> Decorator:
    """An option that takes a file of latents to read, as a `Path`."""
    file = cli.LocalPath(exists=True, dir_okay=False, path_type=Path)
    return value_option(name, file, help, metavar="FILE.npz", required=required)


def seeds_option(help: str, *, required: bool = False) -> Decorator:
    """The option --seeds, a list."""
    return value_option("--seeds", cli.SeedRange(), help, metavar="LIST", required=required)


def seed_option(help: str) -> Decorator:
    """The option --seed, whose meaning differs between scripts; 0 by default."""
    return value_option("--seed", cli.WholeNumber(0, cli.MAX_SEED), help, default=0)


NETWORK_METAVAR = "PATH|URL|pretrained:NAME"
network_option = value_option(
    "--network",
    cli.NetworkAddress(),
    "Trained network; pretrained:NAME is one in the box.",
    metavar=NETWORK_METAVAR,
    required=True,
)
trunc_option = value_option("--trunc", cli.FiniteFloat(), "Truncation psi.", default=1)
class_option = click.option(
    "--class", "class_idx", type=cli.WholeNumber(), help="Class, for conditional networks."
)
noise_mode_option = value_option(
    "--noise-mode",
    click.Choice(["const", "random", "none"]),
    "Per-pixel noise of StyleGAN2.",
    default="const",
)
translate_option = value_option(
    "--translate",
    cli.Vec2(),
    "Shift the content, in fractions of the image (StyleGAN3).",
    default="0,0",
    metavar="x,y",
)
rotate_option = value_option(
    "--rotate", cli.FiniteFloat(), "Rotate the content (StyleGAN3).", default=0, metavar="DEG"
)
allow_untrusted_option = click.option(
    "--allow-untrusted",
    cls=_Trust,
    is_flag=True,
    envvar=trust.VARIABLE,
    help="Run the code in network pickles of other projects, and in feature networks (pickles and "
    "TorchScript).",
)
device_option = value_option(
    "--device",
    click.Choice(["auto", "cuda", "cpu", "mps"]),
    "Where to compute; auto takes a GPU if there is one.",
    default="auto",
)
version_option = click.version_option(__version__, message="%(prog)s %(version)s")
