"""A dataset of which only a file of statistics is here, and not the images."""

import os

import numpy as np

from data.dataset_base import Dataset
from dnnlib.errors import InputError
from metrics import stats_file

CLASS_NAME = f"{__name__}.StatsDataset"


class StatsDataset(Dataset):
    """Facts about a dataset, its labels, and statistics of the features of its images.

    Args:
        path: File in the format of `stats_file`.
        resolution: Refuse statistics of images that are not `resolution` pixels high and wide.
        use_labels: See `Dataset`.
        max_size, xflip, class_idx: As for a dataset with images. Statistics of other images than
            all of them, without mirrored copies, are refused.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged, or is about other images.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        resolution: int | None = None,
        max_size: int | None = None,
        use_labels: bool = False,
        xflip: bool = False,
        class_idx: int | None = None,
    ) -> None:
        self.content = stats_file.read(path)
        if max_size is not None or xflip or class_idx is not None:
            raise InputError(
                f"{path} has statistics of all images together, without mirrored copies; for "
                "others name the images themselves"
            )
        super().__init__(
            name=self.content.name,
            raw_shape=[self.content.num_images, *self.content.image_shape],
            use_labels=use_labels,
        )
        if resolution is not None and self.resolution != resolution:
            size, asked = (f"{side}x{side}" for side in (self.resolution, resolution))
            raise InputError(f"{path} has statistics of images of {size}, and not of {asked}")

    def fingerprint(self) -> dict:
        """The fingerprint of the dataset that the statistics are of."""
        return self.content.fingerprint | ({} if self._use_labels else dict(labels=None))

    def _load_raw_image(self, raw_idx: int) -> np.ndarray:
        raise InputError(
            f"{self.content.path} has statistics of images and not the images, which are needed "
            "here; name the images themselves"
        )

    def _load_raw_labels(self) -> np.ndarray | None:
        return self.content.labels
