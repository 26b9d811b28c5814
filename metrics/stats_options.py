"""The options of calc_metrics.py about files of statistics: `--save-stats`, and such a `--data`."""

from collections.abc import Sequence
from pathlib import Path

from dnnlib.errors import InputError
from metrics import stats_file, stats_saving
from metrics.class_subsets import ClassRequest


def check(
    metrics: Sequence[str],
    data: str | None,
    save_stats: Path | None,
    mirror: bool | None,
    classes: ClassRequest,
    has_rows: bool,
) -> None:
    """Refuse options that do not go together with a file of statistics.

    Args:
        metrics, data, save_stats, mirror: As on the command line.
        classes: `--subset` or `--per-class`.
        has_rows: Whether there is something to evaluate, besides the file.

    Raises:
        ValueError: The message names the options.
    """
    is_stats = stats_file.is_stats_file(data)
    if save_stats is None and not is_stats:
        return
    what = f"--data={data}" if is_stats else "--save-stats"
    if mirror:
        raise InputError(
            f"--mirror=1: {what} is about statistics of the images without mirrored copies; leave "
            "it out"
        )
    if classes:
        raise InputError(
            f"{classes.option}: {what} is about statistics of all classes together; leave it out"
        )
    if save_stats is None:
        return
    if is_stats or data is None:
        raise InputError("--save-stats needs --data: the real images, a folder or a ZIP")
    if save_stats.suffix != stats_file.SUFFIX or not save_stats.parent.is_dir():
        raise InputError(
            f"--save-stats: {save_stats} must end in {stats_file.SUFFIX}, and its folder must exist"
        )
    stats_saving.check_saving(save_stats, metrics, is_all=not has_rows)
