"""The configuration of a training run: everything that follows from the options.

`make_config` is the one place where presets and options become hyperparameters.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, get_args

from dnnlib.cli import MAX_SEED
from dnnlib.errors import InputError
from dnnlib.paths import MAX_NAME_BYTES, shorten_name
from training import minibatch_groups
from training.options import AUTO, AugPipe, Cache, Cfg, TrainOptions, flag_of
from training.options import Aug as Aug

# The name of a run's folder is the number of the run, and a description.
MAX_DESCRIPTION_BYTES = MAX_NAME_BYTES - len("0000000000-")
MIN_DATASET_BYTES = 16  # of the dataset's name in the description

CFGS: tuple[Cfg, ...] = get_args(Cfg)

# Augmentations by --augpipe: the groups of Karras et al. 2020, "Training GANs with limited data",
# App. B, under the names of StyleGAN2-ADA; `bgc` and the like are unions of the first groups.
_GROUPS: dict[AugPipe, tuple[str, ...]] = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
_UNIONS: dict[AugPipe, int] = {"bg": 2, "bgc": 3, "bgcf": 4, "bgcfn": 5, "bgcfnc": 6}
AUGMENTATIONS: dict[AugPipe, tuple[str, ...]] = _GROUPS | {
    name: tuple(itertools.chain(*list(_GROUPS.values())[:num])) for name, num in _UNIONS.items()
}
COLOUR_CHANGES = frozenset(AUGMENTATIONS["color"])

# Options of augmentation, and the values of --aug with which they have an effect.
AUG_OPTIONS: dict[str, tuple[Aug, ...]] = {
    "augpipe": ("ada", "fixed"),
    "p": ("fixed",),
    "target": ("ada",),
    "aug_max": ("ada",),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that `training_loop` needs to know; stored as `training_options.json`.

    `*_kwargs` are keyword arguments, with `class_name` where they construct something by name.
    `*_kimg` count thousands of images, `*_ticks` count ticks. Paths are absolute, except in
    `given`, the options as given. `dataset_fingerprint` identifies the data at the path when the
    run began, see `data.fingerprint`.
    """

    G_kwargs: dict[str, Any]
    D_kwargs: dict[str, Any]
    G_opt_kwargs: dict[str, Any]
    D_opt_kwargs: dict[str, Any]
    loss_kwargs: dict[str, Any]
    data_loader_kwargs: dict[str, Any]
    training_set_kwargs: dict[str, Any]
    num_gpus: int
    batch_size: int
    batch_gpu: int
    metrics: list[str]
    keep_best: str | None
    patience: int
    total_kimg: int
    max_minutes: float
    kimg_per_tick: int
    image_snapshot_ticks: int
    network_snapshot_ticks: int
    keep_snapshots: int
    random_seed: int
    ema_kimg: float
    G_reg_interval: int | None
    D_reg_interval: int | None = 16
    augment_kwargs: dict[str, Any] | None = None
    augment_p: float = 0
    ada_target: float | None = None
    ada_interval: int = 4
    ada_kimg: float = 500
    ada_max: float | None = None
    resume_pkl: str | None = None
    allow_untrusted: bool
    ema_rampup: float | None = 0.05
    cudnn_benchmark: bool
    deterministic: bool
    tf32: bool
    state_minutes: float
    watchdog_minutes: float
    keep_states: int
    max_nan_steps: int
    skip_damaged_images: bool
    cache: Cache
    wandb: str | None = None
    run_dir: str = ""
    given: dict[str, str | None] = field(default_factory=dict)
    dataset_fingerprint: dict[str, Any] | None = None
    options: TrainOptions

    @property
    def mbstd_group(self) -> int:
        """Group size of the minibatch standard deviation."""
        return self.D_kwargs["epilogue_kwargs"]["mbstd_group_size"]

    @property
    def smaller_batch_gpu(self) -> int | None:
        """The next smaller number of samples per process and pass, `None` if there is none."""
        per_process = self.batch_size // self.num_gpus
        return minibatch_groups.smaller_batch_gpu(per_process, self.batch_gpu, self.mbstd_group)

    def with_batch_gpu(self, batch_gpu: int) -> TrainConfig:
        """The same run with other passes, also if it is continued."""
        options = dataclasses.replace(self.options, batch_gpu=batch_gpu)
        return dataclasses.replace(self, batch_gpu=batch_gpu, options=options)

    @property
    def is_augmented(self) -> bool:
        """Whether the run has an augmentation pipe; a fixed probability of 0 needs none."""
        has_strength = self.augment_p > 0 or self.ada_target is not None
        return self.augment_kwargs is not None and has_strength

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, as JSON takes them, without `options`."""
        fields = dataclasses.asdict(self)
        del fields["options"]
        return fields


def make_config(
    options: TrainOptions,
    training_set_kwargs: dict[str, Any],
    started_with: TrainOptions | None = None,
) -> TrainConfig:
    """Turn options into hyperparameters.

    Args:
        options: The command line.
        training_set_kwargs: How to construct the dataset; `use_labels` decides whether the networks
            are conditional.
        started_with: The original options of a continued run. Their group size for the minibatch
            standard deviation is always accepted.

    Raises:
        ValueError: If options contradict each other; the message names them.
    """
    batch_gpu = _check_batch(options, started_with)
    if (options.seed + 1) * options.gpus - 1 > MAX_SEED:
        raise InputError(
            f"--seed={options.seed} is too large: with --gpus={options.gpus} the largest is "
            f"{(MAX_SEED + 1) // options.gpus - 1}"
        )
    is_stylegan2 = options.cfg == "stylegan2"
    glr = options.glr if options.glr is not None else (0.002 if is_stylegan2 else 0.0025)
    return TrainConfig(
        G_kwargs=_generator_kwargs(options),
        D_kwargs=_discriminator_kwargs(options),
        G_opt_kwargs=_adam(glr),
        D_opt_kwargs=_adam(options.dlr),
        loss_kwargs=_loss_kwargs(options),
        data_loader_kwargs=dict(pin_memory=True, prefetch_factor=2, num_workers=options.workers),
        training_set_kwargs=training_set_kwargs,
        num_gpus=options.gpus,
        batch_size=options.batch,
        batch_gpu=batch_gpu,
        metrics=list(options.metrics),
        keep_best=_best_value(options),
        patience=options.patience,
        total_kimg=options.kimg,
        max_minutes=options.max_minutes,
        kimg_per_tick=options.tick,
        image_snapshot_ticks=options.snap,
        network_snapshot_ticks=options.snap,
        keep_snapshots=options.keep_snapshots,
        random_seed=options.seed,
        ema_kimg=options.batch * 10 / 32 if options.ema_kimg is None else options.ema_kimg,
        G_reg_interval=4 if is_stylegan2 else None,  # path length; StyleGAN3 has none
        allow_untrusted=options.allow_untrusted,
        cudnn_benchmark=not options.nobench and not options.deterministic,
        deterministic=options.deterministic,
        tf32=options.tf32,
        cache=options.cache,
        state_minutes=options.state_minutes,
        watchdog_minutes=options.watchdog_minutes,
        keep_states=options.keep_states,
        max_nan_steps=options.max_nan_steps,
        skip_damaged_images=options.skip_damaged,
        wandb=options.wandb,
        options=options,
        **_augmentation_fields(options),
        **_resume_fields(options),
    )


def suggest_gamma(cfg: Cfg, resolution: int, batch: int) -> float:
    """A starting value for the weight of R1.

    For StyleGAN2 this is the heuristic of Karras et al. 2020, "Training GANs with limited data".
    For StyleGAN3 it is five times as much: 2 at 256x256, 8 at 512x512, 33 at 1024x1024 in batches
    of 32.
    """
    return (0.0002 if cfg == "stylegan2" else 0.001) * resolution**2 / batch


def options_without_effect(aug: Aug, given: Collection[str]) -> list[str]:
    """The flags of given options that `aug` leaves unused; `given` has names of fields."""
    return [
        flag_of(name) for name, augs in AUG_OPTIONS.items() if name in given and aug not in augs
    ]


def run_description(options: TrainOptions, dataset_name: str, desc: str | None = None) -> str:
    """The name of the run's folder, after the number.

    The name of the dataset is cut off if the name of the folder becomes too long, with a warning.

    Raises:
        ValueError: If `desc` cannot be part of a file name.
    """
    if desc is not None and (re.search(r"[/\\]", desc) or not desc.isprintable()):
        raise InputError(
            f"--desc={desc!r} becomes part of a folder's name: leave out slashes, line ends and the"
            " like"
        )
    rest = f"-gpus{options.gpus}-batch{options.batch}-gamma{options.gamma:g}"
    rest += "" if desc is None else f"-{desc}"
    num_bytes = MAX_DESCRIPTION_BYTES - len(os.fsencode(f"{options.cfg}-{rest}"))
    shortened = shorten_name(dataset_name, num_bytes)
    if shortened != dataset_name:
        if num_bytes < MIN_DATASET_BYTES:
            raise InputError(f"--desc={desc} is too long for a part of a folder's name; shorten it")
        warnings.warn(
            "the dataset's name is too long for a part of the name of the run's folder, which "
            f"has its first {len(shortened)} characters only",
            stacklevel=2,
        )
    return f"{options.cfg}-{shortened}{rest}"


def _check_batch(options: TrainOptions, started_with: TrainOptions | None) -> int:
    """Samples per process and pass."""
    if options.batch % options.gpus != 0:
        raise InputError(f"--batch={options.batch} must be a multiple of --gpus={options.gpus}")
    batch_gpu = _batch_gpu(options)
    if options.batch % (options.gpus * batch_gpu) != 0:
        raise InputError(
            f"--batch={options.batch} must be a multiple of --gpus={options.gpus} times "
            f"--batch-gpu={batch_gpu}"
        )
    if batch_gpu < options.mbstd_group:
        raise InputError(
            f"{batch_gpu} samples per process and pass (--batch / --gpus, or --batch-gpu) are "
            f"fewer than --mbstd-group={options.mbstd_group}; lower --mbstd-group or raise the "
            "batch"
        )
    if started_with is None or batch_gpu != _batch_gpu(started_with):
        reason = minibatch_groups.refusal(
            options.batch, options.gpus, batch_gpu, options.mbstd_group, started_with is not None
        )
        if reason is not None:
            raise InputError(reason)
    return batch_gpu


def _batch_gpu(options: TrainOptions) -> int:
    """Samples per process and pass; with `auto` the most, until the run has tried what fits."""
    per_process = options.batch // options.gpus
    if options.batch_gpu == AUTO:
        return next(
            iter(minibatch_groups.pass_sizes(per_process, options.mbstd_group)), per_process
        )
    return options.batch_gpu or per_process


def _best_value(options: TrainOptions) -> str | None:
    """The value that `--keep-best` and `--patience` follow; `None` without one."""
    from training import best_snapshot  # imports torch, which dataset_tool.py does not need

    value_name = best_snapshot.choose(options.keep_best, options.metrics)
    if options.patience == 1:
        raise InputError(
            "--patience=1: a single value can be worse by chance; use 2 or more, or 0 to never end "
            "the run"
        )
    if options.patience and value_name is None:
        raise InputError(
            f"--patience={options.patience} needs a value to watch: --keep-best=NAME names one, "
            "and --metrics=NAME its metric"
        )
    return value_name


def _generator_kwargs(options: TrainOptions) -> dict[str, Any]:
    is_stylegan2 = options.cfg == "stylegan2"
    kwargs = dict(
        class_name=f"training.networks_{'stylegan2' if is_stylegan2 else 'stylegan3'}.Generator",
        z_dim=512,
        w_dim=512,
        mapping_kwargs=dict(num_layers=options.map_depth or (8 if is_stylegan2 else 2)),
        channel_base=options.cbase,
        channel_max=options.cmax,
    )
    if is_stylegan2:
        kwargs["fused_modconv_default"] = "inference_only"
    else:
        kwargs["magnitude_ema_beta"] = 0.5 ** (options.batch / 20e3)
    if options.cfg == "stylegan3-r":
        kwargs.update(
            conv_kernel=1,
            channel_base=options.cbase * 2,
            channel_max=options.cmax * 2,
            use_radial_filters=True,
        )
    return kwargs | _precision_kwargs(options)


def _discriminator_kwargs(options: TrainOptions) -> dict[str, Any]:
    return dict(
        class_name="training.networks_stylegan2.Discriminator",
        block_kwargs=dict(freeze_layers=options.freezed),
        mapping_kwargs=dict(num_layers=options.d_map_depth) if options.d_map_depth else {},
        epilogue_kwargs=dict(mbstd_group_size=options.mbstd_group),
        channel_base=options.d_cbase or options.cbase,
        channel_max=options.d_cmax or options.cmax,
        **_precision_kwargs(options),
    )


def _precision_kwargs(options: TrainOptions) -> dict[str, Any]:
    precision = options.completed().precision
    if precision == "bf16":
        # Bfloat16 needs no clamp, but keeps that of float16: the network is the same function,
        # whichever of the two it is trained and used in.
        return dict(half_dtype="bf16")
    return dict(num_fp16_res=0, conv_clamp=None) if precision == "fp32" else {}


def _adam(lr: float) -> dict[str, Any]:
    return dict(class_name="torch.optim.Adam", betas=[0, 0.99], eps=1e-8, lr=lr)


def _loss_kwargs(options: TrainOptions) -> dict[str, Any]:
    kwargs = dict(class_name="training.loss.StyleGAN2Loss", r1_gamma=options.gamma)
    if options.cfg == "stylegan2":
        kwargs.update(style_mixing_prob=0.9, pl_weight=2, pl_no_weight_grad=True)
    if options.cfg == "stylegan3-r":
        kwargs.update(blur_init_sigma=10, blur_fade_kimg=options.batch * 200 / 32)
    if options.resume is not None:
        kwargs["blur_init_sigma"] = 0
    return kwargs


def _augmentation_fields(options: TrainOptions) -> dict[str, Any]:
    if options.aug == "noaug":
        return {}
    multipliers = dict.fromkeys(AUGMENTATIONS[options.augpipe], 1)
    strength = (
        dict(ada_target=options.target, ada_max=options.aug_max)
        if options.aug == "ada"
        else dict(augment_p=options.p)
    )
    kwargs = dict(class_name="training.augment.AugmentPipe", **multipliers)
    return dict(augment_kwargs=kwargs, **strength)


def _resume_fields(options: TrainOptions) -> dict[str, Any]:
    """Transfer learning adapts augmentation faster, and averages weights from the start."""
    if options.resume is None:
        return {}
    return dict(
        resume_pkl=options.resume,
        ada_kimg=100,
        ema_rampup=None,
    )
