"""Train a GAN: StyleGAN3-T, StyleGAN3-R or StyleGAN2, with adaptive augmentation."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from dnnlib import cli
from torch_utils import distributed
from training import config as training_config
from training import preflight
from training.config import TrainConfig, TrainOptions
from training.dataset import ImageFolderDataset
from training.training_loop import training_loop


@click.command(cls=cli.Command)
@click.option("--outdir", metavar="DIR", required=True, help="Where the run gets its folder.")
@click.option(
    "--cfg",
    type=click.Choice(training_config.CFGS),
    required=True,
    help="Translation (t), translation and rotation (r), or StyleGAN2.",
)
@click.option("--data", metavar="ZIP|DIR", required=True, help="Training images.")
@click.option(
    "--gpus", type=click.IntRange(min=1), required=True, help="Processes, one on each GPU."
)
@click.option("--batch", type=click.IntRange(min=1), required=True, help="Total batch size.")
@click.option("--gamma", type=cli.FiniteFloat(min=0), required=True, help="R1 weight.")
@click.option("--cond", type=bool, default=False, show_default=True, help="Train with labels.")
@click.option("--mirror", type=bool, default=False, show_default=True, help="Add x-flipped images.")
@click.option(
    "--aug",
    type=click.Choice(["noaug", "ada", "fixed"]),
    default="ada",
    show_default=True,
    help="Augmentation.",
)
@click.option("--resume", metavar="PATH|URL", help="Start from trained networks.")
@cli.allow_untrusted_option
@click.option(
    "--freezed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Freeze the first layers of D.",
)
@click.option(
    "--p",
    type=cli.FiniteFloat(min=0, max=1),
    default=0.2,
    show_default=True,
    help="Probability for --aug=fixed.",
)
@click.option(
    "--target",
    type=cli.FiniteFloat(min=0, max=1),
    default=0.6,
    show_default=True,
    help="Target for --aug=ada.",
)
@click.option(
    "--batch-gpu",
    type=click.IntRange(min=1),
    help="Samples per process and pass; the rest accumulates.  [default: batch / gpus]",
)
@click.option(
    "--cbase",
    type=click.IntRange(min=1),
    default=32768,
    show_default=True,
    help="Capacity multiplier.",
)
@click.option(
    "--cmax", type=click.IntRange(min=1), default=512, show_default=True, help="Max. feature maps."
)
@click.option(
    "--glr",
    type=cli.FiniteFloat(min=0),
    help="Learning rate of G.  [default: 0.002 for stylegan2, else 0.0025]",
)
@click.option(
    "--dlr",
    type=cli.FiniteFloat(min=0),
    default=0.002,
    show_default=True,
    help="Learning rate of D.",
)
@click.option(
    "--map-depth",
    type=click.IntRange(min=1),
    help="Layers of the mapping network.  [default: 8 for stylegan2, else 2]",
)
@click.option(
    "--mbstd-group",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Group size of the minibatch standard deviation.",
)
@click.option("--desc", metavar="STR", help="Appended to the name of the run's folder.")
@click.option(
    "--metrics",
    type=cli.NameList(training_config.METRICS),
    metavar="NAME,NAME|none",
    default="none",
    show_default=True,
    help="Evaluated at each snapshot; not available yet.",
)
@click.option(
    "--kimg",
    type=click.IntRange(min=1),
    default=25000,
    show_default=True,
    help="Length of the run, in thousands of images.",
)
@click.option(
    "--tick",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Thousands of images between two status lines.",
)
@click.option(
    "--snap", type=click.IntRange(min=1), default=50, show_default=True, help="Ticks per snapshot."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed."
)
@click.option("--fp32", type=bool, default=False, show_default=True, help="No mixed precision.")
@click.option("--nobench", type=bool, default=False, show_default=True, help="No cuDNN autotuning.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Processes that load images; 0 loads them in the training process.",
)
@click.option(
    "--cache",
    type=click.Choice(["none", "ram", "auto"]),
    default="none",
    show_default=True,
    help="Keep decoded images in memory; auto does if they take at most half of what is free.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Print the options and exit.")
@cli.device_option
@cli.version_option
def main(
    outdir: str,
    data: str,
    cond: bool,
    mirror: bool,
    desc: str | None,
    metrics: list[str],
    dry_run: bool,
    device: str,
    **options: Any,
) -> None:
    """Train a generator of images.

    Each run gets a folder of its own below --outdir, with a log, sheets of generated images
    (fakes*.png), network pickles (network-snapshot-*.pkl), and statistics for TensorBoard.

    \b
    Examples:
      # StyleGAN3-T on 8 GPUs, 256x256
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=photos-256x256.zip \\
          --gpus=8 --batch=32 --gamma=2 --mirror=1
      # The same from a trained network, with a small dataset
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=pets-256x256.zip \\
          --gpus=8 --batch=32 --gamma=2 --mirror=1 --kimg=5000 --snap=5 --resume=network.pkl
      # One GPU: the batch in two passes
      python train.py --outdir=training-runs --cfg=stylegan2 --data=photos-256x256.zip \\
          --gpus=1 --batch=16 --batch-gpu=8 --gamma=1 --map-depth=2
      # A laptop without a GPU: a small network on small images
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=shapes.zip --device=cpu \\
          --gpus=1 --batch=8 --gamma=0.5 --cbase=512 --cmax=32 --kimg=8 --tick=1 --snap=2

    \b
    --batch is shared by the processes, and must be a multiple of --gpus; what does not fit into
    memory at once goes through in passes of --batch-gpu samples. Under torchrun the processes are
    there already, and --gpus is their number.
    """
    train_options = TrainOptions(mirror=mirror, metrics=tuple(metrics), **options)
    training_set = preflight.open_training_set(data, use_labels=cond, aug=train_options.aug)
    config = training_config.make_config(
        train_options,
        training_set_kwargs(
            training_set, data, use_labels=cond, xflip=mirror, random_seed=train_options.seed
        ),
    )
    description = training_config.run_description(train_options, training_set.name, desc)
    config = dataclasses.replace(
        config, run_dir=str(preflight.next_run_dir(Path(outdir), description))
    )
    is_main = distributed.is_main_process()
    if is_main:
        click.echo(describe(config, training_set))
    if dry_run:
        click.echo("Dry run; exiting.")
        return

    if metrics:
        raise click.BadParameter(
            "metrics cannot be computed by this version; use --metrics=none", param_hint="--metrics"
        )
    distributed.check_devices(config.num_gpus, device)
    config = preflight.choose_cache(config, training_set)
    if is_main:
        preflight.check_images(training_set)
        preflight.check_networks(config, training_set)
        preflight.create_run_dir(config)
    distributed.launch(training_loop, config.num_gpus, device, config)


def training_set_kwargs(
    training_set: ImageFolderDataset, data: str, use_labels: bool, xflip: bool, random_seed: int
) -> dict[str, Any]:
    """How every process, and whoever loads the pickle, constructs the dataset."""
    return dict(
        class_name="training.dataset.ImageFolderDataset",
        path=data,
        use_labels=use_labels,
        max_size=len(training_set),
        xflip=xflip,
        resolution=training_set.resolution,
        random_seed=random_seed,
    )


def describe(config: TrainConfig, training_set: ImageFolderDataset) -> str:
    """The options as JSON, what matters most of them, and what is easily overlooked."""
    lines = [
        "",
        "Training options:",
        json.dumps(config.to_dict(), indent=2),
        "",
        f"Output directory:    {config.run_dir}",
        f"Processes:           {config.num_gpus}",
        f"Batch size:          {config.batch_size} images",
        f"Training duration:   {config.total_kimg} kimg",
        f"Dataset path:        {config.training_set_kwargs['path']}",
        f"Dataset size:        {len(training_set)} images",
        f"Dataset resolution:  {training_set.resolution}",
        f"Dataset labels:      {config.training_set_kwargs['use_labels']}",
        f"Dataset x-flips:     {config.training_set_kwargs['xflip']}",
        "",
    ]
    if training_set.has_unused_labels():
        lines.append("Note: the dataset has labels, which this run ignores; --cond=1 uses them.")
    if not config.metrics:
        lines.append("Note: no metrics are evaluated during this run (--metrics=none).")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
