"""Turns tensors into images: conversion to 8 bits, grids, PNG files."""

import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from dnnlib.errors import InputError
from dnnlib.util import open_atomic
from torch_utils import misc

Images = TypeVar("Images", Tensor, np.ndarray)


def to_uint8(img: Tensor) -> Tensor:
    """Convert values from [-1, 1] to 8 bits: `img * 127.5 + 128`, clamped, truncated.

    NaN becomes an arbitrary level; `check_finite` refuses it.
    """
    return (img * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def check_finite(img: Tensor, names: Sequence[str]) -> None:
    """Refuse images with NaN or infinite values, which would become black in 8 bits.

    Args:
        img: `[N, C, H, W]`.
        names: Names of the images in the message, such as `"seed 3"`.

    Raises:
        InputError: Names the first such image, and what to do.
    """
    is_sound = misc.are_finite(img).tolist()  # one wait for the device
    if not all(is_sound):
        idx = is_sound.index(False)
        num_bad = int(img[idx].isfinite().logical_not().sum())
        raise InputError(
            f"{names[idx]}: {num_bad} of {img[idx].numel()} values of the image are NaN or "
            "infinite, and it is not written; the network is damaged (use an earlier snapshot), or "
            "its input out of range (a smaller --trunc)"
        )


def make_grid(images: Images, grid_size: tuple[int, int]) -> Images:
    """Lay images out row by row.

    Args:
        images: Exactly `width * height` images, `[N, C, H, W]`, of any dtype.
        grid_size: Columns and rows of the grid: `(width, height)`.

    Returns:
        One image of the same type and dtype, `[C, height * H, width * W]`.

    Raises:
        InputError: If the images do not fill the grid.
    """
    width, height = grid_size
    if images.ndim != 4 or images.shape[0] != width * height:
        raise InputError(
            f"make_grid: a grid of {width}x{height} takes [{width * height}, C, H, W] images, "
            f"got {list(images.shape)}"
        )
    _, C, H, W = images.shape
    cells = images.reshape(height, width, C, H, W)
    cells = cells.swapaxes(0, 2).swapaxes(1, 2).swapaxes(2, 3)  # [C, height, H, width, W]
    return cells.reshape(C, height * H, width * W)


def save_png(img: Tensor | np.ndarray, path: str | os.PathLike) -> None:
    """Write one 8-bit image; the file appears complete or not at all.

    Args:
        img: uint8, `[C, H, W]`; 1 channel gives a grayscale PNG, 3 RGB, 4 RGBA.
        path: The file; its folder must exist.

    Raises:
        InputError: If dtype, shape or number of channels is wrong.
    """
    if isinstance(img, Tensor):
        img = img.cpu().numpy()
    if img.dtype != np.uint8 or img.ndim != 3:
        raise InputError(f"save_png: expected uint8 [C, H, W], got {img.dtype} {list(img.shape)}")
    if img.shape[0] not in (1, 3, 4):
        raise InputError(
            f"save_png: a PNG has 1 (grayscale), 3 (RGB) or 4 (RGBA) channels, got {img.shape[0]}"
        )
    pixels = img[0] if img.shape[0] == 1 else img.transpose(1, 2, 0)
    with open_atomic(path) as f:
        PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(f, format="PNG")


def save_image_grid(
    img: Tensor | np.ndarray,
    fname: str | os.PathLike,
    drange: tuple[float, float],
    grid_size: tuple[int, int],
) -> None:
    """Write a grid of images as one PNG.

    Unlike `to_uint8` this takes any range and rounds to the nearest level, halves to even.

    Args:
        img: Exactly as many images as the grid has cells, `[N, C, H, W]`, of any dtype.
        fname: The PNG file.
        drange: The values that become 0 and 255; values outside are clipped.
        grid_size: Columns and rows, `(width, height)`.

    Raises:
        InputError: If values are NaN or infinite, or the images do not fill the grid.
    """
    if isinstance(img, Tensor):
        img = img.cpu().numpy()
    if not np.isfinite(img).all():
        raise InputError(f"save_image_grid: {fname} would hold NaN or infinite values")
    low, high = drange
    levels = (np.asarray(img, dtype=np.float32) - low) * (255 / (high - low))
    save_png(make_grid(np.rint(levels).clip(0, 255).astype(np.uint8), grid_size), fname)
