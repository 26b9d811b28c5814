"""Tracks: numbers that change over a video, such as a zoom from 1 to 2.

Time goes from 0 to 1 over the whole video: frame `i` of `N` is at `i / N`. Time 1 is the moment
after the last frame, where a video that plays in a loop starts over.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import InputError
from torch_utils import latents

MIN_ZOOM = 0.001  # where the transform has no inverse any more, see `latents.have_inverse`

Curve = Callable[[np.ndarray], np.ndarray]
"""From times `[N]` to values `[N]` or `[N, D]`; a `Track`, or what is made from tracks."""


@dataclass(frozen=True)
class Track:
    """A curve with straight lines between its keys, and level before the first and after the last.

    Attributes:
        times: Times of the keys, increasing, from 0 to 1.
        values: Value of each key: numbers, or tuples of as many numbers each.

    Raises:
        InputError: If times do not increase from 0 to 1 at most, or are not as many as the values.
    """

    times: tuple[float, ...]
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.times) == 0 or len(self.times) != len(self.values):
            raise InputError(f"a track of {len(self.times)} times and {len(self.values)} values")
        for time in self.times:
            if not 0 <= time <= 1:
                raise InputError(f"time {time:g} is not from 0 (the start) to 1 (the end)")
        for earlier, later in zip(self.times, self.times[1:], strict=False):
            if earlier >= later:
                raise InputError(f"time {later:g} comes after {earlier:g}; times must increase")

    @property
    def constant(self) -> Any | None:
        """The value of a track that never changes; None for others."""
        return self.values[0] if len(set(self.values)) == 1 else None

    def weights(self, t: np.ndarray) -> np.ndarray:
        """Share of each of the K keys in the value at times `[N]`: `[N, K]`, of sum 1."""
        shares = np.eye(len(self.times))
        return np.stack([np.interp(t, self.times, share) for share in shares], axis=-1)

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Values at times `[N]`: `[N]`, or `[N, D]` for values that are tuples."""
        return self.weights(t) @ np.asarray(self.values, np.float64)


def constant(value: Any) -> Track:
    """A track that always has the same value."""
    return Track((0.0,), (value,))


def parse(text: str, convert: Callable[[str], Any] = float) -> Track:
    """Read a track: `VALUE`, `FROM..TO`, or keys `TIME:VALUE,TIME:VALUE` with times from 0 to 1.

    Args:
        text: The track, such as `0:0,0.5:1,1:0`. Values may have commas: `0:0.1,0,1:0,0`.
        convert: Reads one value.

    Raises:
        InputError: If a key has no value, a time is no number or out of order, or `..` and keys are
            mixed.
        Exception: What `convert` raises.
    """
    if ".." in text:
        if ":" in text:
            raise InputError(
                f"{text!r} mixes FROM..TO with keys; write keys as TIME:VALUE,TIME:VALUE alone"
            )
        first, _, last = text.partition("..")
        return Track((0.0, 1.0), (convert(first), convert(last)))
    if ":" not in text:
        return constant(convert(text))
    times, values = [], []
    for piece in re.split(r",(?=[^,:]*:)", text):
        time, _, value = piece.partition(":")
        times.append(_time(time, text))
        values.append(convert(value))
    return Track(tuple(times), tuple(values))


def content_matrices(
    translate: Curve | None = None, rotate: Curve | None = None, zoom: Curve | None = None
) -> Curve | None:
    """Transforms of the image's content: from times `[N]` to `[N, 3, 3]`; None if nothing moves.

    The content is scaled about the centre by `zoom`, turned by `rotate` degrees, then shifted by
    `translate`, in fractions of the image; see `torch_utils.latents.make_transform`. The function
    raises `InputError` at a zoom that is not above `MIN_ZOOM`.
    """

    if _stays(translate, (0, 0)) and _stays(rotate, 0) and _stays(zoom, 1):
        return None

    def matrices(t: np.ndarray) -> np.ndarray:
        shifts = np.zeros([len(t), 2]) if translate is None else translate(t)
        angles = np.zeros(len(t)) if rotate is None else rotate(t)
        scales = np.ones(len(t)) if zoom is None else zoom(t)
        if not (scales > MIN_ZOOM).all():
            raise InputError(
                f"--zoom: a zoom must stay above {MIN_ZOOM:g}, but it reaches {scales.min():g}"
            )
        found = np.stack(
            [
                latents.make_transform((x, y), angle)
                for (x, y), angle in zip(shifts, angles, strict=True)
            ]
        )
        found[:, :2, :2] *= scales[:, None, None]
        return found

    return matrices


def _time(text: str, track: str) -> float:
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise InputError(
            f"{text!r} in {track!r} is not a time; write keys as TIME:VALUE,TIME:VALUE with times "
            "from 0 to 1"
        )
    return time


def _stays(curve: Curve | None, value: Any) -> bool:
    """Whether a curve has this value at all times, or is missing."""
    return curve is None or (isinstance(curve, Track) and curve.constant == value)
