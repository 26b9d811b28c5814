"""Load network pickles: `load_network_pkl()`, and a command that rewrites them.

A pickle carries Python code that runs when it is loaded: load only files from people you trust.
"""

import contextlib
import copy
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click
import torch

from dnnlib import cli, util
from torch_utils import misc

NETWORKS = ("G", "D", "G_ema")


def load_network(
    source: str | os.PathLike, force_fp16: bool = False, option: str | None = None
) -> dict[str, Any]:
    """Load a network pickle from a file or a URL; see `load_network_pkl`.

    Args:
        source: Path or URL.
        force_fp16: As for `load_network_pkl`.
        option: Command-line option that the source came from, for error messages.
    """
    with (
        contextlib.nullcontext() if option is None else cli.blame(option),
        util.open_url(os.fspath(source)) as f,
    ):
        return load_network_pkl(f, force_fp16, name=os.fspath(source))


def load_network_pkl(
    f: BinaryIO, force_fp16: bool = False, name: str | None = None
) -> dict[str, Any]:
    """Load a network pickle, on the CPU. This runs code from the file: load only trusted ones.

    Args:
        f: The pickle, open for reading in binary mode.
        force_fp16: Rebuild the networks with half precision at their four highest resolutions.
        name: What error messages call the file; by default the name that `f` has.

    Returns:
        A dictionary with at least the keys `G`, `D`, `G_ema`, `augment_pipe` (modules) and
        `training_set_kwargs` (dict). What the pickle lacks is None, except the required `G_ema`.

    Raises:
        ValueError: If the file is damaged or holds something else; the message says what.
    """
    if name is None:
        name = str(getattr(f, "name", "network pickle"))
    start = f.tell()
    try:
        data = _NetworkUnpickler(f).load()
    except Exception as error:  # damaged bytes can make unpickling raise anything
        raise ValueError(f"{name}: {_explain(f, start, error)}") from error
    data = _checked(data, name)
    if force_fp16:
        data.update({key: _with_fp16(data[key]) for key in NETWORKS if data[key] is not None})
    return data


@click.command(cls=cli.Command)
@click.option("--source", metavar="PATH|URL", required=True, help="Pickle to read.")
@click.option(
    "--dest",
    metavar="PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Pickle to write.",
)
@click.option(
    "--force-fp16",
    type=bool,
    default=False,
    show_default=True,
    help="Use half precision at the four highest resolutions.",
)
@cli.version_option
def main(source: str, dest: Path, force_fp16: bool) -> None:
    """Load a network pickle and write it in this project's own format.

    Loading a pickle runs code that it carries: only convert files from people you trust.

    \b
    Examples:
      python legacy.py --source=https://example.com/old.pkl --dest=new.pkl
      python legacy.py --source=net.pkl --dest=net-fp16.pkl --force-fp16=1
    """
    click.echo(f"Loading {source} ...")
    data = load_network(source, force_fp16, option="--source")
    dest.parent.mkdir(parents=True, exist_ok=True)
    with util.open_atomic(dest) as f:
        pickle.dump(data, f)
    click.echo(f"Wrote {dest}")


class _NetworkUnpickler(pickle.Unpickler):
    """Looks up the globals that a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_storage
        return super().find_class(module, name)


def _load_storage(data: bytes) -> Any:
    # As torch.storage does it, but tensors that were saved on a GPU load without one.
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)


def _explain(f: BinaryIO, start: int, error: Exception) -> str:
    """What seems to be wrong with a file that does not unpickle, judged by its first bytes."""
    f.seek(start)
    head = f.read(200)
    kind = next((kind for kind, matches in _FOREIGN_FILES.items() if matches(head)), None)
    if len(head) == 0:
        return "the file is empty"
    if kind is not None:
        return f"this is {kind}, not a network pickle"
    if isinstance(error, ModuleNotFoundError) and error.name and "tflib" in error.name:
        return "this is a TensorFlow network pickle, which is not supported"
    if head[:1] != b"\x80":
        return "this is not a network pickle"
    if isinstance(error, EOFError) or "truncated" in str(error):
        return "the pickle is truncated; download or copy it again"
    return f"the pickle cannot be loaded ({type(error).__name__}: {error})"


def _starts_with(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip().lower().startswith(prefixes)


_FOREIGN_FILES = {  # in the order of checking; prefixes in lower case
    "a web page (a failed download?)": _starts_with(b"<!doctype", b"<html", b"<?xml"),
    "a Git LFS pointer (run `git lfs pull`)": _starts_with(b"version https://git-lfs"),
    "a ZIP archive (a dataset, or a torch.save file)": _starts_with(b"pk\x03\x04", b"pk\x05\x06"),
    "a gzip file": _starts_with(b"\x1f\x8b"),
    "an image": _starts_with(b"\x89png", b"\xff\xd8\xff", b"gif8"),
    "an HDF5 file": _starts_with(b"\x89hdf"),
}


def _checked(data: Any, name: str) -> dict[str, Any]:
    """Refuse what is no dictionary of networks, and fill in missing fields."""
    if not isinstance(data, dict):
        raise ValueError(f"{name}: holds a {type(data).__name__}, not a dictionary of networks")
    if not isinstance(data.get("G_ema"), torch.nn.Module):
        keys = ", ".join(str(key) for key in list(data)[:8]) or "nothing"
        raise ValueError(f"{name}: has no generator 'G_ema' (what it has: {keys})")
    data = dict(data)
    kinds = dict.fromkeys((*NETWORKS, "augment_pipe"), torch.nn.Module)
    for key, kind in {**kinds, "training_set_kwargs": dict}.items():
        if not isinstance(data.setdefault(key, None), (kind, type(None))):
            found = type(data[key]).__name__
            raise ValueError(f"{name}: {key!r} must be a {kind.__name__} or None, found {found}")
    return data


def _with_fp16(net: torch.nn.Module) -> torch.nn.Module:
    """The same network built with half precision; `net` itself if it already was."""
    kwargs = copy.deepcopy(net.init_kwargs)
    synthesis_kwargs = kwargs.get("synthesis_kwargs", kwargs)  # where older generators keep them
    synthesis_kwargs.update(num_fp16_res=4, conv_clamp=256)
    if kwargs == net.init_kwargs:
        return net
    rebuilt = type(net)(*net.init_args, **kwargs).eval().requires_grad_(False)
    misc.copy_params_and_buffers(net, rebuilt, require_all=True)
    return rebuilt


if __name__ == "__main__":
    main()
