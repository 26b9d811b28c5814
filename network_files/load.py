"""The entrance: load networks from a file of any origin, without running code in the file.

Networks are rebuilt as this project's classes, see `rebuild`. Only `allow_untrusted` runs the
source inside a pickle.
"""

import contextlib
import os
import re
import warnings
from typing import Any, BinaryIO

import torch

from dnnlib import cli, trust, util
from dnnlib.errors import InputError
from dnnlib.text import one_line
from network_files import (
    foreign,
    own_classes,
    rebuild,
    safetensors_file,
    torch_file,
    unpickler,
)
from network_files.precision import with_precision
from network_files.proportion import Sharing
from network_files.safetensors_file import is_safetensors
from network_files.tensorflow_object import TensorFlowNetwork
from network_files.unpickler import Record
from torch_utils import misc, trusted_pickle

NETWORKS = ("G", "D", "G_ema")
PARTS = {"G": ("mapping", "synthesis"), "D": ("b4", "c_dim"), "G_ema": ("mapping", "synthesis")}
NUM_NAMED = 3  # of the damaged tensors that a warning names
UNTRUSTED_VARIABLE = trust.VARIABLE


class DamagedFileError(InputError):
    """A file is truncated, damaged, or not a pickle; another copy may be fine."""


def load_network(
    source: str | os.PathLike,
    force_fp16: bool = False,
    option: str | None = None,
    allow_untrusted: bool | None = None,
) -> dict[str, Any]:
    """Load networks from a file or a URL; see `load_network_pkl`.

    Args:
        source: Path or URL.
        force_fp16: As for `load_network_pkl`.
        option: Command-line option that the source came from, for error messages.
        allow_untrusted: As for `load_network_pkl`.

    Raises:
        ValueError: As for `load_network_pkl`. A damaged download is removed from the cache, so that
            the next call downloads it again; the message says so.
        OSError: If the file cannot be opened or downloaded.
    """
    address = os.fspath(source)
    with contextlib.nullcontext() if option is None else cli.blame(option):
        with util.open_url(address) as f:
            status = os.fstat(f.fileno())
            try:
                return load_network_pkl(f, force_fp16, address, allow_untrusted)
            except ValueError as error:
                if not util.is_url(address):
                    raise
                refusal = error
        if isinstance(refusal, DamagedFileError):  # closed by now: Windows removes no open files
            became = util.remove_download(address, status)
        else:
            became = f"it is cached as {util.cached_download(address)}"
        raise InputError(f"{refusal}; {became}") from refusal


def load_network_pkl(
    f: BinaryIO,
    force_fp16: bool = False,
    name: str | None = None,
    allow_untrusted: bool | None = None,
) -> dict[str, Any]:
    """Load networks, on the CPU, as this project's classes.

    Reads pickles of this project, of the PyTorch versions of StyleGAN2-ADA and StyleGAN3 (and of
    forks with the same networks), of the TensorFlow versions of StyleGAN2 and StyleGAN2-ADA, and
    safetensors files of `legacy.py`.

    Args:
        f: The file, open for reading in binary mode.
        force_fp16: Rebuild the networks with float16 at their four highest resolutions.
        name: Name of the file in error messages; by default the name of `f`.
        allow_untrusted: Run the Python source inside a pickle if its networks are not ours. This
            source can do anything. `None` asks the environment, see `dnnlib.trust`.

    Returns:
        A dictionary with at least the keys `G`, `D`, `G_ema`, `augment_pipe` (modules) and
        `training_set_kwargs` (dict). Values that the file lacks are None; `G_ema` is required.
        The key `dataset_fingerprint` (dict, see `data.fingerprint`) exists if the file has it.

    Raises:
        DamagedFileError: If the file is damaged, or neither a pickle nor a safetensors file.
        ValueError: If the file holds something else, or networks that are not ours; the message
            says what. Also if `STYLEGAN3_ALLOW_UNTRUSTED` is neither on nor off.
    """
    if name is None:
        name = str(getattr(f, "name", "network pickle"))
    if allow_untrusted is None:
        allow_untrusted = trust.is_allowed_by_environment()
    start = f.tell()
    head = f.read(200)
    f.seek(start)
    if (reason := torch_file.explain(f, head, name)) is not None:
        raise InputError(f"{name}: {one_line(reason)}")
    f.seek(start)
    try:
        data = _checked(_read(f, head, name, allow_untrusted))
    except own_classes.MissingError:
        raise
    except safetensors_file.DamagedError as error:
        raise DamagedFileError(f"{name}: {one_line(str(error))}") from error
    except _FileError as error:
        raise InputError(f"{name}: {one_line(str(error))}") from error
    except Exception as error:  # damaged bytes can make unpickling raise anything
        reason = one_line(foreign.explain(head, error, name))
        f.seek(start)
        if not foreign.is_whole_pickle(f):
            raise DamagedFileError(f"{name}: {reason}") from error
        raise InputError(f"{name}: {reason}") from error
    _warn_of_damage(name, data)
    if force_fp16:
        present = [key for key in NETWORKS if data[key] is not None]
        data.update({key: with_precision(data[key], "fp16") for key in present})
    return data


class _FileError(InputError):
    """A file is wrong; the message says how."""


