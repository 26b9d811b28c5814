"""Checks before a run starts, and the folder of the run.

All checks raise errors for users, whose messages name the way out.
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
from training import build, checkpoint, run_dirs, transfer
from training.config import AUGMENTATIONS, COLOUR_CHANGES, TrainConfig
from training.options import Aug, AugPipe

LOCK_NAME = ".training.lock"
FILES_OF_A_RUN = re.compile(
    r"training-state-.*\.pt|network-(snapshot-.*|best)\.pkl|network-best\.json|(fakes|reals).*\.png|training_options\.json"
)
PATIENCE_SEC = 60  # time for a stopping process to save its state


def open_training_set(
    data: str, use_labels: bool, aug: Aug, augpipe: AugPipe = "bgc"
) -> ImageFolderDataset:
    """Open the dataset of `--data`, and check that a run with these options can use it."""
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
            f"power-of-two size from 8 on; dataset_tool.py --resolution={better}x{better} resizes "
            "them"
        )
    num_channels = training_set.num_channels
    if num_channels not in (1, 3, 4):
        raise InputError(
            f"--data: {data}: the images have {num_channels} channels, but must be grayscale, RGB "
            "or RGBA; dataset_tool.py converts them"
        )
    if num_channels == 4 and aug != "noaug" and COLOUR_CHANGES & {*AUGMENTATIONS[augpipe]}:
        raise InputError(
            f"--aug={aug}: the changes of colour in --augpipe={augpipe} take no alpha channel; use "
            f"--augpipe=bg or --aug=noaug for {data}, or put its images on a background with "
            "dataset_tool.py --background=white"
        )
    return training_set


def check_images(training_set: ImageFolderDataset) -> list[str]:
    """Refuse a dataset with images of several sizes.

    Returns:
        Lines for the user about images that loading changes and files that it omits.
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
    """Refuse options that allow no network, or that do not fit the network of `--resume`."""
    networks = build_networks(config, training_set)
    if config.resume_pkl is None:
        return
    data = transfer.load(config)
    for name, network in networks.items():
        if data[name] is not None:
            transfer.check(data[name], network)
    transfer.check_finite(data)


def check_resume(resume: str | None) -> None:
    """Refuse a file of `--resume` that does not exist or cannot be read; URLs are not opened."""
    if resume is not None and not dnnlib.util.is_url(resume):
        with cli.blame("--resume"):
            file = dnnlib.util.open_url(resume)
            assert not isinstance(file, str)  # only `return_filename=True` returns a name
            file.close()


def check_outdir(outdir: Path, data: Path) -> None:
    """Refuse a folder that cannot hold runs; creates nothing.

    A folder inside the dataset is refused: the sheets of a run would become training images.
    """
    there = next(path for path in (outdir, *outdir.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--outdir={outdir}: {there} is a file; choose a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--outdir={outdir}: {there} cannot be written to; choose another folder")
    if paths.is_inside(outdir, data):
        raise InputError(
            f"--outdir={outdir} lies inside --data={data}, so the sheets of the run would become "
            "training images; choose another folder"
        )


def build_networks(
    config: TrainConfig, training_set: ImageFolderDataset
) -> dict[str, torch.nn.Module]:
    """`G_ema` and `D` of a run on the meta device, which takes neither time nor memory.

    Raises:
        ValueError: If no network exists for the options; the message names one of them.
    """
    images = build.network_kwargs(training_set)
    try:
        with torch.device("meta"):
            return dict(
                G_ema=build.build_generator(config, images, "meta"),
                D=build.build_discriminator(config, images, "meta"),
            )
    except ValueError as error:  # classes that travel in pickles raise plain ValueErrors
        raise InputError(str(error)) from error


def create_run_dir(config: TrainConfig) -> TrainConfig:
    """Create the folder of the run, with its options.

    Returns:
        The configuration with the created folder. The folder's number differs from the planned
        number if another run has taken it.
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
    """Log why the processes of a run failed; if one was killed, tell how to continue.

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
    """Keep other processes from training the same run, wherever the file system has locks.

    Raises:
        RuntimeError: If another process trains the run, and does not end within a minute.
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
