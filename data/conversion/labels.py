"""Labels by image, from the `dataset.json` of a source or from the names of folders."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data import dataset_json
from data.conversion.classes import sort_classes
from data.dataset_json import Label, parse_class_names, parse_labels
from data.label_names import match_names
from data.listing import METADATA
from data.reading import UnusableImage
from dnnlib import moved
from dnnlib.errors import InputError
from dnnlib.util import printable

__getattr__ = moved.names_of(__name__)


class Labels(NamedTuple):
    """Labels by names of images in their source, and the names of classes, if known."""

    by_name: dict[str, Label]
    class_names: list[str] | None = None
    notes: tuple[str, ...] = ()  # guesses, conversions and ignored labels, for people
    lack: str = ""  # completes "<image> ..." for an image without label; empty without labels
    unused: tuple[str, ...] = ()  # names that have labels but no image
    are_in_place: bool = False  # whether training finds the labels, too

    def find_gaps(self, names: Sequence[str]) -> str | None:
        """The message if some of these images have no label, with the remedies; else `None`."""
        missing = [name for name in names if name not in self.by_name]
        if not missing or not self.lack:
            return None
        text = f"{printable(missing[0])} {self.lack}"
        text += f" ({len(missing)} of {len(names)} images have no label"
        if labelled := next((name for name in names if name in self.by_name), None):
            text += f"; {printable(labelled)} has one"
        if self.unused:
            text += f"; {printable(self.unused[0])} has one, but is no image"
        return (
            f"{text}); complete the labels, leave such images out with --on-error=skip, or all"
            " labels with --labels=none"
        )


def from_dataset(
    metadata: Iterable[str], read: Callable[[str], bytes], names: Sequence[str], where: Path
) -> Labels:
    """The labels in the `dataset.json` of a source, if it has such a file with labels.

    If no such file lies at the top, a single file with labels below it is used.

    Args:
        metadata: Names of all `dataset.json` files in the source.
        read: Returns the content of such a file.
        names: Names of the images.
        where: Name of the source in messages.

    Raises:
        ValueError: If `dataset.json` is malformed or names images ambiguously, or if several have
            labels and none lies at the top.
    """
    found = dataset_json.sort_by_depth(metadata)
    if not found:
        return Labels({})
    if found[0] == METADATA:
        labels = _from_json_of_dataset(_read(read, where, found[0]), where / found[0], names, "")
        if len(found) > 1:
            others = printable(found[1]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")
            note = f"{where / found[0]} is what counts, and {others} is left out"
            labels = labels._replace(notes=(*labels.notes, note))
        return labels
    labelled: dict[str, bytes] = {}
    for name in found:
        text = _read(read, where, name)
        if parse_labels(text, _path(where, name)):
            labelled[name] = text
        if len(labelled) > 1:
            raise InputError(
                f"{where}: there is no dataset.json at the top, but several below, such as"
                f" {' and '.join(printable(name) for name in labelled)}; convert each folder by"
                " itself, or put one for all images at the top"
            )
    if not labelled:
        return Labels({})
    ((name, text),) = labelled.items()
    labels = _from_json_of_dataset(text, _path(where, name), names, name.rpartition("/")[0])
    note = f"the labels are those of {_path(where, name)}; there is no dataset.json at the top"
    return labels._replace(notes=(note, *labels.notes), are_in_place=False)


def from_folders(names: Sequence[str], where: str) -> Labels:
    """Classes by folders directly below the source; see `sort_classes` for their numbers.

    Raises:
        ValueError: If no image lies in a folder.
    """
    folders = {name: name.partition("/")[0] for name in names if "/" in name}
    if not folders and names:
        raise InputError(
            f"--labels=folders: the images in {where} lie in no folders; put the images of each"
            " class into one"
        )
    class_names = sort_classes(folders.values())
    numbers = {name: number for number, name in enumerate(class_names)}
    notes = []
    if len(class_names) == 1:
        below = {name.split("/")[1] for name in names if name.count("/") > 1}
        notes.append(
            f"all images lie in one folder, {printable(class_names[0])}, which makes one class"
            + (f"; its {len(below)} subfolders make none" if below else "")
        )
    return Labels(
        {name: numbers[folder] for name, folder in folders.items()},
        class_names,
        tuple(notes),
        "lies in no folder",
    )


def _path(where: Path, name: str) -> str:
    return printable(str(where / name))


def _read(read: Callable[[str], bytes], where: Path, name: str) -> bytes:
    try:
        return read(name)
    except UnusableImage as error:  # a pipe, or too large
        raise InputError(f"{_path(where, name)} {str(error).partition(';')[0]}") from error


def _from_json_of_dataset(
    text: bytes, path: str | Path, names: Sequence[str], folder: str
) -> Labels:
    listed = parse_labels(text, path)
    if listed is None:
        return Labels({})
    if not listed:
        return Labels({}, notes=(f"{path} lists no labels",) if names else ())
    class_names, notes = None, []
    try:
        class_names = parse_class_names(text)
    except ValueError as error:
        notes.append(f"{path}: {error}; it is left out")
    labels = match_labels(listed, names, str(path), "name", folder)
    notes += check_class_names(class_names, labels.by_name, path)
    return labels._replace(
        class_names=class_names, notes=(*labels.notes, *notes), are_in_place=True
    )


def match_labels(
    listed: dict[str, Any], names: Sequence[str], where: str, noun: str, folder: str = ""
) -> Labels:
    """Labels by image, unchanged from the list."""
    match = match_names(listed, names, where, folder)
    notes = [] if match.changes is None else [f"{where}: {match.changes}"]
    if match.unused and match.listed_of:
        notes.append(
            f"{where}: {_count(len(match.unused), noun)} without an image, such as"
            f" {printable(match.unused[0])}"
        )
    by_name = {image: listed[name] for image, name in match.listed_of.items()}
    return Labels(by_name, None, tuple(notes), f"has no label in {where}", tuple(match.unused))


def check_class_names(
    class_names: list[str] | None, by_name: dict[str, Label], path: str | Path
) -> list[str]:
    values = [label for label in by_name.values() if isinstance(label, int)]
    if class_names is None or not values or max(values) < len(class_names):
        return []
    return [
        f"{path}: there are {len(class_names)} class names, but classes up to number {max(values)}"
    ]


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
