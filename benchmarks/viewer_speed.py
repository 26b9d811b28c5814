"""What the front ends of the viewer are measured by: pictures per second, and latency."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

HEADER = (
    "",
    "pictures/s",
    "rendering",
    "input to picture",
    "95 %",
    "beside rendering",
    "95 %",
)


@dataclass(frozen=True)
class Latency:
    """Time from input to the changed picture.

    Attributes:
        total_sec: From each input to its picture.
        render_sec: What rendering took of it.
    """

    total_sec: Sequence[float]
    render_sec: Sequence[float]

    @property
    def beside_sec(self) -> list[float]:
        """What all the rest took."""
        return [t - r for t, r in zip(self.total_sec, self.render_sec, strict=True)]


@dataclass(frozen=True)
class FrontEnd:
    """Measurement of a window or a browser.

    Attributes:
        pictures_per_sec: New pictures while the latent moves all the time.
        moves: The mouse drags the picture.
        slides: The mouse presses on the slider of the truncation.
    """

    pictures_per_sec: float
    moves: Latency
    slides: Latency


def rendering_row(name: str, render_sec: Sequence[float]) -> list[str]:
    """A row of the table for rendering without a front end."""
    sec = median(render_sec)
    return [name, f"{1 / sec:.3g}", _ms(sec), *["-"] * 4]


def front_end_rows(name: str, found: FrontEnd) -> list[list[str]]:
    """Rows of the table for a front end."""
    rate = f"{found.pictures_per_sec:.3g}"
    return [
        [f"{name}, drag of the picture", rate, *_cells(found.moves)],
        [f"{name}, slider", "", *_cells(found.slides)],
    ]


def missing_row(name: str, reason: str) -> list[str]:
    """A row of the table for a front end that cannot be measured."""
    return [f"{name}: {reason}", *["-"] * 6]


def _cells(latency: Latency) -> list[str]:
    total, beside = latency.total_sec, latency.beside_sec
    high = [float(np.percentile(values, 95)) for values in (total, beside)]
    values = (median(latency.render_sec), median(total), high[0], median(beside), high[1])
    return [_ms(value) for value in values]


def _ms(sec: float) -> str:
    return f"{sec * 1e3:.1f} ms"
