"""Names of a network's classes, from the dataset that it was trained with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnnlib.paths import is_inside
from dnnlib.text import one_line
from network_files import own_classes

MAX_CLASSES = 2**15  # the names travel with every picture
MAX_JSON_BYTES = 2**26
MAX_CHARACTERS = 60  # of a name
KEY = b'"class_names"'


def find_class_names(
    training_set_kwargs: dict[str, Any] | None,
    c_dim: int,
    folders: Sequence[Path] | None = None,
) -> tuple[str, ...]:
    """The names of a network's classes; empty if they cannot be found.

    Args:
        training_set_kwargs: From the network's file, which may be hostile: only files on this
            computer are read, up to a limit of bytes.
        c_dim: Number of the network's classes.
        folders: Where datasets may be read, for visitors who may see nothing else; None for
            everywhere.
    """
    if not 0 < c_dim <= MAX_CLASSES:
        return ()
    try:
        # Run no code of a program that has packages `training` or `data` of its own.
        if not (own_classes.is_ours("training") and own_classes.is_ours("data")):
            return ()
        from data import dataset_json

        text = _read_metadata((training_set_kwargs or {}).get("path"), folders)
        # Few datasets have names, and the labels of the others take long to parse.
        names = dataset_json.parse_class_names(text) if KEY in text else None
    except Exception:  # without a readable dataset there are no names, but still a picture
        return ()
    if names is None or len(names) != c_dim:
        return ()
    return tuple(one_line(name, MAX_CHARACTERS) for name in names)


def _read_metadata(path: Any, folders: Sequence[Path] | None) -> bytes:
    """The `dataset.json` of a folder or ZIP, empty if there is none or it is too large."""
    from data import reading
    from data.listing import METADATA
    from data.zip_archive import ZipArchive

    if not isinstance(path, str) or path.startswith(("//", "\\\\")):  # on another computer
        return b""
    if folders is not None and not any(is_inside(Path(path), folder) for folder in folders):
        return b""
    if Path(path).is_dir():
        metadata = Path(path, METADATA)
        if not metadata.is_file() or metadata.stat().st_size > MAX_JSON_BYTES:
            return b""
        return reading.read_file(metadata, MAX_JSON_BYTES)
    if not Path(path).is_file() or not path.lower().endswith(".zip"):
        return b""
    archive = ZipArchive(path)
    try:
        position = archive.position.get(METADATA)
        if position is None or archive.size_of(position) > MAX_JSON_BYTES:
            return b""
        return archive.read_at(position)
    finally:
        archive.close()
