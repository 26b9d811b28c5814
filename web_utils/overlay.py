"""What the browser draws over a picture, or beside it, or in its place."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[float, float]  # right and down, in pixels of the image
SHADE = 140  # of the part outside the mask, of 255


@dataclass(frozen=True, eq=False)
class Axes:
    """Axes and colour bar of a spectrum. The browser chooses ticks that fit the size on screen.

    Attributes:
        highest: Frequency of half a cycle per sample, which is at the edges.
        low_db: Level at the lower end of the colour bar.
        high_db: Level at the upper end.
        colors: Colours of the bar from low to high, uint8 `[N, 3]`.
        title: Unit of the frequencies.
    """

    highest: float
    low_db: float
    high_db: float
    colors: np.ndarray
    title: str = "cycles per image width"

    def __post_init__(self) -> None:
        if not (0 < self.highest < math.inf and -math.inf < self.low_db < self.high_db < math.inf):
            raise ValueError(
                f"axes have a highest frequency above 0 and levels that rise, got {self.highest}, "
                f"{self.low_db} and {self.high_db}"
            )
        if self.colors.dtype != np.uint8 or self.colors.ndim != 2 or self.colors.shape[1] != 3:
            raise ValueError(
                f"colours are uint8 [N, 3], got {self.colors.dtype} {list(self.colors.shape)}"
            )

    def to_json(self) -> dict[str, Any]:
        """The same as JSON; colours become six hexadecimal digits each."""
        return {
            "highest": self.highest,
            "lowDb": self.low_db,
            "highDb": self.high_db,
            "colors": self.colors.tobytes().hex(),
            "title": self.title,
        }


@dataclass(frozen=True, eq=False)
class Overlay:
    """What belongs to one picture.

    Attributes:
        points: Where points of the image are.
        targets: Where each of the points shall go.
        mask: The part of the image that may change, bool `[H, W]`; the rest becomes darker.
        axes: Axes around the picture, which is a spectrum.
        target: Another picture to show at the left, uint8 `[H, W, C]`.
        message: Text in place of the picture.
        is_error: Whether the message is an error.
        notice: Text at the lower edge of the picture.
    """

    points: tuple[Point, ...] = ()
    targets: tuple[Point, ...] = ()
    mask: np.ndarray | None = None
    axes: Axes | None = None
    target: np.ndarray | None = None
    message: str = ""
    is_error: bool = False
    notice: str = ""

    def __post_init__(self) -> None:
        if len(self.points) != len(self.targets):
            raise ValueError(
                f"each point has a target, got {len(self.points)} points "
                f"and {len(self.targets)} targets"
            )
        if not all(math.isfinite(value) for point in self.points + self.targets for value in point):
            raise ValueError(f"points are finite, got {self.points} and {self.targets}")

    def is_same(self, other: "Overlay") -> bool:
        """Whether another overlay looks the same; arrays that are not the same may differ."""
        are_same = self.mask is other.mask and self.target is other.target
        return are_same and self.to_json() == other.to_json()

    def to_json(self) -> dict[str, Any]:
        """All but the two arrays, which travel as files."""
        return {
            "points": self.points,
            "targets": self.targets,
            "axes": None if self.axes is None else self.axes.to_json(),
            "message": self.message,
            "isError": self.is_error,
            "notice": self.notice,
        }


NOTHING = Overlay()
