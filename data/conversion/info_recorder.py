"""Collects what `dataset-info.json` says about the images of a conversion."""

import numpy as np

from data import dataset_info, fingerprint
from data.conversion.transform import Transform
from data.dataset_info import DatasetInfo, PixelDigest
from dnnlib.errors import InputError


class InfoRecorder:
    """Adds up the images of a dataset in their order.

    Args:
        transform: How the images were made.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._pixels = PixelDigest()
        self._names: list[str] = []
        self._sizes: list[int] = []  # of the files, in bytes
        self._crcs: list[int] = []

    def add(self, name: str, num_bytes: int, crc: int, pixel_digest: bytes) -> None:
        """Add an image file.

        Args:
            name: Its name in the dataset.
            num_bytes: Its size.
            crc: Its CRC-32.
            pixel_digest: Result of `dataset_info.digest_of`.
        """
        if self._names and name <= self._names[-1]:
            raise InputError(f"InfoRecorder: {name} comes after {self._names[-1]}")
        self._names.append(name)
        self._sizes.append(num_bytes)
        self._crcs.append(crc)
        self._pixels.add(pixel_digest)

    def info(self, num_source: int, size: tuple[int, int], colours: str) -> DatasetInfo:
        """The content of the file.

        Args:
            num_source: Number of images of the source that were read.
            size: Width and height of all images.
            colours: `"grey"` or `"RGB"`.
        """
        sizes, crcs = np.array(self._sizes, np.int64), np.array(self._crcs, np.int64)
        images = fingerprint.short(fingerprint.of_archive(self._names, sizes, crcs))
        assert images is not None  # it is of the current version
        resolution = self.transform.size
        return DatasetInfo(
            pixels=self._pixels.text(),
            images=images,
            num_images=len(self._names),
            num_source=num_source,
            size=list(size),
            colours=colours,
            transform=self.transform.crop,
            resolution=None if resolution is None else list(resolution),
            resize_filter=None if resolution is None else self.transform.resize_filter,
            versions=dataset_info.versions(),
        )
