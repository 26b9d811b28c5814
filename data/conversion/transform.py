"""Crop and resize images to one square power-of-two size."""

from dataclasses import dataclass
from typing import Literal, get_args

import PIL.Image

from dnnlib.errors import InputError
from dnnlib.util import is_power_of_two, nearest_power_of_two

Crop = Literal["center-crop", "center-crop-wide"]
ResizeFilter = Literal["lanczos", "box", "bicubic", "hamming"]
RESIZE_FILTERS: tuple[ResizeFilter, ...] = get_args(ResizeFilter)


@dataclass(frozen=True)
class Transform:
    """An optional crop of every image, then an optional resize with antialiasing.

    - No crop: resize to `size`, ignoring the aspect ratio. Images of this size are not changed.
    - `center-crop`: the largest centred square, resized to `size`.
    - `center-crop-wide`: full width and the central `round(W * h / w)` rows of a `w` x `h` image,
      resized to `size` = `W` x `H` and centred on a black `W` x `W` square. Existing datasets were
      made with this number of rows, although it keeps proportions only if `w*w*H == W*W*h`.

    Raises:
        ValueError: If the combination cannot give square power-of-two images.
    """

    crop: Crop | None = None
    size: tuple[int, int] | None = None  # width, height
    resize_filter: ResizeFilter = "lanczos"

    def __post_init__(self) -> None:
        if self.size is None:
            if self.crop is not None:
                raise InputError(
                    f"--transform={self.crop} needs --resolution=WxH, such as --resolution=256x256"
                )
            return
        width, height = self.size
        option = f"--resolution={width}x{height}"
        if self.crop == "center-crop-wide":
            if height > width:
                raise InputError(
                    f"{option}: center-crop-wide needs a width of at least the height;"
                    f" try --resolution={_suggest_wide_size(height, width)}"
                )
        elif width != height:
            raise InputError(
                f"{option}: images must end up square; try --resolution={suggest_size(width)}, or"
                " --transform=center-crop-wide for black bars above and below"
            )
        if not is_power_of_two(width):
            is_wide = self.crop == "center-crop-wide"
            better = _suggest_wide_size(width, height) if is_wide else suggest_size(width)
            raise InputError(
                f"{option}: the width must be a power of two; try --resolution={better}"
            )

    def __call__(self, image: PIL.Image.Image) -> PIL.Image.Image | None:
        """The transformed image; `None` if it is too small for `center-crop-wide`."""
        if self.size is None:
            return image
        if self.crop == "center-crop":
            side = min(image.size)
            image = crop_centre(image, side, side)
        elif self.crop == "center-crop-wide":
            num_rows = round(self.size[0] * image.height / image.width)
            if image.width < self.size[0] or num_rows < self.size[1]:
                return None
            image = crop_centre(image, image.width, num_rows)
        if image.size != self.size:
            image = image.resize(self.size, PIL.Image.Resampling[self.resize_filter.upper()])
        return _letterbox(image) if self.crop == "center-crop-wide" else image


def explain_misfit(size: tuple[int, int]) -> str | None:
    """Explain why images of this size do not fit a dataset, with the remedy; `None` if they fit."""
    width, height = size
    if width != height:
        return (
            f"is {width}x{height}, but images must be square; --transform=center-crop"
            f" --resolution={suggest_size(min(size))} makes them so"
        )
    if not is_power_of_two(width):
        return (
            f"is {width}x{height}, but the side must be a power of two;"
            f" --resolution={suggest_size(width)} makes it one"
        )
    return None


def suggest_size(side: int) -> str:
    """The nearest power-of-two square, as a value of --resolution."""
    power = nearest_power_of_two(side)
    return f"{power}x{power}"


def _suggest_wide_size(width: int, height: int) -> str:
    """A similar shape whose width is a power of two."""
    power = nearest_power_of_two(width)
    return f"{power}x{max(round(height * power / width), 1)}"


def crop_centre(image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
    """The middle of an image."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _letterbox(image: PIL.Image.Image) -> PIL.Image.Image:
    square = PIL.Image.new(image.mode, (image.width, image.width))
    square.paste(image, (0, (image.width - image.height) // 2))
    return square
