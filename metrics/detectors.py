"""Feature networks ("detectors"): finding and loading them.

A detector is looked for in this order: the file that the user names (`--detector NAME=PATH|URL`), a
file in the folder that STYLEGAN3_DETECTOR_DIR names, the published file, from the cache or the
internet. There are two kinds of files:

- State dicts, from `torch.save` or as safetensors, are data and may come from anywhere.
- Pickles and TorchScript (`torch.jit.save`) can run code, such as writing files. Without
  `--allow-untrusted` only our own downloads from the publisher are loaded (`metrics.published`).

Vision transformers are data in a folder, or in a repository of a hub: see
`metrics.vision_transformers`.
"""

import contextlib
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from dnnlib import downloads, errors, moved, util
from dnnlib.errors import InputError, MachineError
from dnnlib.paths import expand_home, folder_from_environment
from metrics import inception, model_files, published, servers, state_dicts, vision_transformers
from metrics.model_files import ModelFiles
from torch_utils import trusted_pickle

__getattr__ = moved.names_of(__name__)
BASE_URL = (
    "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/metrics/"
)
HUB_URL = "https://huggingface.co/"
URLS = {
    "inception": f"{BASE_URL}inception-2015-12-05.pkl",
    "vgg16": f"{BASE_URL}vgg16.pkl",
    **{name: HUB_URL + kind.repository for name, kind in vision_transformers.KINDS.items()},
}
FOLDER_VARIABLE = "STYLEGAN3_DETECTOR_DIR"
FILE_NAMES = {  # in that folder; data files come before files that can run code
    "inception": (
        "inception-2015-12-05.safetensors",
        "pt_inception-2015-12-05-6726825d.pth",
        "inception-2015-12-05.pt",
        "inception-2015-12-05.pkl",
    ),
    "vgg16": ("vgg16.pt", "vgg16.pkl"),
    **{name: (name,) for name in vision_transformers.KINDS},  # folders
}
REPLACEMENTS = {  # files to use if the published ones cannot be downloaded
    "inception": (
        "pt_inception-2015-12-05-6726825d.pth",
        "a state dict, which needs no --allow-untrusted",
    ),
    "vgg16": ("vgg16.pt", "a TorchScript file, which needs --allow-untrusted as well"),
}
DATA = ("state dict", "safetensors file")  # kinds of files that cannot run code

_loaded: dict[tuple[str, str], torch.nn.Module] = {}  # by identity and device


@dataclass(frozen=True)
class Source:
    """The origin of a detector.

    Attributes:
        url: The published address, which identifies the detector in the code.
        location: Path or URL of the file to use.
        is_chosen: Whether the user chose the location.
    """

    url: str
    location: str
    is_chosen: bool

    @property
    def is_published(self) -> bool:
        """Whether the location is a published address, whose file may be a pickle."""
        return self.location in URLS.values()

    @property
    def is_model(self) -> bool:
        """Whether the detector is a vision transformer: a folder or repository, not a file."""
        return _name_of(self.url) in vision_transformers.KINDS


def parse(text: str) -> tuple[str, str]:
    """Split `NAME=PATH|URL`; `~` in the path is the home folder.

    Raises:
        ValueError: If the text has another form, or the name is unknown.
        HomeError: If the path is in the home folder of an unknown user.
    """
    name, equals, location = text.partition("=")
    if name not in URLS or not equals or not location:
        names = " or ".join(f"{name}=PATH" for name in URLS)
        raise InputError(f"{text!r} is not {names} (for files a URL is fine, too)")
    return name, expand_home(location)


def stem(url: str) -> str:
    """The file's name without its last extension."""
    return os.path.splitext(url.rpartition("/")[2])[0]


def find(url: str, replacements: Mapping[str, str] | None = None) -> Source:
    """Find the origin of a detector.

    Args:
        url: Published address of the detector.
        replacements: Name of a detector, a key of `URLS` -> path or URL to use instead.
    """
    name = _name_of(url)
    if replacements and name in replacements:
        return Source(url, replacements[name], is_chosen=True)
    if folder := folder_from_environment(FOLDER_VARIABLE):
        for file_name in FILE_NAMES.get(name, (url.rpartition("/")[2],)):
            if (Path(folder) / file_name).exists():
                return Source(url, str(Path(folder) / file_name), is_chosen=True)
    return Source(url, url, is_chosen=False)