def _read(f: BinaryIO, head: bytes, name: str, allow_untrusted: bool) -> Any:
    """Read a file without running its code; with its code only if that is necessary and allowed."""
    start = f.tell()
    try:
        data = _load_safetensors(f) if is_safetensors(head) else _load_pickle(f, name)
        _check_roles(data)
        return data
    except (unpickler.ForbiddenError, rebuild.MismatchError) as error:
        text = one_line(str(error), max_characters=400)
        if not allow_untrusted:
            raise _FileError(
                f"{text}. --allow-untrusted (or {UNTRUSTED_VARIABLE}=1) runs the code in such a "
                "file: only if you trust where it comes from"
            ) from error
        warnings.warn(f"{name}: {text}. Running the code in the file, as allowed.", stacklevel=3)
        f.seek(start)
        return trusted_pickle.load(f)


def _load_safetensors(f: BinaryIO) -> dict[str, Any]:
    try:
        return safetensors_file.load(f)
    except safetensors_file.DamagedError:
        raise
    except ValueError as error:
        raise _FileError(str(error)) from error


def _load_pickle(f: BinaryIO, name: str) -> dict[str, Any]:
    content = unpickler.load(f)
    if isinstance(content, tuple) and any(isinstance(p, TensorFlowNetwork) for p in content):
        from network_files import tensorflow  # imports the networks, which takes a while

        try:
            return tensorflow.convert(content)
        except ValueError as error:
            raise _FileError(str(error)) from error
    if not isinstance(content, dict):
        kind = "network" if isinstance(content, Record) else type(content).__name__
        raise _FileError(f"holds {_with_article(kind)}, not a dictionary of networks")
    records = {key: value for key, value in content.items() if isinstance(value, Record)}
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    others = {k: v for k, v in content.items() if k not in records and k not in tensors}
    try:
        data = {**tensors, **unpickler.plain(others)}
    except ValueError as error:
        raise _FileError(str(error)) from error
    if len(records) > rebuild.MAX_NETWORKS:
        raise _FileError(f"holds {len(records)} networks, which is too many")
    sharing = Sharing()
    unknown, networks = set(), {}
    for key, record in records.items():
        try:
            # If several names share a network, they share the rebuilt one.
            if id(record) not in networks:
                networks[id(record)] = rebuild.rebuild(record, sharing)
                unknown.update(rebuild.unknown_sources(record))
            data[key] = networks[id(record)]
        except rebuild.MismatchError as error:
            raise rebuild.MismatchError(f"{key} cannot be rebuilt: {error}") from error
        except ValueError as error:
            raise _FileError(f"{key}: {error}") from error
    if unknown:
        hashes = ", ".join(digest[:12] for digest in sorted(unknown)[:8])
        warnings.warn(
            f"{name} was written by a version of the networks' source that is not known here "
            f"(SHA-256 {hashes}); its networks match this project's, which are used",
            stacklevel=5,
        )
    return data


def _check_roles(data: dict[str, Any]) -> None:
    """Refuse a discriminator in place of a generator, and the reverse."""
    for key, parts in PARTS.items():
        network = data.get(key)
        if isinstance(network, torch.nn.Module) and not all(hasattr(network, p) for p in parts):
            kind = "discriminator" if key == "D" else "generator"
            raise _FileError(f"{key!r} is a {type(network).__name__}, which is no {kind}")


def _checked(data: Any) -> dict[str, Any]:
    """Refuse a content that is no dictionary of networks, and fill in missing fields."""
    if not isinstance(data, dict):
        kind = _with_article(type(data).__name__)
        raise _FileError(f"holds {kind}, not a dictionary of networks")
    if data.get("G_ema") is None:
        keys = ", ".join(str(key) for key in list(data)[:8]) or "nothing"
        raise _FileError(f"has no generator 'G_ema' (what it has: {keys})")
    data = dict(data)
    kinds: dict[str, type] = dict.fromkeys((*NETWORKS, "augment_pipe"), torch.nn.Module)
    for key, expected in {**kinds, "training_set_kwargs": dict}.items():
        if not isinstance(data.setdefault(key, None), (expected, type(None))):
            found = type(data[key]).__name__
            raise _FileError(f"{key!r} must be a {expected.__name__} or None, found {found}")
    if data["training_set_kwargs"] is not None:
        # Opening the dataset constructs the class of this name.
        class_name = data["training_set_kwargs"].get("class_name", "training.dataset.Dataset")
        if not isinstance(class_name, str):  # its text could be endless
            kind = _with_article(type(class_name).__name__)
            raise _FileError(f"names {kind} as the class of its dataset")
        if not re.fullmatch(r"training\.\w+\.\w*Dataset", class_name):
            raise _FileError(f"names {class_name!r} as the class of its dataset")
    return data


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _warn_of_damage(name: str, data: dict[str, Any]) -> None:
    """Warn of tensors with NaN or infinite values, as after a diverged training."""
    bad = [
        f"{key}.{tensor}"
        for key in (*NETWORKS, "augment_pipe")
        if data[key] is not None
        for tensor in misc.nonfinite_tensors(data[key])
    ]
    if bad:
        more = f" and {len(bad) - NUM_NAMED} more" if len(bad) > NUM_NAMED else ""
        warnings.warn(
            f"{name}: NaN or infinite values in {', '.join(bad[:NUM_NAMED])}{more}; the networks "
            "are damaged, an earlier snapshot may not be",
            stacklevel=3,
        )
