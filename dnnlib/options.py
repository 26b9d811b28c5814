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


network_option = click.option(
    "--network", type=cli.Address(), metavar="PATH|URL", required=True, help="Trained network."
)
trunc_option = click.option(
    "--trunc", type=cli.FiniteFloat(), default=1, show_default=True, help="Truncation psi."
)
class_option = click.option(
    "--class", "class_idx", type=cli.WholeNumber(), help="Class, for conditional networks."
)
noise_mode_option = click.option(
    "--noise-mode",
    type=click.Choice(["const", "random", "none"]),
    default="const",
    show_default=True,
    help="Per-pixel noise of StyleGAN2.",
)
translate_option = click.option(
    "--translate",
    type=cli.Vec2(),
    metavar="x,y",
    default="0,0",
    show_default=True,
    help="Shift the content, in fractions of the image (StyleGAN3).",
)
rotate_option = click.option(
    "--rotate",
    type=cli.FiniteFloat(),
    metavar="DEG",
    default=0,
    show_default=True,
    help="Rotate the content (StyleGAN3).",
)
allow_untrusted_option = click.option(
    "--allow-untrusted",
    cls=_Trust,
    is_flag=True,
    envvar=trust.VARIABLE,
    help="Run the code in network pickles of other projects, and in feature networks (pickles and "
    "TorchScript).",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "cpu", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)
version_option = click.version_option(__version__, message="%(prog)s %(version)s")


def seeds_option(help: str, *, required: bool = False) -> Decorator:
    """The option --seeds, a list."""
    return click.option(
        "--seeds", type=cli.SeedRange(), metavar="LIST", required=required, help=help
    )


def seed_option(help: str) -> Decorator:
    """The option --seed, whose meaning differs between scripts; 0 by default."""
    return click.option(
        "--seed",
        type=cli.WholeNumber(0, cli.MAX_SEED),
        default=0,
        show_default=True,
        help=help,
    )


def count_option(name: str, help: str, *, default: int | None = None) -> Decorator:
    """An option that takes a number from 1 on."""
    return click.option(
        name,
        type=cli.WholeNumber(min=1),
        default=default,
        show_default=default is not None,
        help=help,
    )


def size_option(name: str, help: str, *, default: str | None = None) -> Decorator:
    """An option that takes a width and a height."""
    return click.option(
        name,
        type=cli.Size(),
        metavar="WxH",
        default=default,
        show_default=default is not None,
        help=help,
    )


def file_option(name: str, help: str, *, metavar: str, required: bool = False) -> Decorator:
    """An option that takes a file to write, as a `Path`."""
    return click.option(
        name,
        type=cli.LocalPath(dir_okay=False, path_type=Path),
        metavar=metavar,
        required=required,
        help=help,
    )