def fetch(source: Source) -> Path:
    """The file of a detector, downloaded if necessary.

    A machine without internet fails within seconds; a slow connection is given time.

    Raises:
        RuntimeError: If there is no file; the message names the file and says what to do.
    """
    location = source.location
    try:
        if util.is_url(location) and not published.cached_path(location).is_file():
            servers.probe(location)
        if source.is_published:
            path = published.fetch(location)
        else:
            attempts = published.NUM_ATTEMPTS
            path = Path(str(util.open_url(location, num_attempts=attempts, return_filename=True)))
        with path.open("rb"):
            pass
    except OSError as error:
        raise MachineError(_explain_missing(source, errors.message_of(error))) from error
    return path


def fetch_model(source: Source) -> ModelFiles:
    """The files of a vision transformer, downloaded if necessary.

    Raises:
        RuntimeError: If there are no files, or the library is missing; the message says what to do.
        ValueError: If the folder holds something else.
    """
    name = _name_of(source.url)
    try:
        return vision_transformers.find(name, source.location if source.is_chosen else None)
    except OSError as error:
        raise MachineError(_explain_missing(source, errors.message_of(error))) from error


def check(source: Source, allow_untrusted: bool) -> tuple[Path, str]:
    """Fetch a detector and make sure that it may be loaded.

    Returns:
        Path and kind of the file.

    Raises:
        RuntimeError: If there is no file.
        ValueError: If the file can run code and is not trusted.
    """
    if source.is_model:
        return fetch_model(source).weights, "model"
    path = fetch(source)
    with path.open("rb") as f:
        is_web_page = util.is_url(source.location) and downloads.is_web_page(f.read(200))
    if is_web_page:
        raise InputError(
            f"{source.location}: the server sent a web page in place of a feature network"
            f"{_drop(source, path.stat())}"
        )
    kind = _kind(path)
    if kind in DATA or allow_untrusted:
        return path, kind
    what = f"{path if source.is_published else source.location} is a {kind}, which can run code"
    if source.is_published:
        doubt = published.find_doubt(source.location, path, published.sha256_of(path))
        if doubt is None:
            return path, kind
        reason = f"when it is loaded, and {doubt}"
    else:
        reason = f"when it is loaded; only our own downloads from {BASE_URL} are trusted"
    data = "; state dicts and safetensors files need no trust"
    raise InputError(
        f"{what} {reason}. --allow-untrusted loads it all the same"
        f"{data if _name_of(source.url) == 'inception' else ''}"
    )


def identity(source: Source) -> str:
    """Identity of a detector: a hash of the file or files, and its name."""
    if source.is_model:
        return vision_transformers.identity(_name_of(source.url), fetch_model(source))
    digest = published.sha256_of(fetch(source))
    name = source.location.rpartition("/")[2].partition("#")[0].partition("?")[0]
    return f"sha256:{digest}/{name}"


def load(source: Source, device: torch.device, allow_untrusted: bool = False) -> torch.nn.Module:
    """Load a detector for evaluation; a second call returns the same module.

    Raises:
        RuntimeError: If there is no file.
        ValueError: If the file cannot be loaded; the message names it.
    """
    path, kind = check(source, allow_untrusted)
    key = identity(source), str(device)
    if key not in _loaded:
        module = _load_model(source) if source.is_model else _load_file(path, kind, source)
        _loaded[key] = module.eval().to(device)
    return _loaded[key]


def _name_of(url: str) -> str:
    names = {known: name for name, known in URLS.items()}
    return names.get(url, stem(url))


