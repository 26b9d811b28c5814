"""What can be known to go wrong before a run starts; and the folder that it gets.

Everything here raises `ValueError`, `OSError` or `RuntimeError`, and names the way out.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import torch

import dnnlib
from data import image_cache, notes
from data.dataset import ImageFolderDataset
from dnnlib import cli, errors, file_lock, paths, strict_json
from dnnlib.errors import InputError, MachineError, UserError
from torch_utils import local_processes
from training import checkpoint, run_dirs, transfer
from training.config import TrainConfig
from training.training_loop import network_kwargs

LOCK_NAME = ".training.lock"
FILES_OF_A_RUN = re.compile(
    r"training-state-.*\.pt|network-snapshot-.*\.pkl|(fakes|reals).*\.png|training_options\.json"
)
PATIENCE_SEC = 60  # with a process that has been told to stop, and saves its state


def open_training_set(data: str, use_labels: bool, aug: str) -> ImageFolderDataset:
    """Open the dataset of `--data` and make sure that it can be trained on with these options."""
    try:
        training_set = ImageFolderDataset(data, use_labels=use_labels)
        resolution = training_set.resolution
        is_lacking_labels = use_labels and not training_set.has_labels
        notes = "".join(f"; {note}" for note in training_set.label_notes())
    except (OSError, UserError) as error:
        raise InputError(f"--data: {error}") from error
    if is_lacking_labels:
        raise InputError(
            f"--cond=1 needs labels, but {data} has none: its dataset.json would list them{notes}"
        )
    if resolution < 8 or not dnnlib.util.is_power_of_two(resolution):
        better = max(dnnlib.util.nearest_power_of_two(resolution), 8)
        raise InputError(
            f"--data: {data}: the images are {resolution}x{resolution}, but must be of a "
            f"power-of-two size from 8 on; dataset_tool.py --resolution={better}x{better} makes "
            "them so"
        )
    num_channels = training_set.num_channels
    if num_channels not in (1, 3, 4):
        raise InputError(
            f"--data: {data}: the images have {num_channels} channels, but must be grayscale, RGB "
            "or RGBA; dataset_tool.py converts them"
        )
    if num_channels == 4 and aug != "noaug":
        raise InputError(
            f"--aug={aug}: the augmentations take no alpha channel; use --aug=noaug for {data}"
        )
    return training_set


def check_images(training_set: ImageFolderDataset) -> list[str]:
    """Refuse a dataset with images of several sizes.

    Returns:
        What loading changes in images, and which files are left out: lines for people.
    """
    try:
        found = training_set.check_images()
    except (OSError, UserError) as error:
        raise InputError(f"--data: {error}") from error
    lines = notes.describe(found, training_set.left_out)
    return [f"{title} in the dataset: {text}" for title, text in lines.items()]


def choose_cache(config: TrainConfig, training_set: ImageFolderDataset) -> TrainConfig:
    """Decide what `--cache=auto` means, and refuse `--cache=ram` if the images do not fit."""
    num_bytes = training_set.decoded_bytes
    try:
        cache = image_cache.choose(config.cache, num_bytes, config.num_gpus)
    except MemoryError as error:
        raise InputError(f"--cache={config.cache}: {error}") from error
    return dataclasses.replace(config, cache=cache)


def check_networks(config: TrainConfig, training_set: ImageFolderDataset) -> None:
    """Refuse options without a network, or with one that the pickle of `--resume` does not fit."""
    networks = build_networks(config, training_set)
    if config.resume_pkl is None:
        return
    data = transfer.load(config)
    for name, network in networks.items():
        if data[name] is not None:
            transfer.check(data[name], network)
    transfer.check_finite(data)


def check_resume(resume: str | None) -> None:
    """Refuse a file of `--resume` that is not there, or cannot be read; web addresses may wait."""
    if resume is not None and not dnnlib.util.is_url(resume):
        with cli.blame("--resume"), dnnlib.util.open_url(resume):
            pass


def check_outdir(outdir: Path, data: Path) -> None:
    """Refuse a place where no run can be; creates nothing.

    A run inside a folder of images cannot be: its sheets would become images of the dataset.
    """
    there = next(path for path in (outdir, *outdir.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--outdir={outdir}: {there} is a file; choose a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--outdir={outdir}: {there} cannot be written to; choose another folder")
    if paths.is_inside(outdir, data):
        raise InputError(
            f"--outdir={outdir} lies inside --data={data}, whose images the sheets of the run would"
            " become; choose a folder beside it"
        )


def build_networks(
    config: TrainConfig, training_set: ImageFolderDataset
) -> dict[str, torch.nn.Module]:
    """`G_ema` and `D` of a run without weights: at once, and without memory."""
    with torch.device("meta"):
        return {
            name: dnnlib.util.construct_class_by_name(**kwargs, **network_kwargs(training_set))
            for name, kwargs in (("G_ema", config.G_kwargs), ("D", config.D_kwargs))
        }


def create_run_dir(config: TrainConfig) -> TrainConfig:
    """Create the folder of the run, with its options.

    Returns:
        The configuration with the folder that was created: others may have taken its number.
    """
    planned = Path(config.run_dir)
    description = planned.name.partition("-")[2]
    run_dir = run_dirs.create_run_dir(planned.parent, description)
    config = dataclasses.replace(config, run_dir=str(run_dir))
    save_options(config)
    return config


def save_options(config: TrainConfig) -> None:
    """Write the options of a run into its folder."""
    with dnnlib.util.open_atomic(Path(config.run_dir) / "training_options.json", "w") as f:
        f.write(strict_json.dumps(config.to_dict(), indent=2))


@contextlib.contextmanager
def last_words(run_dir: Path) -> Iterator[None]:
    """Log what the processes of a run have failed of; say how to go on when one was killed.

    Raises:
        RuntimeError: In place of `ProcessDied`.
    """
    try:
        yield
    except local_processes.ProcessDied as error:
        has_state = run_dir.is_dir() and bool(checkpoint.states(run_dir))
        how = f"continue with: python train.py --resume={run_dir}"
        advice = how if has_state else "it had not saved a state yet, so start it again"
        message = f"{error}, and the run with it; {advice}"
        _append_to_log(run_dir, f"Error: {message}")
        raise MachineError(message) from error
    except local_processes.ChildError as error:
        _append_to_log(run_dir, str(error))
        raise


def _append_to_log(run_dir: Path, text: str) -> None:
    with contextlib.suppress(OSError), (run_dir / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"\n{text}\n")


@contextlib.contextmanager
def sole_trainer(run_dir: Path) -> Iterator[None]:
    """Keep other processes from training the same run, on this machine and where files know locks.

    Raises:
        RuntimeError: If another process trains it, and does not end in the next minute.
    """

    def say_waiting() -> None:
        click.echo(f"Another process is training {run_dir}; waiting for it to end ...")

    with contextlib.ExitStack() as stack:
        lock = file_lock.hold(run_dir / LOCK_NAME, say_waiting, PATIENCE_SEC)
        try:
            is_locked = stack.enter_context(lock)
        except TimeoutError:
            raise MachineError(
                f"{run_dir} is being trained by another process: stop that first, or start another "
                "run in its place"
            ) from None
        if is_locked:
            _remove_leftovers(run_dir)
        yield


def _remove_leftovers(run_dir: Path) -> None:
    """Remove files that a process of this run was writing when it was killed."""
    try:
        num, num_bytes = dnnlib.util.remove_leftovers(run_dir, FILES_OF_A_RUN)
    except OSError as error:
        click.echo(f"Note: unfinished files of a killed process stay: {errors.message_of(error)}")
        return
    if num:
        what = "file" if num == 1 else "files"
        click.echo(
            f"Note: {num} unfinished {what} ({num_bytes / 1e6:.1f} MB) of a killed process removed."
        )
