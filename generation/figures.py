"""Figures of power spectra, with Matplotlib: heat maps and slices."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnnlib.errors import InputError, MachineError
from dnnlib.util import open_atomic
from generation.spectra import construct_slices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS_DB = np.arange(-40, 21, 5)  # contours of heat maps
SLICE_LIMITS_DB = (-50, 30)
MAX_CELLS = 1024  # per side; a plotted heat map has no more pixels


def make_figure(draw: Callable[["Figure"], None], save: Path | None, dpi: float) -> None:
    """Draw into a window until it is closed or, with `save`, into a file.

    Raises:
        RuntimeError: If Matplotlib is missing, or if there is no display and no `save`.
        ValueError: If the file has an unknown extension.
    """
    try:
        from matplotlib import figure
    except ImportError as error:
        raise MachineError("plots take a package: pip install matplotlib") from error
    if save is None:
        from matplotlib import pyplot

        if pyplot.get_backend().lower() == "agg":
            raise MachineError("there is no display for a window: give a file with --save")
        draw(pyplot.figure(dpi=dpi, layout="constrained"))
        pyplot.show()
        return
    fig = figure.Figure(dpi=dpi, layout="constrained")
    extension, formats = save.suffix[1:].lower(), fig.canvas.get_supported_filetypes()
    if extension not in formats:
        raise InputError(f"--save {save} does not end in one of .{', .'.join(sorted(formats))}")
    draw(fig)
    save.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(save) as file:
        fig.savefig(file, format=extension, dpi=dpi)


def draw_heatmap(fig: "Figure", hmap: np.ndarray, name: str, image_size: int) -> None:
    """Filled contours of decibels over both frequencies, with a colour bar."""
    fig.set_size_inches(7, 5.6)
    axes = fig.add_subplot()
    num_cells = len(hmap) - 1
    # The step must divide the width, so that the plot ends exactly at Nyquist.
    steps = [s for s in range(1, num_cells + 1) if num_cells % s == 0]
    step = next((s for s in steps if num_cells // s <= MAX_CELLS), 1)
    frequency = np.linspace(-0.5, 0.5, num_cells + 1)[::step]
    hmap = hmap[::step, ::step]
    filled = axes.contourf(frequency, frequency, hmap, LEVELS_DB, cmap="viridis", extend="both")
    lines = axes.contour(frequency, frequency, hmap, LEVELS_DB, colors="black", linewidths=0.5)
    axes.clabel(lines, fontsize=8, fmt="%d")
    colorbar = fig.colorbar(filled, ax=axes, ticks=LEVELS_DB[::2])
    colorbar.set_label("Power [dB]")
    ticks = np.linspace(-0.5, 0.5, 5)
    axes.set(
        title=f"Average power spectrum of {name} ({image_size}x{image_size} images)",
        xlabel="Horizontal frequency [cycles/pixel]",
        ylabel="Vertical frequency [cycles/pixel]",
        aspect="equal",
        xticks=ticks,
        yticks=ticks,
    )


def draw_slices(fig: "Figure", heatmaps: dict[str, np.ndarray]) -> None:
    """Decibels over radial frequency: a colour for each spectrum, dashed for its diagonal."""
    fig.set_size_inches(7, 5)
    axes = fig.add_subplot()
    for i, (name, hmap) in enumerate(heatmaps.items()):
        straight, diagonal = construct_slices(hmap)
        frequency = np.arange(len(straight)) / (len(hmap) - 1)
        axes.plot(frequency, straight, color=f"C{i}", label=f"{name}, 0°")
        axes.plot(
            frequency * np.sqrt(2), diagonal, color=f"C{i}", linestyle="--", label=f"{name}, 45°"
        )
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "Nyquist (0°)",
        (0.5, 0.98),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="top",
    )
    axes.set(
        title="Slices of average power spectra",
        xlabel="Frequency [cycles/pixel]",
        ylabel="Power [dB]",
        xlim=(0, np.sqrt(0.5)),
        ylim=SLICE_LIMITS_DB,
    )
    axes.grid(alpha=0.3)
    axes.legend()