def _explain_missing(source: Source, reason: str) -> str:
    name, file_name = _name_of(source.url), source.url.rpartition("/")[2]
    if source.is_model and not os.path.isdir(source.location):
        return _explain_missing_model(name, source, reason)
    if source.is_chosen or name not in REPLACEMENTS:
        return f"the feature network {name!r} ({source.location}) cannot be opened: {reason}"
    other_file, other_kind = REPLACEMENTS[name]
    return (
        f"the feature network {name!r} is missing: {file_name} is not in the cache, and cannot be "
        f"downloaded from {source.url} ({reason.partition('. Without a network')[0]}). Fetch it "
        f"elsewhere, save it as {published.cached_path(source.url)} and use --allow-untrusted; or "
        f"fetch {other_kind}: put it as {other_file} into the folder that the environment variable "
        f"{FOLDER_VARIABLE} names, or name it with --detector {name}=PATH (calc_metrics.py)"
    )


def _explain_missing_model(name: str, source: Source, reason: str) -> str:
    repository = vision_transformers.repository(name, source.location if source.is_chosen else None)
    not_found = f"there is no folder {source.location}, and " if source.is_chosen else ""
    return (
        f"the feature network {name!r} is missing: {not_found}{repository} is not in the cache of "
        f"the library transformers, and cannot be downloaded ({reason}). Fetch "
        f"{model_files.NEEDED} of {HUB_URL}{repository} elsewhere, and put the two files into one "
        f"folder; name it with --detector {name}=FOLDER (calc_metrics.py), or let it be the folder "
        f"{name} in the folder that the environment variable {FOLDER_VARIABLE} names. No published "
        f"SHA-256 is known: the names and shapes of all weights are checked"
    )


def _kind(path: Path) -> str:
    """The kind of a file, by its content.

    A wrong result is not dangerous: `_load_file` opens kinds of `DATA` with readers of pure data.
    """
    with path.open("rb") as f:
        head = f.read(32)
    if head.startswith(b"PK\x03\x04"):  # of an archive; a pickle can have one inside
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name.rpartition("/")[2].lower() for name in archive.namelist()]
        except Exception:  # damaged bytes can raise anything; loading will report it
            return "TorchScript file"
        return "TorchScript file" if "constants.pkl" in names else "state dict"
    try:
        with safetensors.safe_open(path, framework="pt"):
            return "safetensors file"
    except (safetensors.SafetensorError, OSError):
        pass
    return "state dict" if state_dicts.is_old_format(head) else "pickle"


def _drop(source: Source, status: os.stat_result) -> str:
    """Remove a damaged download from the cache, and return the end of the error message."""
    if not util.is_url(source.location):
        return ""
    if source.is_published:
        published.forget(source.location)
    return f"; {util.remove_download(source.location, status)}"


def _load_file(path: Path, kind: str, source: Source) -> torch.nn.Module:
    status = path.stat()
    try:
        with _without_warnings():
            if kind == "TorchScript file":
                return torch.jit.load(str(path), map_location="cpu")
            if kind == "pickle":
                return _load_pickle(path)
            return _load_state_dict(path, kind, _name_of(source.url))
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        is_whole = (
            isinstance(error, ValueError) and error.__cause__ is None
        )  # raised in this module
        is_damaged = not (is_whole or isinstance(error, (ImportError, MemoryError)))
        raise InputError(
            f"{source.location} holds no feature network: {reason}"
            f"{_drop(source, status) if is_damaged else ''}"
        ) from error


def _load_model(source: Source) -> torch.nn.Module:
    return vision_transformers.load(_name_of(source.url), fetch_model(source))


def _load_state_dict(path: Path, kind: str, name: str) -> torch.nn.Module:
    if name != "inception":
        raise InputError(
            f"a {kind} does for 'inception', but {name!r} must be TorchScript, which needs "
            "--allow-untrusted"
        )
    if kind == "safetensors file":
        return inception.build(safetensors.torch.load(path.read_bytes()), str(path))
    state_dicts.check(path)
    return inception.load_inception(path)


def _load_pickle(path: Path) -> torch.nn.Module:
    with path.open("rb") as f:
        module = trusted_pickle.load(f)
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"found a {type(module).__name__}")
    return module


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence warnings about TorchScript, which PyTorch has deprecated, and about old pickles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
