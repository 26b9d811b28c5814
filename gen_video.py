"""Generate a video that wanders through the images of seeds, of one network, in a grid."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import scipy.interpolate
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib import cli
from dnnlib.errors import InputError
from network_files.load import load_network
from torch_utils import distributed, images, latents, videos

parse_tuple = cli.parse_size  # the name that other programs use


class Bitrate(click.ParamType):
    """Bits per second, with k or M for thousands or millions."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"0*[1-9]\d*(\.\d+)?[kKM]?", value, re.ASCII):
            self.fail(f"{value!r} is not a bit rate like 12M or 800k", param, ctx)
        return value


class VideoFile(cli.LocalPath):
    """A file to write whose extension is one of `EXTENSIONS`, in a folder that takes files."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in videos.EXTENSIONS:
            self.fail(f"{str(path)!r} does not end in {' or '.join(videos.EXTENSIONS)}", param, ctx)
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self.fail(f"{str(path)!r} cannot be written: {error.strerror}", param, ctx)
        return path


@click.command(cls=cli.Command)
@click.option(
    "--network", type=cli.Address(), metavar="PATH|URL", required=True, help="Trained network."
)
@click.option(
    "--seeds",
    type=cli.SeedRange(),
    metavar="LIST",
    required=True,
    help="Random seeds of the keyframes, e.g. 0,1,4-7.",
)
@click.option(
    "--shuffle-seed",
    type=cli.WholeNumber(0, cli.MAX_SEED),
    help="Shuffle the seeds; this number decides how.",
)
@click.option(
    "--grid",
    type=cli.Size(),
    metavar="WxH",
    default="1x1",
    show_default=True,
    help="Columns and rows of images in a frame.",
)
@click.option(
    "--num-keyframes",
    type=cli.WholeNumber(min=1),
    help="Keyframes of each image in the grid; seeds are repeated or left out as it takes.  "
    "[default: the number of seeds / (W * H)]",
)
@click.option(
    "--w-frames",
    type=cli.WholeNumber(min=1),
    default=120,
    show_default=True,
    help="Frames from one keyframe to the next.",
)
@cli.trunc_option
@cli.class_option
@cli.noise_mode_option
@click.option(
    "--output",
    type=VideoFile(),
    metavar="FILE.mp4",
    required=True,
    help="The video; .gif and .webp give animations of these formats.",
)
@click.option(
    "--fps",
    type=cli.FiniteFloat(min=1, max=1000),
    help=f"Frames per second.  [default: 60; {videos.MAX_GIF_FPS} for .gif]",
)
@click.option("--bitrate", type=Bitrate(), help="Bits per second of .mp4.  [default: 12M]")
@click.option(
    "--batch",
    type=cli.WholeNumber(min=1),
    help="Images per pass, of one frame or several.  [default: 8 on cuda, otherwise 1]",
)
@cli.allow_untrusted_option
@cli.device_option
@cli.version_option
def main(
    network: str,
    seeds: list[int],
    shuffle_seed: int | None,
    grid: tuple[int, int],
    num_keyframes: int | None,
    w_frames: int,
    trunc: float,
    class_idx: int | None,
    noise_mode: Literal["const", "random", "none"],
    output: Path,
    fps: float | None,
    bitrate: str | None,
    batch: int | None,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Generate a video with a trained network.

    Each image of the grid goes smoothly from the image of a seed to that of the next, and from the
    last to the first: the video can be played in a loop. The seeds fill the grid row by row, with
    all keyframes of an image in a sequence.

    \b
    Examples:
      # Four seeds, two seconds from each to the next
      python gen_video.py --network=net.pkl --seeds=0-3 --output=lerp.mp4
      # 4x2 images, three keyframes each, closer to the average than without --trunc
      python gen_video.py --network=net.pkl --seeds=0-23 --grid=4x2 --trunc=0.7 --output=grid.mp4
      # 4x2 images, ten keyframes each, made of any number of seeds in random order
      python gen_video.py --network=net.pkl --seeds=0-31 --shuffle-seed=1 --grid=4x2 \\
          --num-keyframes=10 --output=grid.mp4
      # A small animation for a web page
      python gen_video.py --network=net.pkl --seeds=0-3 --w-frames=25 --fps=25 --output=lerp.gif
    """
    extension = output.suffix.lower()
    if extension == ".gif" and fps is not None and fps > videos.MAX_GIF_FPS:
        raise click.BadParameter(
            f"{fps:g} is too fast for a GIF, which takes up to {videos.MAX_GIF_FPS}",
            param_hint="--fps",
        )
    if bitrate is not None and extension != ".mp4":
        warnings.warn(f"--bitrate has no effect on {extension} files", stacklevel=1)
    with cli.blame("--seeds"):
        assign_seeds(seeds, grid, num_keyframes, shuffle_seed)  # before the network is loaded
    videos.require_ffmpeg()
    torch_device = distributed.resolve_device(device)
    distributed.configure_backends(torch_device)

    click.echo(f"Loading {network} ...")
    data = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = data["G_ema"].to(torch_device)
    settings = videos.writer_settings(extension, fps, bitrate)
    if extension == ".mp4":
        # Written for any size, and quietly: what goes wrong is reported as one line.
        settings |= {
            "macro_block_size": 2,
            "output_params": [*videos.BT709],
            "ffmpeg_log_level": "quiet",
        }
    with cli.exit_when_terminated():
        gen_interp_video(
            G,
            output,
            seeds,
            shuffle_seed,
            w_frames,
            grid_dims=grid,
            num_keyframes=num_keyframes,
            psi=trunc,
            device=torch_device,
            class_idx=class_idx,
            noise_mode=noise_mode,
            batch=batch or (8 if torch_device.type == "cuda" else 1),
            **settings,
        )
    click.echo(f"Wrote {output}")


