"""The base class of datasets: images of one shape with optional labels."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data
from torch import Tensor

from data import fingerprint
from dnnlib.errors import InputError
from dnnlib.util import EasyDict, nearest_power_of_two


class Dataset(torch.utils.data.Dataset):
    """Images of one shape with optional labels; items are `(uint8 [C, H, W], float32 label)`.

    Subclasses implement `_load_raw_image` and `_load_raw_labels`.

    Args:
        name: Short name, used in the names of runs and cache files.
        raw_shape: `[N, C, H, W]` of all images, before `max_size` and `xflip`.
        max_size: Use at most this many images, chosen at random, in their original order.
        use_labels: Read the labels; otherwise every label is an empty vector.
        xflip: Append a mirrored copy of every image, after all unmirrored ones.
        random_seed: Seed for the choice of images by `max_size`.
        class_idx: Use the images of this class only; `max_size` chooses among them. Labels keep
            their size.

    Raises:
        ValueError: If no image is of the class `class_idx`.
    """

    left_out: str | None = None  # files that are not used, for people

    def __init__(
        self,
        name: str,
        raw_shape: list[int],
        max_size: int | None = None,
        use_labels: bool = False,
        xflip: bool = False,
        random_seed: int = 0,
        class_idx: int | None = None,
    ) -> None:
        self._name = name
        self._raw_shape = list(raw_shape)
        self._use_labels = use_labels
        self._raw_labels: np.ndarray | None = None  # read on first use
        self._label_shape: list[int] | None = None

        self._raw_idx: np.ndarray = np.arange(self._raw_shape[0], dtype=np.int64)
        if class_idx is not None:
            self._raw_idx = self._images_of(class_idx)
        if max_size is not None and max_size < self._raw_idx.size:
            np.random.RandomState(random_seed).shuffle(self._raw_idx)
            self._raw_idx = np.sort(self._raw_idx[:max_size])
        self._xflip: np.ndarray = np.zeros(self._raw_idx.size, dtype=bool)
        if xflip:
            self._raw_idx = np.tile(self._raw_idx, 2)
            self._xflip = np.concatenate([self._xflip, ~self._xflip])

    def __len__(self) -> int:
        return self._raw_idx.size

    def __getitem__(self, idx: int) -> tuple[np.ndarray, np.ndarray]:
        image = torch.empty(self.image_shape, dtype=torch.uint8)
        label = self.load_into(idx, image)
        return image.numpy(), label

    def load_into(self, idx: int, image: Tensor) -> np.ndarray:
        """Write the image `idx` to `image`, uint8 `[C, H, W]`, and return its label.

        This is fastest if `image` is channels-last in memory, as image files are.
        """
        raw_idx = int(self._raw_idx[idx])
        loaded = self._load_raw_image(raw_idx)
        self._check_shape(raw_idx, loaded.shape, loaded.dtype)
        if self._xflip[idx]:
            loaded = loaded[:, :, ::-1]
        if image.stride(0) == 1:
            np.copyto(image.permute(1, 2, 0).numpy(), loaded.transpose(1, 2, 0))
        else:
            # PyTorch reorders axes twice as fast as NumPy.
            loaded = np.require(loaded.transpose(1, 2, 0), requirements=["C", "W"])
            image.copy_(torch.from_numpy(loaded).permute(2, 0, 1))
        return self.get_label(idx)

    def get_label(self, idx: int) -> np.ndarray:
        """Label for networks, float32 `[label_dim]`; one-hot for classes."""
        label = self._get_raw_labels()[self._raw_idx[idx]]
        if label.dtype != np.int64:
            return label.copy()
        onehot = np.zeros(self.label_shape, dtype=np.float32)
        onehot[label] = 1
        return onehot

    def raw_labels(self) -> np.ndarray:
        """Labels of all images, before `max_size` and `xflip`.

        Classes, int64 `[N]`, or vectors, float32 `[N, label_dim]`; the caller must not change them.
        """
        return self._get_raw_labels()

    def get_details(self, idx: int) -> EasyDict:
        """`raw_idx` (position among all images), `xflip`, `raw_label` (class number or vector)."""
        raw_idx = int(self._raw_idx[idx])
        return EasyDict(
            raw_idx=raw_idx,
            xflip=bool(self._xflip[idx]),
            raw_label=self._get_raw_labels()[raw_idx].copy(),
        )

    def name_of(self, idx: int) -> str:
        """Name of the image `idx`, the same for its mirrored copy; its number if it has no name."""
        return self._name_raw_image(int(self._raw_idx[idx]))

    @property
    def name(self) -> str:
        return self._name

    @property
    def image_shape(self) -> list[int]:
        """`[C, H, W]`."""
        return list(self._raw_shape[1:])

    @property
    def num_channels(self) -> int:
        return self.image_shape[0]

    @property
    def resolution(self) -> int:
        """Height and width of the square images."""
        _, height, width = self.image_shape
        if height != width:
            side = max(nearest_power_of_two(min(width, height)), 8)
            raise InputError(
                f"{self.name}: the images are {width}x{height}, but must be square;"
                f" dataset_tool.py --transform=center-crop --resolution={side}x{side} makes them so"
            )
        return height

    @property
    def label_shape(self) -> list[int]:
        if self._label_shape is None:
            labels = self._get_raw_labels()
            is_class = labels.dtype == np.int64
            self._label_shape = [int(labels.max()) + 1] if is_class else list(labels.shape[1:])
        return list(self._label_shape)

    @property
    def label_dim(self) -> int:
        return self.label_shape[0]

    @property
    def has_labels(self) -> bool:
        return any(size != 0 for size in self.label_shape)

    @property
    def has_onehot_labels(self) -> bool:
        return self._get_raw_labels().dtype == np.int64

    def class_sizes(self) -> dict[int, int]:
        """Number of images in use by class, for all classes that have some, in their order.

        Raises:
            ValueError: If the labels are not used, or are no class numbers.
        """
        labels = self._get_raw_labels()
        if labels.dtype != np.int64:
            what = "labels that are vectors" if labels.shape[1] else "no labels"
            raise InputError(f"{self.name}: there are {what}, and so no classes")
        classes, sizes = np.unique(labels[self._raw_idx], return_counts=True)
        return dict(zip(classes.tolist(), sizes.tolist(), strict=True))

    def fingerprint(self) -> fingerprint.Fingerprint | None:
        """A fingerprint that identifies the data wherever they lie; `None` if unknown."""
        return None

    def file_states(self) -> str | None:
        """A text that changes when a file of an image is written or replaced; `None` if unknown."""
        return None

    def check_images(self) -> Counter[str]:
        """Look at all images; returns the number of those that reading changes, for each change."""
        return Counter()

    def label_notes(self) -> list[str]:
        """What is to say about the labels."""
        return []

    def class_names(self) -> list[str]:
        """Names of the classes, in their order; empty if they are unknown."""
        return []

    def close(self) -> None:
        """Release open files; the dataset remains usable."""

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_raw_labels": None}

    def _load_raw_image(self, raw_idx: int) -> np.ndarray:
        """The image `[C, H, W]` before mirroring. The caller must not change it."""
        raise NotImplementedError

    def _name_raw_image(self, raw_idx: int) -> str:
        return f"image {raw_idx}"

    def _load_raw_labels(self) -> np.ndarray | None:
        """Classes, int64 `[N]`, or vectors, float32 `[N, label_dim]`; `None` without labels."""
        raise NotImplementedError

    def _check_shape(
        self, raw_idx: int, shape: Sequence[int], dtype: npt.DTypeLike = np.uint8
    ) -> None:
        if list(shape) != self.image_shape or dtype != np.uint8:
            has_size = list(shape[1:]) == self.image_shape[1:]
            raise InputError(
                f"{self._describe_image(raw_idx)} is {_describe(shape, dtype)}, but"
                f" {self._describe_image(0)} is {_describe(self.image_shape, np.uint8)}, and all"
                " must be alike; dataset_tool.py "
                + (
                    "--on-error=skip leaves others out"
                    if has_size
                    else "--resolution=WxH makes them equal"
                )
            )

    def _describe_image(self, raw_idx: int) -> str:
        return f"{self.name}: {self._name_raw_image(raw_idx)}"

    def _images_of(self, class_idx: int) -> np.ndarray:
        """The positions of all images of a class."""
        if class_idx not in self.class_sizes():
            raise InputError(f"{self.name}: no image is of class {class_idx}")
        return np.flatnonzero(self._get_raw_labels() == class_idx)

    def _get_raw_labels(self) -> np.ndarray:
        if self._raw_labels is None:
            labels = self._load_raw_labels() if self._use_labels else None
            if labels is None:
                labels = np.zeros([self._raw_shape[0], 0], dtype=np.float32)
            self._raw_labels = labels
        return self._raw_labels


def _describe(shape: Sequence[int], dtype: npt.DTypeLike) -> str:
    channels, height, width = shape
    return f"{width}x{height} with {channels} channel(s) of {np.dtype(dtype).name}"
