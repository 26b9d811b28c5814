"""Colour maps for the values of one channel; this module needs no PyTorch."""

import functools

import numpy as np

from dnnlib.errors import InputError

GREY = "grey"
# The choices of a user; the last map is for values on both sides of zero.
NAMES = (GREY, "viridis", "inferno", "cividis", "coolwarm")
SPECTRUM = "spectrum"  # the map of spectra if `View.color_map` is grey
SPECTRUM_COLORS = ((0, 0, 0), (60, 20, 110), (190, 50, 90), (250, 150, 40), (255, 255, 220))


@functools.cache
def colors(name: str) -> np.ndarray:
    """A map as a table from the lowest value to the highest, uint8 `[256, 3]`, read-only.

    Args:
        name: One of `NAMES`, or `SPECTRUM`.

    Raises:
        ValueError: If the map does not exist.
    """
    if name == GREY:
        table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    elif name == SPECTRUM:
        places = np.linspace(0, len(SPECTRUM_COLORS) - 1, 256)
        channels = [
            np.interp(places, range(len(SPECTRUM_COLORS)), values)
            for values in zip(*SPECTRUM_COLORS, strict=True)
        ]
        table = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    elif name in NAMES:
        import matplotlib  # slow to import, so only when needed

        table = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].copy()
    else:
        raise InputError(f"there is no colour map {name!r}, but {', '.join(NAMES)}")
    table.flags.writeable = False
    return table