@torch.no_grad()
def gen_interp_video(
    G: torch.nn.Module,
    mp4: str | os.PathLike,
    seeds: Sequence[int],
    shuffle_seed: int | None = None,
    w_frames: int = 240,
    kind: str = "cubic",
    grid_dims: tuple[int, int] = (1, 1),
    num_keyframes: int | None = None,
    wraps: int = 2,
    psi: float = 1,
    device: torch.device | str | None = None,
    *,
    class_idx: int | None = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    batch: int = 1,
    **video_kwargs,
) -> None:
    """Write a video of `num_keyframes * w_frames` frames; it appears complete or not at all.

    Frames are computed in this thread and encoded in the background; few are in memory at a time.

    Args:
        G: A generator.
        mp4: The file; its extension decides about the format: .mp4, .gif, .webp.
        seeds: Random seeds of the keyframes, see `assign_seeds`.
        shuffle_seed: Decides how seeds are shuffled; `None` for as they are.
        w_frames: Frames from one keyframe to the next.
        kind: Of interpolation between the styles, as for `scipy.interpolate.interp1d`.
        grid_dims: Columns and rows of images in a frame.
        num_keyframes: Keyframes of each image, `None` for as many as there are seeds for.
        wraps: How often the keyframes are repeated before the first and after the last, so that
            the end of the video meets its beginning.
        psi: Truncation; 1 for the full variety, 0 for the average image.
        device: Where to compute; `None` for where `G` is.
        class_idx: Class to draw; conditional networks need it, others ignore it with a warning.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, fresh for each image, or none.
        batch: Images per pass. More than 1 can change pixels by a rounding error.
        video_kwargs: For `imageio.get_writer`, such as `fps`, `bitrate`, `codec`. Note that unless
            `macro_block_size` is given, imageio scales MP4 to multiples of 16 pixels.

    Raises:
        ValueError: If an argument does not suit the network or another argument, or an image is
            not finite.
        RuntimeError: If the packages for writing videos are not there.
        OSError: If the file cannot be written.
    """
    if min(w_frames, batch, wraps) < 1:
        raise InputError("gen_interp_video: `w_frames`, `batch` and `wraps` must be at least 1")
    seed_table = assign_seeds(seeds, grid_dims, num_keyframes, shuffle_seed)
    videos.require_ffmpeg()
    device = _device_of(G) if device is None else torch.device(device)
    keyframes = map_keyframes(G, seed_table, psi, class_idx, device)
    trajectory = interpolate(keyframes, kind, wraps)
    num_frames = len(keyframes) * w_frames

    G.synthesis(_to_device(keyframes[0].reshape(-1, *keyframes.shape[3:])[:1], device))  # warm-up
    times = np.arange(num_frames) / w_frames
    frames = render_frames(G, trajectory, times, grid_dims, noise_mode, batch, device, seed_table)
    settings = videos.writer_settings(Path(mp4).suffix.lower()) | video_kwargs
    with (
        tqdm(total=num_frames, unit="frame", disable=None) as progress,
        videos.write_video(mp4, num_frames, settings) as write,
    ):
        for frame in frames:
            write(frame)
            progress.update()


