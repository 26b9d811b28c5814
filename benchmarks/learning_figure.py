"""The curve of a training on the drawn shapes, with Matplotlib."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = {
    "sure": "recognised for sure",
    "right": "of the wanted class",
    "precision": "precision",
    "recall": "recall",
}


def draw_curves(fig: "Figure", records: Sequence[Mapping[str, Any]], floor: float) -> None:
    """Distance and shares over the length of the training.

    Args:
        fig: An empty figure.
        records: Records of the snapshots, in order; see `learning.py`.
        floor: Distance of drawings to other drawings.
    """
    fig.set_size_inches(10, 4)
    kimg = [record["kimg"] for record in records]
    left, right = fig.subplots(1, 2)
    left.plot(kimg, [record["distance"] for record in records], marker=".", label="network")
    left.axhline(floor, color="black", linestyle=":", label="other drawings")
    left.set(
        title="Distance to held-out drawings",
        xlabel="Training [thousands of images]",
        ylabel="Fréchet distance of features",
        yscale="log",
    )
    for name, label in SHARES.items():
        if records[0][name] is not None:
            right.plot(kimg, [100 * record[name] for record in records], marker=".", label=label)
    right.set(
        title="Shares",
        xlabel="Training [thousands of images]",
        ylabel="Share [%]",
        ylim=(0, 102),
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
