"""The commands of all scripts: errors for users in one line, signals, warnings."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from dnnlib import interrupts, moved
from dnnlib.errors import is_for_users, message_of, printable_lines
from dnnlib.param_types import LARGEST_FLOAT32 as LARGEST_FLOAT32
from dnnlib.param_types import MAX_NUM_SEEDS as MAX_NUM_SEEDS
from dnnlib.param_types import MAX_SEED as MAX_SEED
from dnnlib.param_types import Address as Address
from dnnlib.param_types import ClassRange as ClassRange
from dnnlib.param_types import DirectionAmount as DirectionAmount
from dnnlib.param_types import FiniteFloat as FiniteFloat
from dnnlib.param_types import LayerRange as LayerRange
from dnnlib.param_types import LocalPath as LocalPath
from dnnlib.param_types import NameList as NameList
from dnnlib.param_types import NetworkAddress as NetworkAddress
from dnnlib.param_types import SeedRange as SeedRange
from dnnlib.param_types import Size as Size
from dnnlib.param_types import Vec2 as Vec2
from dnnlib.param_types import WholeNumber as WholeNumber
from dnnlib.param_types import parse_names as parse_names
from dnnlib.param_types import parse_range as parse_range
from dnnlib.param_types import parse_size as parse_size
from dnnlib.param_types import parse_vec2 as parse_vec2

__getattr__ = moved.names_of(__name__)


class Command(click.Command):
    """A click command that ends with one `Error:` line and exit code 1 after an error for users.

    `dnnlib.errors` says which errors are for users. Any other error is a bug and keeps its
    traceback; with STYLEGAN3_DEBUG=1 every error does. Ctrl-C prints "Aborted" and exits with code
    130. A warning for users is one `Warning:` line.
    """

    def invoke(self, ctx: click.Context) -> Any:
        interrupts.raise_again()
        if os.environ.get("STYLEGAN3_DEBUG", "0") not in ("", "0"):
            return super().invoke(ctx)
        with warnings.catch_warnings():
            warnings.showwarning = _brief_warnings(warnings.showwarning)
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo("Aborted", err=True)
                ctx.exit(130)
            except click.ClickException as error:
                error.message = printable_lines(error.message)
                raise
            except Exception as error:
                if not is_for_users(error):
                    raise
                raise click.ClickException(message_of(error)) from error


class Group(click.Group):
    """Several commands, each of them a `Command`."""

    command_class = Command


def is_given(ctx: click.Context, name: str) -> bool:
    """Whether an option is on the command line, rather than its default or from the environment."""
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


@contextmanager
def exit_when_terminated() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `SystemExit` inside, so that unfinished files are removed.

    A signal that was ignored before stays ignored, such as SIGHUP under `nohup`.
    """
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    names = [name for name in names if not is_ignored(getattr(signal, name))]
    if threading.current_thread() is not threading.main_thread():
        names = []  # Python allows handlers only in the main thread
    before = {name: signal.signal(getattr(signal, name), _exit_by_signal) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def is_ignored(number: int) -> bool:
    """Whether this process ignores a signal."""
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def blame(option: str) -> Iterator[None]:
    """Add the option to the message of an expected failure inside the block."""
    try:
        yield
    except Exception as error:
        if not is_for_users(error):
            raise
        raise click.ClickException(f"{option}: {message_of(error)}") from error


def _exit_by_signal(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _brief_warnings(show):
    def show_warning(message, category, filename, lineno, file=None, line=None):
        if category is UserWarning and file is None:
            click.echo(f"Warning: {printable_lines(str(message))}", err=True)
        else:
            show(message, category, filename, lineno, file, line)

    return show_warning
