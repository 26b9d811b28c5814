"""Project pictures, and write what was found: latents, images, sheets, videos, tuned networks."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.atomic_file import open_atomic
from editing.features import Features
from editing.projection import Progress, Projection, Settings, project
from editing.targets import Target
from editing.tuning import Tuned, TuningSettings, tune
from generation import latent_files
from generation.latent_files import Latents
from network_files.save import save_networks
from torch_utils import images, layout, videos

LATENTS, LOG, SHEET = "projected_w.npz", "projections.jsonl", "sheet.png"
NETWORK, TUNED, VIDEO = "network.pkl", "tuned.png", "optimization.mp4"
OPTIONAL_FILES = (NETWORK, TUNED, VIDEO)
WRITTEN = (LATENTS, LOG, SHEET, "target.png", "proj.png", *OPTIONAL_FILES)
MIN_SHEET_SIDE = 128  # pixels: smaller images are enlarged on sheets
VIDEO_FPS = 30
MAX_VIDEO_FRAMES = 300  # of each optimisation, evenly spread


@dataclass(frozen=True)
class Job:
    """What to do with each picture.

    Attributes:
        data: The networks, as `network_files.load` returns them; `G_ema` is on the device to use.
        features: Where to compare.
        settings: How to project.
        tuning: How to tune the network for each picture; `None` for no tuning.
        label: The label to draw, `[1, c_dim]`, or `None`.
        save_video: Whether to write a video of each optimisation.
    """

    data: Mapping[str, Any]
    features: Features
    settings: Settings
    tuning: TuningSettings | None = None
    label: Tensor | None = None
    save_video: bool = False


def project_all(
    job: Job,
    pictures: Sequence[Target],
    outdir: Path,
    has_folders: bool,
    report: Callable[[dict[str, Any]], None] = lambda errors: None,
) -> bool:
    """Project pictures one after the other; after each one all files are up to date.

    Args:
        job: What to do.
        pictures: The pictures.
        outdir: Result folder.
        has_folders: Whether each picture gets a folder of its own.
        report: Called with the errors of each picture, as they are written to the log.

    Returns:
        Whether everything was done; `False` after an interruption.
    """
    network = latent_files.network_hash(job.data["G_ema"])
    done: list[Projection] = []
    log = ""
    for picture in pictures:
        folder = outdir / picture.name if has_folders else outdir
        folder.mkdir(exist_ok=True)
        frames: list[np.ndarray] = []
        found, tuned = _project(job, picture, frames)
        for name in OPTIONAL_FILES:  # of an earlier call
            (folder / name).unlink(missing_ok=True)
        done.append(found)
        _write_images(folder, picture, found, tuned)
        if frames:
            _write_video(folder / VIDEO, picture, frames)
        if tuned is not None:
            _write_network(folder / NETWORK, job.data, tuned)
        names = [target.name for target in pictures[: len(done)]]
        # Tuned networks have hashes of their own.
        _write_latents(outdir / LATENTS, job, done, names, None if job.tuning else network)
        errors = _errors(picture, found, tuned)
        log += json.dumps(errors) + "\n"
        with open_atomic(outdir / LOG, "w") as f:
            f.write(log)
        report(errors)
        if not found.is_complete or (tuned is not None and not tuned.is_complete):
            return False
    return True


def _project(
    job: Job, picture: Target, frames: list[np.ndarray]
) -> tuple[Projection, Tuned | None]:
    """Project one picture, and tune; `frames` takes the frames of a video."""
    G, target = job.data["G_ema"], picture.image()
    with _progress_bar(picture.name, frames if job.save_video else None) as on_step:
        found = project(G, target, job.features, job.settings, label=job.label, on_step=on_step)
    tuned = None
    if job.tuning is not None and found.is_complete:
        with _progress_bar(f"{picture.name}: tuning", None) as on_step:
            tuned = tune(
                G,
                found.ws,
                target,
                job.features,
                job.tuning,
                transform=found.transform,
                label=job.label,
                on_step=on_step,
            )
    return found, tuned


@contextmanager
def _progress_bar(
    name: str, frames: list[np.ndarray] | None
) -> Iterator[Callable[[Progress], None]]:
    """A progress bar with the loss; collects frames of a video on the way, `[H, W, C]`."""
    with tqdm(desc=name, unit="step", disable=None) as bar:

        def on_step(progress: Progress) -> None:
            bar.total = progress.num_steps
            bar.set_postfix(distance=f"{progress.distance:.4f}", refresh=False)
            bar.update()
            interval = -(-progress.num_steps // MAX_VIDEO_FRAMES)
            if frames is not None and progress.step % interval == 0:
                frames.append(images.to_uint8(progress.img)[0].permute(1, 2, 0).cpu().numpy())

        yield on_step


def _write_images(folder: Path, picture: Target, found: Projection, tuned: Tuned | None) -> None:
    columns = {"target": picture.pixels, "projection": _pixels(found.img)}
    if tuned is not None:
        columns["tuned"] = _pixels(tuned.img)
    images.save_png(columns["target"], folder / "target.png")
    images.save_png(columns["projection"], folder / "proj.png")
    if tuned is not None:
        images.save_png(columns["tuned"], folder / TUNED)
    factor = -(-MIN_SHEET_SIDE // picture.pixels.shape[1])
    cells = []
    for caption, pixels in columns.items():
        cell = layout.enlarge(layout.as_rgb(pixels), factor)
        cells.append(layout.beneath(layout.text(caption, cell.shape[1]), cell))
    images.save_png(layout.beside(*cells).transpose(2, 0, 1), folder / SHEET)


def _pixels(img: Tensor) -> np.ndarray:
    return images.to_uint8(img[None])[0].cpu().numpy()


def _write_latents(
    path: Path, job: Job, done: Sequence[Projection], names: Sequence[str], network: str | None
) -> None:
    transforms = [found.transform for found in done if found.transform is not None]
    latent_files.save(
        path,
        Latents(
            torch.cat([found.ws for found in done]),
            np.stack(transforms) if transforms else None,
            None if job.label is None else job.label.expand(len(done), -1),
            names,
            network,
        ),
    )


def _write_network(path: Path, data: Mapping[str, Any], tuned: Tuned) -> None:
    """A file of networks in which the tuned one takes the place of `G_ema`."""
    D = data.get("D")
    networks = dict(G=None, D=None if D is None else copy.deepcopy(D).cpu(), G_ema=tuned.G.cpu())
    save_networks(path, {**data, **networks, "augment_pipe": None})


def _errors(picture: Target, found: Projection, tuned: Tuned | None) -> dict[str, Any]:
    line = dict(name=picture.name, distance=found.distance, psnr=found.psnr)
    if found.transform is not None:
        line["transform"] = found.transform.tolist()
    if tuned is not None:
        line.update(
            tuned_distance=tuned.distance, tuned_psnr=tuned.psnr, tuned_steps=tuned.num_steps
        )
    return {**line, "is_complete": found.is_complete}


def _write_video(path: Path, picture: Target, frames: Sequence[np.ndarray]) -> None:
    target = picture.pixels.transpose(1, 2, 0)
    settings = videos.writer_settings(".mp4", VIDEO_FPS) | {
        "macro_block_size": 2,
        "output_params": [*videos.BT709],
        "ffmpeg_log_level": "quiet",
    }
    factor = -(-MIN_SHEET_SIDE // target.shape[0])
    with videos.write_video(path, len(frames), settings) as write:
        for frame in frames:
            both = np.concatenate([target, frame], axis=1)
            write(layout.enlarge(both, factor))