def assign_seeds(
    seeds: Sequence[int],
    grid_dims: tuple[int, int],
    num_keyframes: int | None = None,
    shuffle_seed: int | None = None,
) -> np.ndarray:
    """Which seed is where and when, `[num_keyframes, height, width]`.

    The first `num_keyframes` seeds belong to the first image of the grid, the next to the image at
    its right, and so on. They are repeated from the start if there are too few.

    Raises:
        ValueError: If there are no seeds, or, with `num_keyframes` None, not a multiple of the
            number of images.
    """
    width, height = grid_dims
    if min(width, height) < 1 or len(seeds) == 0 or (num_keyframes or 1) < 1:
        raise InputError("assign_seeds: seeds, keyframes, columns and rows must be at least 1")
    if num_keyframes is None:
        if len(seeds) % (width * height) != 0:
            raise InputError(
                f"{len(seeds)} seeds do not fill a grid of {width}x{height}: choose a multiple of"
                f" {width * height}, or repeat them with --num-keyframes"
            )
        num_keyframes = len(seeds) // (width * height)
    all_seeds = np.resize(np.asarray(seeds, dtype=np.int64), num_keyframes * height * width)
    if shuffle_seed is not None:
        np.random.RandomState(shuffle_seed).shuffle(all_seeds)
    return np.moveaxis(all_seeds.reshape(height, width, num_keyframes), 2, 0)


def map_keyframes(
    G: torch.nn.Module,
    seed_table: np.ndarray,
    psi: float,
    class_idx: int | None,
    device: torch.device,
) -> np.ndarray:
    """Styles of seeds: from `[K, height, width]` to `[K, height, width, num_ws, w_dim]`."""
    c_dim = getattr(G, "c_dim", 0)
    label = latents.label_from_class(class_idx, c_dim, seed_table.size, device)
    if class_idx is not None and c_dim == 0:
        warnings.warn("--class has no effect: the network is unconditional", stacklevel=4)
    z = _to_device(latents.z_from_seeds(seed_table.ravel().tolist(), G.z_dim).numpy(), device)
    ws = G.mapping(z, None if c_dim == 0 else label, truncation_psi=psi).cpu().numpy()
    if not np.isfinite(ws).all():
        bad = ~np.isfinite(ws).all(axis=(1, 2))
        raise InputError(
            f"the styles of seed {seed_table.ravel()[bad][0]} are NaN or infinite: the network is "
            "damaged (use an earlier snapshot), or --trunc out of range"
        )
    return ws.reshape(*seed_table.shape, *ws.shape[1:])


