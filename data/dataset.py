"""Training images and their labels, from a folder or a ZIP."""

import os
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from data import (
    dataset_info,
    dataset_json,
    decoding,
    file_states,
    fingerprint,
    image_cache,
    listing,
    reading,
)
from data.dataset_base import Dataset as Dataset
from data.dataset_json import parse_labels
from data.image_cache import ImageCache
from data.label_names import match_names
from data.reading import UnusableImage
from data.zip_archive import ZipArchive
from dnnlib.errors import InputError, UserError
from dnnlib.util import printable

ALPHA_SAMPLE = 64  # images that are decoded to find out whether their alpha channels are used


class ImageFolderDataset(Dataset):
    """All images below a folder or in a ZIP, sorted by name, with labels from its `dataset.json`.

    Any number of DataLoader workers, forked or spawned, can use one object.

    Args:
        path: Folder or `.zip`.
        resolution: Refuse images that are not `resolution` pixels high and wide.
        max_size, use_labels, xflip, random_seed, class_idx: See `Dataset`.
        cache: Keep images in memory once they are decoded; see `image_cache.choose`.

    Raises:
        OSError: If `path` is neither a folder nor a ZIP, or holds no image, or its first image has
            another resolution.
        MemoryError: If `cache` is `"ram"`, and the images do not fit.
        ValueError: If no image is of the class `class_idx`. On the first access to labels, if an
            image has none, or if `dataset.json` is malformed.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        resolution: int | None = None,
        max_size: int | None = None,
        use_labels: bool = False,
        xflip: bool = False,
        random_seed: int = 0,
        cache: Literal["none", "ram", "auto"] = "none",
        class_idx: int | None = None,
    ) -> None:
        self._path = Path(path)
        self._archive: ZipArchive | None = None
        self._cache: ImageCache | None = None
        if self._path.is_dir():
            files = listing.list_folder(self._path)
        elif self._path.suffix.lower() == ".zip" and self._path.is_file():
            self._archive = ZipArchive(self._path)
            files = listing.list_names(self._archive.names)
        elif self._path.exists():
            raise OSError(f"{path}: a dataset is a folder or a .zip file")
        else:
            raise OSError(f"{path}: no such folder or .zip file")

        self.left_out = listing.describe_left_out(files)  # for people; `None` if every file is used
        self._num_repeated = files.num_repeated
        metadata = dataset_json.sort_by_depth(files.metadata)
        self._has_metadata = listing.METADATA in metadata
        self._has_info = dataset_info.FILE_NAME in files.infos
        self._other_metadata = metadata[1:] if self._has_metadata else metadata
        self._label_notes: list[str] = []
        self._image_fnames = sorted(files.images)
        if not self._image_fnames:
            left_out = f" (left out: {self.left_out})" if self.left_out else ""
            raise OSError(f"{path}: no image file in it{left_out}")
        if self._archive is not None:
            position = self._archive.position
            self._members = np.array([position[name] for name in self._image_fnames])
        # A checksum takes as long as decoding, so it is compared once per image.
        self._is_checked = np.zeros(len(self._image_fnames), dtype=bool)

        self._keeps_alpha = self._is_partly_transparent()
        shape = list(self._load_raw_image(0).shape)
        if resolution is not None and shape[1:] != [resolution, resolution]:
            raise OSError(
                f"{path}: {printable(self._image_fnames[0])} is {shape[2]}x{shape[1]},"
                f" but resolution {resolution} was asked for;"
                f" convert with dataset_tool.py --resolution={resolution}x{resolution}"
            )
        super().__init__(
            name=self._path.absolute().stem,  # absolute, because "." alone has no name
            raw_shape=[len(self._image_fnames), *shape],
            max_size=max_size,
            use_labels=use_labels,
            xflip=xflip,
            random_seed=random_seed,
            class_idx=class_idx,
        )
        if image_cache.choose(cache, self.decoded_bytes) == "ram":
            self._cache = ImageCache(self._raw_shape)

    @property
    def decoded_bytes(self) -> int:
        """Bytes that all images in use would take in a cache."""
        return int(np.unique(self._raw_idx).size * np.prod(self.image_shape))

    def check_images(self) -> Counter[str]:
        """Read the header of every image in use, with a progress bar on a terminal.

        Returns:
            Number of images for each change or omission that loading makes.

        Raises:
            ValueError: If an image has another size or number of channels than the first. Training
                would stop only when it comes to this image.
            OSError: If a file is no image.
        """
        notes = listing.note_repeated(self._num_repeated)
        used = np.unique(self._raw_idx).tolist()
        for raw_idx in tqdm(used, "Checking images", unit="img", leave=False, disable=None):
            probe = self._probe(raw_idx, notes)
            if probe is None or (probe.has_alpha and not self._keeps_alpha):
                self._check_shape(raw_idx, self._load_raw_image(raw_idx, notes).shape)
            else:
                self._check_shape(raw_idx, (probe.channels, probe.height, probe.width))
        return notes

    def fingerprint(self) -> fingerprint.Fingerprint:
        """Fingerprint of all images and, if labels are used, of labels: see `data.fingerprint`.

        Raises:
            OSError: If a file of a folder is gone, or cannot be read.
            ValueError: If labels are used, and are malformed or lack one.
        """
        labels = self._get_raw_labels() if self._use_labels else None
        if self._archive is None:
            found = fingerprint.of_folder(self._path, self._image_fnames, labels)
        else:
            sizes, crcs = self._archive.sizes[self._members], self._archive.crcs[self._members]
            found = fingerprint.of_archive(self._image_fnames, sizes, crcs, labels)
        pixels = self._recorded_pixels(fingerprint.short(found))
        return found if pixels is None else {**found, "pixels": pixels}

    def file_states(self) -> str:
        """A digest of the states of the image files: see `data.file_states`.

        Raises:
            OSError: If a file is gone.
        """
        if self._archive is None:
            return file_states.describe(self._path, self._image_fnames)
        return file_states.describe(
            self._path.parent, [self._path.name], self._archive.directory_digest
        )

    def describe_unused_labels(self) -> str | None:
        """Describe labels that `use_labels=False` ignores; `None` if there are none."""
        if self._use_labels or not self._has_metadata:
            return None
        try:
            has_labels = bool(self._parse_labels())
        except (OSError, UserError) as error:
            return f"the dataset's labels cannot be used, and this run ignores them ({error})"
        if not has_labels:
            return None
        return "the dataset has labels, which this run ignores; --cond=1 uses them."

    def label_notes(self) -> list[str]:
        """Notes on labels that matched under other names, and on labels that are left out.

        Raises:
            ValueError: If labels are malformed, or an image has none.
        """
        self._get_raw_labels()
        notes = list(self._label_notes)
        if self._use_labels and self._other_metadata:
            others = printable(self._other_metadata[0])
            if len(self._other_metadata) > 1:
                others += f" and {len(self._other_metadata) - 1} more"
            notes.append(
                f"{self._path}: the dataset.json at the top counts; left out is {others}"
                if self._has_metadata
                else f"{self._path}: labels are read from a dataset.json at the top, which {others}"
                " is not; dataset_tool.py makes a dataset with its labels"
            )
        return notes

    def class_names(self) -> list[str]:
        """Names of the classes, in their order; empty if they are unknown.

        Raises:
            ValueError: If `dataset.json` is malformed.
        """
        if not self._has_metadata:
            return []
        return dataset_json.parse_class_names(self._read_file(listing.METADATA)) or []

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()

    def __getstate__(self) -> dict:
        # Only forked processes can share the cache; others read the files.
        return {**super().__getstate__(), "_cache": None}

    def _recorded_pixels(self, images: str | None) -> str | None:
        """The digest in `dataset-info.json`, if the file is about exactly these image files."""
        if not self._has_info:
            return None
        try:
            info = dataset_info.parse(self._read_file(dataset_info.FILE_NAME))
        except (OSError, UserError):  # `dataset_tool.py --inspect` says so
            return None
        return info.pixels if info.images == images else None

    def _probe(self, raw_idx: int, notes: Counter[str]) -> decoding.Probe | None:
        """Properties of an image by the first bytes of its file."""
        try:
            if self._archive is not None:
                reading.check_size(self._archive.size_of(self._members[raw_idx]))
                head = self._archive.read_start(self._members[raw_idx], decoding.HEAD_BYTES)
            else:
                path = self._path / self._image_fnames[raw_idx]
                head = reading.read_file(path, decoding.HEAD_BYTES)
            return decoding.probe(head, notes)
        except (OSError, UnusableImage) as error:
            raise self._describe_failure(raw_idx, error) from error

    def _is_partly_transparent(self) -> bool:
        """Whether the images are RGBA: all have an alpha channel, and some use it.

        A sample decides. `check_images` and loading refuse images that differ.
        """
        count = len(self._image_fnames)
        for raw_idx in range(0, count, max(count // ALPHA_SAMPLE, 1)):
            try:
                picture = decoding.decode(self._read_image(raw_idx))
            except (OSError, UnusableImage) as error:
                raise self._describe_failure(raw_idx, error) from error
            if not picture.had_alpha:
                return False
            if picture.mode in ("LA", "RGBA"):
                return True
        return False

    def _load_raw_image(self, raw_idx: int, notes: Counter[str] | None = None) -> np.ndarray:
        if self._cache is not None and (image := self._cache.get(raw_idx)) is not None:
            return image
        found: Counter[str] | None = None if notes is None else Counter()
        try:
            data = self._read_image(raw_idx)
            # Checks images in archives as well: the checksum of a member is right for an image that
            # was damaged before it was archived.
            picture = decoding.decode(data, found, check=not self._is_checked[raw_idx])
        except (OSError, UnusableImage) as error:
            raise self._describe_failure(raw_idx, error) from error
        self._is_checked[raw_idx] = True
        image = picture.pixels
        if self._keeps_alpha and picture.had_alpha and picture.mode == "RGB":
            opaque = np.full([*image.shape[:2], 1], 255, np.uint8)
            image = np.concatenate([image, opaque], axis=2)
            if found is not None:
                del found[decoding.OPAQUE]  # because the alpha channel is kept here
        if notes is not None and found is not None:
            notes.update(found)
        image = image.transpose(2, 0, 1)  # HWC to CHW
        if self._cache is not None:
            self._check_shape(raw_idx, image.shape)
            self._cache.put(raw_idx, image)
        return image

    def _describe_failure(self, raw_idx: int, error: Exception) -> OSError:
        """The error with the name of the image and the remedy."""
        reason = str(error).partition(";")[0]
        if not isinstance(error, UnusableImage):
            reason = f"cannot be read ({reason})"
        return OSError(
            f"{self._describe_image(raw_idx)} {reason}; remove or replace it, or convert the images"
            " with dataset_tool.py --on-error=skip"
        )

    def _name_raw_image(self, raw_idx: int) -> str:
        return self._image_fnames[raw_idx]

    def _load_raw_labels(self) -> np.ndarray | None:
        self._label_notes = []
        labels = self._parse_labels() if self._has_metadata else None
        if labels is None:
            return None
        where = self._path / listing.METADATA
        match = match_names(labels, self._image_fnames, str(where))
        if missing := match.unlabelled:
            text = f"{where}: no label for {printable(missing[0])}"
            text += f" ({len(missing)} of {len(self._image_fnames)} images have none"
            if match.unused:
                text += f"; {printable(match.unused[0])} has one, but is no image"
            raise InputError(f"{text}); add them or train without labels")
        if match.changes is not None:
            self._label_notes.append(f"{where}: {match.changes}")
        if match.unused:
            self._label_notes.append(
                f"{where}: {len(match.unused)} of its labels name no image, such as"
                f" {printable(match.unused[0])}"
            )
        values = [labels[match.listed_of[name]] for name in self._image_fnames]
        return np.array(values, np.float32 if isinstance(values[0], list) else np.int64)

    def _parse_labels(self) -> dict[str, dataset_json.Label] | None:
        text = self._read_file(listing.METADATA)
        return parse_labels(text, self._path / listing.METADATA)

    def _describe_image(self, raw_idx: int) -> str:
        return f"{self._path}: {printable(self._image_fnames[raw_idx])}"

    def _read_image(self, raw_idx: int) -> bytes:
        if self._archive is None:
            return reading.read_file(self._path / self._image_fnames[raw_idx])
        index = self._members[raw_idx]
        check = not self._is_checked[raw_idx]
        if check:
            reading.check_size(self._archive.size_of(index))
        return self._archive.read_at(index, check=check)

    def _read_file(self, name: str) -> bytes:
        try:
            if self._archive is None:
                return reading.read_file(self._path / name)
            reading.check_size(self._archive.size_of(self._archive.position[name]))
            return self._archive.read(name)
        except UnusableImage as error:  # a pipe, or too large
            raise InputError(f"{self._path / name} {str(error).partition(';')[0]}") from error
