"""Find the label of each image by its name, even if the list of labels spells it differently.

Lists of labels are written by other programs, on other systems, before images were moved or
converted. Exact matches count first. Other names are compared in this order:

1. as paths: `\\` is `/`, leading `./` and `/` are ignored, and both encodings of letters with
   accents (Unicode NFC and NFD) are equal;
2. without a leading folder that all names of the list have and no image has, or the reverse, if
   no name matched so far;
3. without the suffix: `a.jpg` in the list is `a.png`, if no other image is called `a`.

A name that could mean two images is an error.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dnnlib.errors import InputError
from dnnlib.util import printable

SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")


class Match(NamedTuple):
    """Pairs of labels and images, and names without a partner."""

    listed_of: dict[str, str]  # by image: its name in the list
    unlabelled: list[str]  # images without a label
    unused: list[str]  # names in the list without an image
    changes: str | None  # number of names that matched in another spelling, and the changes made


def match_names(
    listed: Mapping[str, Any], images: Sequence[str], where: str, folder: str = ""
) -> Match:
    """Find the label of every image.

    Exact matches of hundreds of thousands of names take a moment.

    Args:
        listed: Labels by name. The labels may be of any type that can be compared.
        images: Names with `/` between folders, relative to the top of the dataset.
        where: Name of the list in error messages.
        folder: Folder of the list below the top. Its names may start in this folder, or at the top.

    Raises:
        ValueError: If a name could mean several images, or an image has several labels.
    """
    if not folder:
        return _match(listed, images, where)
    below = {f"{folder}/{name}": name for name in listed}
    names = {path: listed[name] for path, name in below.items()}
    existing = set(images)
    if not any(as_path(path) in existing for path in below):
        match = _match(listed, images, where)  # relative to the top
        if match.listed_of:
            return match
    match = _match(names, images, where)
    return match._replace(
        listed_of={image: below[path] for image, path in match.listed_of.items()},
        unused=[below[path] for path in match.unused],
    )


def as_path(name: str) -> str:
    """One spelling for all ways to write a path relative to the top of a dataset."""
    name = name.replace("\\", "/")
    if name.startswith(("/", "./")) or "//" in name or "/./" in name:
        name = "/".join(part for part in name.split("/") if part not in ("", "."))
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _match(listed: Mapping[str, Any], images: Sequence[str], where: str) -> Match:
    pairs = _Pairs(listed, where)
    pairs.found = {image: image for image in images if image in listed}
    pairs.used = set(pairs.found)
    if len(pairs.used) == len(listed):  # exact matches: nearly every dataset ends here
        return Match(pairs.found, [name for name in images if name not in listed], [], None)
    num_exact = len(pairs.found)
    paths = {name: as_path(name) for name in listed if name not in pairs.used}
    image_paths = {image: as_path(image) for image in images if image not in listed}
    for name, path in paths.items():
        if path in pairs.found:  # the same image twice, in two spellings
            pairs.check_equal(name, path, path)
            pairs.used.add(name)

    pairs.add(_group(paths), _group(image_paths))
    change = None
    if not pairs.found:
        change, paths, image_paths = _without_common_folder(paths, image_paths, where)
        pairs.add(_group(paths), _group(image_paths))
    if len(pairs.used) < len(listed) and len(pairs.found) < len(images):
        _add_without_suffix(pairs, paths, image_paths, images)
    respelled = dict(list(pairs.found.items())[num_exact:])
    return Match(
        pairs.found,
        [image for image in images if image not in pairs.found],
        [name for name in listed if name not in pairs.used],
        _describe_changes(respelled, change),
    )


class _Pairs:
    """Pairs names of a list with images by a common key, and refuses ambiguous names."""

    def __init__(self, listed: Mapping[str, Any], where: str) -> None:
        self.listed = listed
        self.where = where
        self.found: dict[str, str] = {}  # by image: a name of the list
        self.used: set[str] = set()  # names of the list; several can mean one image

    def add(self, names: Mapping[str, list[str]], images: Mapping[str, list[str]]) -> None:
        """Pair names and images of the same key."""
        for key, candidates in images.items():
            if key not in names:
                continue
            first, *others = names[key]
            for other in others:
                self.check_equal(other, first, candidates[0])
            if len(candidates) > 1:
                raise InputError(
                    f"{self.where}: {printable(first)} could be {printable(candidates[0])} or"
                    f" {printable(candidates[1])}; name each of them in full"
                )
            self.found[candidates[0]] = first
            self.used.update(names[key])

    def check_equal(self, name: str, other: str, image: str) -> None:
        if self.listed[name] != self.listed[other]:
            raise InputError(
                f"{self.where}: {printable(other)} and {printable(name)} both name the image"
                f" {printable(image)}, but their labels differ; remove one of the two"
            )


def _group(key_of: Mapping[str, str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name, key in key_of.items():
        groups[key].append(name)
    return groups


def _without_common_folder(
    paths: dict[str, str], image_paths: dict[str, str], where: str
) -> tuple[str | None, dict[str, str], dict[str, str]]:
    """Remove the leading folder, of the list or of the images, with which most names match."""
    options = [(True, folder) for folder in _leading_folders(paths.values())]
    options += [(False, folder) for folder in _leading_folders(image_paths.values())]
    for key in (str, _stem):  # preferably with suffixes
        names = {key(path) for path in paths.values()}
        images = {key(path) for path in image_paths.values()}
        counts = []
        for is_listed, folder in options:
            longer, shorter = (names, images) if is_listed else (images, names)
            counts.append(len(shorter & {path[len(folder) :] for path in longer}))
        best = max(counts, default=0)
        if best == 0:
            continue
        if counts.count(best) > 1:
            first, second = [options[i][1] for i, num in enumerate(counts) if num == best][:2]
            raise InputError(
                f"{where}: its names fit images without the folder {printable(first)} as well as"
                f" without {printable(second)}; name the images as they are called now"
            )
        is_listed, folder = options[counts.index(best)]
        if is_listed:
            paths = {name: path[len(folder) :] for name, path in paths.items()}
            return f"leaving out the folder {printable(folder)}", paths, image_paths
        image_paths = {image: path[len(folder) :] for image, path in image_paths.items()}
        return f"putting the folder {printable(folder)} in front", paths, image_paths
    return None, paths, image_paths


def _leading_folders(paths: Iterable[str]) -> list[str]:
    """`a/`, `a/b/`, ...: the folders that all paths start with."""
    common: list[str] | None = None
    for folder in {path.rpartition("/")[0] for path in paths}:
        parts = folder.split("/") if folder else []
        common = parts if common is None else common
        while common != parts[: len(common)]:
            common.pop()
    return ["/".join(common[: i + 1]) + "/" for i in range(len(common))] if common else []


def _add_without_suffix(
    pairs: _Pairs, paths: dict[str, str], image_paths: dict[str, str], images: Sequence[str]
) -> None:
    """Pair the remaining names without their suffixes.

    A name that could also mean an image with a label is ambiguous.
    """
    stems = {image: _stem(image_paths.get(image) or as_path(image)) for image in images}
    lacking = {stems[image] for image in images if image not in pairs.found}
    wanted = {stem: group for stem, group in _group(stems).items() if stem in lacking}
    names = {
        # A name without a suffix may have a dot: scan_1.5 is scan_1.5.png.
        name: path if path in wanted else _stem(path)
        for name, path in paths.items()
        if name not in pairs.used
    }
    pairs.add(_group(names), wanted)


def _stem(path: str) -> str:
    return SUFFIX.sub("", path)


def _describe_changes(respelled: dict[str, str], change_of_folder: str | None) -> str | None:
    """Describe in words how names were changed before they matched."""
    if not respelled:
        return None
    changes = []
    slashed = [name.replace("\\", "/") for name in respelled.values()]
    if slashed != list(respelled.values()):
        changes.append("turning \\ into /")
    if any(as_path(name) != unicodedata.normalize("NFC", name) for name in slashed):
        changes.append("leaving out ./ or / in front")
    names = [name for pair in respelled.items() for name in pair if not name.isascii()]
    if not all(unicodedata.is_normalized("NFC", name) for name in names):
        changes.append("composing accents (Unicode NFC)")
    if change_of_folder is not None:
        changes.append(change_of_folder)
    if any(_suffix(image) != _suffix(name) for image, name in respelled.items()):
        changes.append("leaving out the suffix")
    image, name = next(iter(respelled.items()))
    num = "1 name" if len(respelled) == 1 else f"{len(respelled)} names"
    example = f"{printable(name)} for {printable(image)}"
    return f"{num} matched after {' and '.join(changes)}, such as {example}"


def _suffix(name: str) -> str:
    return name[len(_stem(name)) :]