def interpolate(keyframes: np.ndarray, kind: str, wraps: int) -> Callable[[np.ndarray], np.ndarray]:
    """A closed path through keyframes, float64; keyframe k is at time k, the first also at K.

    Args:
        keyframes: `[K, height, width, num_ws, w_dim]`.
        kind: As for `scipy.interpolate.interp1d`.
        wraps: Repetitions on each side: the path has no end, but the polynomials must.

    Returns:
        Function from times `[N]` to styles `[N, height, width, num_ws, w_dim]`.
    """
    num_ws = keyframes.shape[3]
    if (keyframes == keyframes[..., :1, :]).all():
        keyframes = keyframes[..., :1, :]  # one style for all layers
    repeated = np.concatenate([keyframes] * (2 * wraps + 1)).astype(np.float64)
    times = np.arange(len(repeated)) - wraps * len(keyframes)
    path = scipy.interpolate.interp1d(times, repeated, kind=kind, axis=0)

    def styles(t: np.ndarray) -> np.ndarray:
        ws = path(t)
        return np.broadcast_to(ws, (*ws.shape[:3], num_ws, ws.shape[4]))

    return styles


def render_frames(
    G: torch.nn.Module,
    trajectory: Callable[[np.ndarray], np.ndarray],
    times: np.ndarray,
    grid_dims: tuple[int, int],
    noise_mode: str,
    batch: int,
    device: torch.device,
    seed_table: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Compute frames one after the other, uint8 `[height * H, width * W, C]`.

    Batches may hold a part of a frame, or several frames.

    Raises:
        ValueError: If an image is not finite; the message names the seeds of `seed_table`.
    """
    width, height = grid_dims

    def origin(idx: int) -> str:
        """What an image is called, counted over all frames and cells."""
        frame, cell = divmod(idx, cells)
        if seed_table is None:
            return f"frame {frame}"
        keyframe = int(times[frame])
        first, second = (
            seed_table[k % len(seed_table)].flat[cell] for k in (keyframe, keyframe + 1)
        )
        return f"frame {frame}, between the seeds {first} and {second}"

    cells = width * height
    done: list[Tensor] = []
    for start in range(0, len(times) * cells, batch):
        images_idx = np.arange(start, min(start + batch, len(times) * cells))
        first_frame, last_frame = images_idx[[0, -1]] // cells
        ws = trajectory(times[first_frame : last_frame + 1])  # [frames, height, width, ...]
        ws = ws.reshape(-1, *ws.shape[3:])[images_idx - first_frame * cells]
        img = G.synthesis(ws=_to_device(ws, device), noise_mode=noise_mode)
        images.check_finite(img, [origin(i) for i in images_idx.tolist()])
        done.extend(images.to_uint8(img).cpu())
        while len(done) >= cells:
            yield layout_grid(torch.stack(done[:cells]), width, height, float_to_uint8=False)
            del done[:cells]


def layout_grid(
    img: Tensor,
    grid_w: int | None = None,
    grid_h: int = 1,
    float_to_uint8: bool = True,
    chw_to_hwc: bool = True,
    to_numpy: bool = True,
) -> Tensor | np.ndarray:
    """Lay images out row by row.

    Args:
        img: Images `[grid_w * grid_h, C, H, W]`.
        grid_w: Columns, `None` for as many as the images fill.
        grid_h: Rows.
        float_to_uint8: Convert from [-1, 1] to 8 bits.
        chw_to_hwc: Put the channels last.
        to_numpy: Return an array, not a tensor.
    """
    if grid_w is None:
        grid_w = len(img) // grid_h
    if float_to_uint8:
        img = images.to_uint8(img)
    grid = images.make_grid(img, (grid_w, grid_h))
    if chw_to_hwc:
        grid = grid.permute(1, 2, 0)
    return grid.cpu().numpy() if to_numpy else grid


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """In double precision, as published networks expect, where the device has it."""
    x = torch.from_numpy(np.ascontiguousarray(array))
    return x.to(torch.float32).to(device) if device.type == "mps" else x.to(device)


def _device_of(G: torch.nn.Module) -> torch.device:
    parameter = next(iter(getattr(G, "parameters", list)()), None)
    return torch.device("cpu") if parameter is None else parameter.device


if __name__ == "__main__":
    main()
