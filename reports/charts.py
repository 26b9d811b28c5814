"""Which charts a report shows, and the points of their curves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reports.run_folder import RunFolder

MAX_POINTS = 1000  # of a curve; more than a chart has pixels


@dataclass(frozen=True)
class Plan:
    """A chart: its title, what it shows, and the statistics of its curves.

    `curves` maps a statistic to its name in the legend, which is empty for a chart of one curve.
    Curves after the first are dashed.
    """

    title: str
    about: str
    curves: dict[str, str]


PLANS = (
    Plan("Loss of the generator", "softplus(-D(G(z)))", {"Loss/G/loss": ""}),
    Plan("Loss of the discriminator", "on real and fake images", {"Loss/D/loss": ""}),
    Plan(
        "Scores",
        "D's output; the further apart, the better D tells real from fake",
        {"Loss/scores/real": "real", "Loss/scores/fake": "fake"},
    ),
    Plan(
        "Overfitting, r_t",
        "mean sign of D for real images; towards 1, D overfits",
        {"Loss/signs/real": ""},
    ),
    Plan("Augmentation, p", "strength of the augmentation", {"Progress/augment": ""}),
    Plan("R1 penalty", "squared gradient of D", {"Loss/r1_penalty": ""}),
    Plan("Path length penalty", "of StyleGAN2", {"Loss/pl_penalty": ""}),
    Plan("Speed", "seconds per thousand images", {"Timing/sec_per_kimg": ""}),
    Plan("Memory", "of the main process, GB", {"Resources/cpu_mem_gb": ""}),
    Plan(
        "Memory of the GPU",
        "peak in a tick, GB",
        {
            "Resources/peak_gpu_mem_gb": "used",
            "Resources/peak_gpu_mem_reserved_gb": "reserved",
        },
    ),
)


@dataclass(frozen=True)
class Charts:
    """Charts as the page takes them; `thinned` tells how much the curves of a run were thinned.

    A chart is `title`, `about` and `curves`; a curve is `run` (its index), `name`, `is_dashed`, and
    the points `x` and `y`, where `None` is a gap.
    """

    metrics: list[dict[str, Any]] = field(default_factory=list)
    main: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    thinned: dict[int, int] = field(default_factory=dict)


def make(runs: Sequence[RunFolder]) -> Charts:
    """The charts of several runs, side by side.

    Charts without a value, and those that are zero throughout, are among `others`, if anywhere.
    """
    charts = Charts()
    points = []
    for idx, run in enumerate(runs):
        size = -(-len(run.stats.kimg) // MAX_POINTS)
        if size > 1:
            charts.thinned[idx] = size
        points.append(_thin(run, size))
    names = dict.fromkeys(name for run in runs for name in run.stats.means)
    zero = {name for name in names if not any(_is_alive(run, name) for run in runs)}
    shown: set[str] = set()
    for plan in PLANS:
        curves = {name: label for name, label in plan.curves.items() if name in names}
        if set(curves) - zero:
            charts.main.append(_chart(plan.title, plan.about, curves, points))
            shown |= set(curves)
    for name in sorted(set(names) - shown):
        charts.others.append(_chart(name, "", {name: ""}, points))
    for name in sorted({name for run in runs for name in run.metrics}):
        charts.metrics.append(
            dict(
                title=name,
                about="metric of the snapshots",
                curves=[
                    _curve(idx, "", False, list(run.metrics[name]), run.metrics[name].values())
                    for idx, run in enumerate(runs)
                    if name in run.metrics
                ],
            )
        )
    return charts


def average(values: np.ndarray, size: int) -> np.ndarray:
    """Means of `size` values each, `[N] -> [ceil(N / size)]`; NaN counts as no value."""
    padded = np.full(-(-len(values) // size) * size, np.nan)
    padded[: len(values)] = values
    rows = padded.reshape(-1, size)
    nums = np.isfinite(rows).sum(1)
    return np.where(nums > 0, np.nansum(rows, axis=1) / np.maximum(nums, 1), np.nan)


def _thin(run: RunFolder, size: int) -> dict[str, np.ndarray]:
    """The statistics of a run by name, averaged over `size` ticks; x is under the empty name."""
    if size == 0:
        return {}
    means = {name: average(values, size) for name, values in run.stats.means.items()}
    return {**means, "": average(run.stats.kimg, size)}


def _is_alive(run: RunFolder, name: str) -> bool:
    return bool(np.nan_to_num(run.stats.means.get(name, np.zeros(1))).any())


def _chart(
    title: str, about: str, names: dict[str, str], points: Sequence[dict[str, np.ndarray]]
) -> dict[str, Any]:
    curves = [
        _curve(idx, label, position > 0, found[""], found[name])
        for idx, found in enumerate(points)
        for position, (name, label) in enumerate(names.items())
        if name in found
    ]
    return dict(title=title, about=about, curves=curves)


def _curve(idx: int, name: str, is_dashed: bool, x: Any, y: Any) -> dict[str, Any]:
    return dict(run=idx, name=name, is_dashed=is_dashed, x=_rounded(x, 9), y=_rounded(y, 6))


def _rounded(values: Any, num_digits: int) -> list[float | None]:
    """As many digits as a reader can use."""
    return [None if np.isnan(value) else float(f"{value:.{num_digits}g}") for value in values]
