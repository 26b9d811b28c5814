"""Options to start from, by configuration, size of the images and GPUs.

`dataset_tool.py --inspect`, docs/configs.md and the examples take their advice from here. This
module imports no torch.
"""

from collections.abc import Iterator

from dnnlib.util import nearest_power_of_two
from training.config import CFGS, Cfg, TrainConfig, suggest_gamma
from training.options import flag_of

# Samples per GPU and pass: cautious guesses for GPUs of 16 GB and more, not measured.
# Smaller images count as 128x128, larger ones as 1024x1024.
SAMPLES_PER_PASS: dict[Cfg, dict[int, int]] = {
    "stylegan3-t": {128: 16, 256: 8, 512: 4, 1024: 4},
    "stylegan3-r": {128: 8, 256: 4, 512: 4, 1024: 4},
    "stylegan2": {128: 32, 256: 16, 512: 8, 1024: 4},
}
BATCH = 32  # as in the published configurations
MAX_STYLEGAN2_BATCH = 64
MBSTD_GROUP = 4  # the default of --mbstd-group
GAMMA_RULE = "0.001 * resolution^2 / batch for StyleGAN3, a fifth of it for StyleGAN2"
TICKS_PER_SNAPSHOT = {512: 20, 1024: 10}  # where one GPU would take days with the default

# Options with which two CPU cores train in minutes.
CPU_RESOLUTION = 32
CPU_BATCH = 4
CPU_MIN_GAMMA = 1.0  # four times the heuristic at 32x32, and steadier in so short a run
CPU_OPTIONS: dict[str, str | int] = {
    "cbase": 512,
    "cmax": 32,
    "aug": "noaug",
    "kimg": 6,
    "tick": 1,
    "snap": 2,
    "metrics": "none",
}


def starting_point(cfg: Cfg, resolution: int, gpus: int) -> dict[str, str]:
    """Options of `train.py` and their values, in the order in which they are shown.

    Args:
        cfg: The configuration.
        resolution: Width and height of the images.
        gpus: Available GPUs; 0 for a small network on the CPU. Their number is rounded down to one
            that divides the batch.
    """
    options = _on_cpu(cfg, resolution) if gpus == 0 else _on_gpus(cfg, resolution, gpus)
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def rounded_gamma(cfg: Cfg, resolution: int, batch: int) -> float:
    """`suggest_gamma` in two digits: the heuristic is no more precise."""
    return float(f"{suggest_gamma(cfg, resolution, batch):.2g}")


def on_automatic_gamma(gamma: float) -> str:
    """A line on the value that `--gamma=auto` has chosen."""
    return (
        f"--gamma=auto: {gamma:g} ({GAMMA_RULE}). This is a starting point, and no option matters "
        "more: also try a third and three times as much."
    )


def as_arguments(options: dict[str, str]) -> str:
    """The options as they are written on a command line; names may be those of fields."""
    return " ".join(f"{flag_of(name)}={value}" for name, value in options.items())


def describe_training(
    data: str, resolution: int, is_labelled: bool, num_gpus: int
) -> Iterator[str]:
    """Commands that train on a dataset, line by line.

    Args:
        data: Path of the dataset.
        resolution: Width and height of its images.
        is_labelled: Whether the images have labels.
        num_gpus: GPUs of this machine. Without one, there is a command for the CPU as well.
    """

    def command(cfg: Cfg, gpus: int) -> str:
        options = starting_point(cfg, resolution, gpus)
        labels = {"cond": "1"} if is_labelled else {}
        arguments = as_arguments(
            {"outdir": "training-runs", "cfg": cfg, "data": data, **options, **labels}
        )
        return f"  python train.py {arguments}"

    size = f"{resolution}x{resolution}"
    if num_gpus == 0:
        yield f"This machine has no GPU. To try training at {size} on it, with a small network:"
        yield command("stylegan3-t", 0)
        factor = (resolution / 32) ** 2
        longer = "" if factor <= 1 else f"; here, {factor:g} times as long"
        yield f"  At 32x32 this takes about ten minutes on two cores{longer}."
    gpus = max(num_gpus, 1)
    where = "with one GPU" if gpus == 1 else f"with the {gpus} GPUs of this machine"
    yield f"To train on it at {size} {where}, one of:"
    for cfg in CFGS:
        yield command(cfg, gpus)
    yield (
        f"--gamma is a starting point: {GAMMA_RULE}. Try a third and three times as much. "
        "docs/configs.md says what else to change."
    )


def on_memory(config: TrainConfig, started_with: int | None = None) -> str:
    """A message for a batch that does not fit into memory.

    Args:
        config: The run.
        started_with: Samples per process and pass before the run lowered their number.
    """
    smaller = config.smaller_batch_gpu
    way_out = (
        "no smaller --batch-gpu is possible; use a smaller --batch, --cbase or --mbstd-group"
        if smaller is None
        else f"use --batch-gpu={smaller} (the batch then goes through in more passes)"
    )
    is_lowered = started_with is not None and started_with > config.batch_gpu
    lowered = f" (lowered from {started_with})" if is_lowered else ""
    return f"out of memory with --batch-gpu={config.batch_gpu}{lowered}: {way_out}"


def _on_gpus(cfg: Cfg, resolution: int, gpus: int) -> dict[str, str | int]:
    is_stylegan2 = cfg == "stylegan2"
    size = min(max(nearest_power_of_two(resolution), 128), 1024)
    samples = SAMPLES_PER_PASS[cfg][size]
    gpus = 1 << (min(gpus, BATCH // 2).bit_length() - 1)  # the samples of a pass form groups of two
    batch = BATCH
    if is_stylegan2 and size < 1024:
        batch = min(samples * gpus, MAX_STYLEGAN2_BATCH)
    per_gpu = batch // gpus
    options: dict[str, str | int] = dict(cfg=cfg, gpus=gpus, batch=batch)
    if samples < per_gpu:
        options["batch_gpu"] = samples
    if per_gpu < MBSTD_GROUP:
        options["mbstd_group"] = per_gpu
    options["gamma"] = f"{rounded_gamma(cfg, resolution, batch):g}"
    if resolution <= 256:
        options["cbase"] = 16384
    if is_stylegan2:
        options["map_depth"] = 2
        if size < 1024:
            options.update(glr="0.0025", dlr="0.0025")
    elif gpus == 1 and size in TICKS_PER_SNAPSHOT:
        options["snap"] = TICKS_PER_SNAPSHOT[size]
    return options


def _on_cpu(cfg: Cfg, resolution: int) -> dict[str, str | int]:
    gamma = max(rounded_gamma(cfg, resolution, CPU_BATCH), CPU_MIN_GAMMA)
    options: dict[str, str | int] = dict(cfg=cfg, gpus=1, batch=CPU_BATCH, gamma=f"{gamma:g}")
    return options | CPU_OPTIONS | ({"map_depth": 2} if cfg == "stylegan2" else {})
