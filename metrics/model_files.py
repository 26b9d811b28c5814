"""Find the files of a model that the library transformers has saved.

They lie in a folder, or in a repository of the library's hub. Repositories are first looked for in
the library's own cache, without asking the hub; missing files are downloaded into this cache.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from dnnlib.errors import InputError
from metrics import servers

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that exists counts
NEEDED = f"{CONFIG} and {' or '.join(WEIGHTS)}"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # of a repository


@dataclass(frozen=True)
class ModelFiles:
    """The two files of a model, and the folder or repository that holds them."""

    origin: str
    config: Path
    weights: Path


def is_repository(location: str) -> bool:
    """Whether a text has the form of a repository's name, `OWNER/NAME`."""
    return NAME_PATTERN.fullmatch(location) is not None


def in_folder(folder: Path) -> ModelFiles:
    """The files in a folder.

    Raises:
        ValueError: If a file is missing.
    """
    weights = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not weights or not (folder / CONFIG).is_file():
        raise InputError(f"the folder {folder} must hold {NEEDED}")
    return ModelFiles(str(folder), folder / CONFIG, weights[0])


def in_repository(repository: str) -> ModelFiles:
    """The files of a repository, from the cache of the library or else from its hub.

    A machine without internet fails within seconds; a slow connection is given time.

    Raises:
        ImportError: If the library is missing.
        OSError: If a file is missing, and cannot be downloaded; the message gives the reason.
    """
    import huggingface_hub  # takes a second, and only some metrics need it

    config, *weights = (_cached(repository, name) for name in (CONFIG, *WEIGHTS))
    known = next((path for path in weights if path is not None), None)
    if config is not None and known is not None:
        return ModelFiles(repository, config, known)
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    servers.probe(huggingface_hub.constants.ENDPOINT)
    config, found = _download(repository, CONFIG), None
    for name in WEIGHTS:
        found = found or _download(repository, name)
    if config is None or found is None:
        raise OSError(f"{repository} does not hold {NEEDED}")
    return ModelFiles(repository, config, found)


def _cached(repository: str, name: str) -> Path | None:
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None  # the cache also knows what is missing


def _download(repository: str, name: str) -> Path | None:
    """A file of a repository; `None` if the repository has no such file."""
    import huggingface_hub

    print(f"Looking for {name} of {repository} on the hub ...", file=sys.stderr)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except huggingface_hub.errors.RemoteEntryNotFoundError:
        return None
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise OSError(f"the hub has no public repository {repository}") from error
    except Exception as error:  # of the client, and of several libraries below it
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise OSError(f"downloading {name} failed: {reason}") from error
