"""Generate a video that wanders through the images of seeds, of one network, in a grid."""

import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import scipy.interpolate
import torch
from torch import Tensor
from tqdm import tqdm

import legacy
from dnnlib import cli
from torch_utils import distributed, images, latents

try:
    import imageio
    import imageio_ffmpeg
except ImportError:
    imageio = imageio_ffmpeg = None  # reported when a video is asked for

parse_tuple = cli.parse_size  # the name that other programs use

EXTENSIONS = (".mp4", ".gif", ".webp")
MAX_GIF_FPS = 50  # browsers slow down what shows a frame for less than two hundredths of a second
MAX_WAITING = 8  # frames between the network and the encoder

# A palette for each frame, as one for all would have to wait for the last.
GIF_FILTER = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
# Says and does what players assume of large videos; otherwise colours depend on the player.
BT709 = ["-vf", "scale=out_color_matrix=bt709:out_range=tv"]
BT709 += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]


class Bitrate(click.ParamType):
    """Bits per second, with k or M for thousands or millions."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"0*[1-9]\d*(\.\d+)?[kKM]?", value, re.ASCII):
            self.fail(f"{value!r} is not a bit rate like 12M or 800k", param, ctx)
        return value


class VideoFile(click.Path):
    """A file to write whose extension is one of `EXTENSIONS`, in a folder that takes files."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in EXTENSIONS:
            self.fail(f"{str(path)!r} does not end in {' or '.join(EXTENSIONS)}", param, ctx)
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self.fail(f"{str(path)!r} cannot be written: {error.strerror}", param, ctx)
        return path


@click.command(cls=cli.Command)
@click.option("--network", metavar="PATH|URL", required=True, help="Trained network.")
@click.option(
    "--seeds",
    type=cli.SeedRange(),
    metavar="LIST",
    required=True,
    help="Random seeds of the keyframes, e.g. 0,1,4-7.",
)
@click.option(
    "--shuffle-seed",
    type=click.IntRange(0, cli.MAX_SEED),
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
    type=click.IntRange(min=1),
    help="Keyframes of each image in the grid; seeds are repeated or left out as it takes.  "
    "[default: the number of seeds / (W * H)]",
)
@click.option(
    "--w-frames",
    type=click.IntRange(min=1),
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
    help=f"Frames per second.  [default: 60; {MAX_GIF_FPS} for .gif]",
)
@click.option("--bitrate", type=Bitrate(), help="Bits per second of .mp4.  [default: 12M]")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
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
    if extension == ".gif" and fps is not None and fps > MAX_GIF_FPS:
        raise click.BadParameter(
            f"{fps:g} is too fast for a GIF, which takes up to {MAX_GIF_FPS}", param_hint="--fps"
        )
    if bitrate is not None and extension != ".mp4":
        warnings.warn(f"--bitrate has no effect on {extension} files", stacklevel=1)
    with cli.blame("--seeds"):
        assign_seeds(seeds, grid, num_keyframes, shuffle_seed)  # before the network is loaded
    require_ffmpeg()
    torch_device = distributed.resolve_device(device)
    distributed.configure_backends(torch_device)

    click.echo(f"Loading {network} ...")
    data = legacy.load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = data["G_ema"].to(torch_device)
    settings = writer_settings(extension, fps, bitrate)
    if extension == ".mp4":
        # Written for any size, and quietly: what goes wrong is reported as one line.
        settings |= {"macro_block_size": 2, "output_params": [*BT709], "ffmpeg_log_level": "quiet"}
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
        ValueError: If an argument does not suit the network or another argument.
        RuntimeError: If the packages for writing videos are not there.
        OSError: If the file cannot be written.
    """
    if min(w_frames, batch, wraps) < 1:
        raise ValueError("gen_interp_video: `w_frames`, `batch` and `wraps` must be at least 1")
    seed_table = assign_seeds(seeds, grid_dims, num_keyframes, shuffle_seed)
    require_ffmpeg()
    device = _device_of(G) if device is None else torch.device(device)
    keyframes = map_keyframes(G, seed_table, psi, class_idx, device)
    trajectory = interpolate(keyframes, kind, wraps)
    num_frames = len(keyframes) * w_frames

    G.synthesis(_to_device(keyframes[0].reshape(-1, *keyframes.shape[3:])[:1], device))  # warm-up
    times = np.arange(num_frames) / w_frames
    frames = render_frames(G, trajectory, times, grid_dims, noise_mode, batch, device)
    settings = writer_settings(Path(mp4).suffix.lower()) | video_kwargs
    with (
        tqdm(total=num_frames, unit="frame", disable=None) as progress,
        write_video(mp4, num_frames, settings) as write,
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
        raise ValueError("assign_seeds: seeds, keyframes, columns and rows must be at least 1")
    if num_keyframes is None:
        if len(seeds) % (width * height) != 0:
            raise ValueError(
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
) -> Iterator[np.ndarray]:
    """Compute frames one after the other, uint8 `[height * H, width * W, C]`.

    Batches may hold a part of a frame, or several frames.
    """
    width, height = grid_dims
    cells = width * height
    done: list[Tensor] = []
    for start in range(0, len(times) * cells, batch):
        images_idx = np.arange(start, min(start + batch, len(times) * cells))
        first_frame, last_frame = images_idx[[0, -1]] // cells
        ws = trajectory(times[first_frame : last_frame + 1])  # [frames, height, width, ...]
        ws = ws.reshape(-1, *ws.shape[3:])[images_idx - first_frame * cells]
        img = G.synthesis(ws=_to_device(ws, device), noise_mode=noise_mode)
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


def require_ffmpeg() -> None:
    """Make sure that there is an encoder.

    Raises:
        RuntimeError: If not; says what to install.
    """
    if imageio is None:
        raise RuntimeError("writing videos takes two packages: pip install imageio imageio-ffmpeg")
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise RuntimeError(
            "no ffmpeg was found: pip install --force-reinstall imageio-ffmpeg brings one, or set"
            " IMAGEIO_FFMPEG_EXE to yours"
        ) from error


def writer_settings(
    extension: str, fps: float | None = None, bitrate: str | None = None
) -> dict[str, Any]:
    """Keyword arguments of `imageio.get_writer` for a kind of file."""
    if extension not in (".gif", ".webp"):
        return {
            "mode": "I",
            "fps": 60 if fps is None else fps,
            "codec": "libx264",
            "bitrate": bitrate or "12M",
        }
    settings = {"mode": "I", "macro_block_size": 1, "ffmpeg_log_level": "quiet"}
    if extension == ".gif":
        return settings | {
            "fps": MAX_GIF_FPS if fps is None else fps,
            "codec": "gif",
            "pixelformat": "pal8",
            "output_params": ["-vf", GIF_FILTER, "-loop", "0", "-f", "gif"],
        }
    return settings | {
        "fps": 60 if fps is None else fps,
        "codec": "libwebp_anim",
        "pixelformat": "yuva420p",
        "output_params": ["-loop", "0", "-quality", "90", "-f", "webp"],
    }


@contextmanager
def write_video(
    path: str | os.PathLike, num_frames: int, settings: dict[str, Any]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write frames, uint8 `[H, W, C]`, with the function that the `with` block gets.

    The file takes its name when the block ends well and all `num_frames` are in it; after an
    exception nothing is left of it.

    Raises:
        OSError: If the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    extension = target.suffix.lower()
    # The name decides which of imageio's plugins writes it: not the one for images.
    suffix = ".mp4" if extension in (".gif", ".webp") else target.suffix
    temp = target.with_name(f".{target.stem[:100]}.{uuid.uuid4().hex}.tmp{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio.get_writer(str(temp), **settings)

    def append(frame: np.ndarray) -> None:
        try:
            writer.append_data(_prepare(frame, extension))
        except OSError as error:
            raise OSError(_describe_failure(path, target.parent)) from error

    try:
        with _in_background(append) as write:
            yield write
        writer.close()
        # Whoever replaces imageio's writers does not have to write a file.
        if isinstance(writer, imageio.core.format.Format.Writer):
            if not _is_complete(temp, num_frames):
                raise OSError(_describe_failure(path, target.parent))
            _flush_to_disk(temp)
            os.replace(temp, target)
    except BaseException:
        with suppress(OSError):  # open files can be removed, except on Windows
            temp.unlink(missing_ok=True)
        with suppress(OSError):
            writer.close()
        temp.unlink(missing_ok=True)
        raise


def _prepare(frame: np.ndarray, extension: str) -> np.ndarray:
    """The frame as encoders want it: with three or four channels, of even size for MP4."""
    channels = frame.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"a video has 1 (grayscale), 3 (RGB) or 4 (RGBA) channels; the network has {channels}"
        )
    if channels == 1:
        frame = frame.repeat(3, axis=2)
    if channels == 4 and extension != ".webp":  # on white
        alpha = frame[:, :, 3:].astype(np.uint16)
        frame = ((frame[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if extension not in (".gif", ".webp"):
        height, width = frame.shape[:2]
        frame = np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
    return np.ascontiguousarray(frame)


def _is_complete(path: Path, num_frames: int) -> bool:
    """Whether an encoder, which does not tell, has written all that it was given."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        last = file.read(1)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        # Equal frames are one frame of a longer duration there; the header has the size.
        return int.from_bytes(head[4:8], "little") + 8 == size
    if head[:4] == b"GIF8" and last != b";":
        return False
    # One line for each frame, which is read but not decoded.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-i", str(path)]
    command += ["-c", "copy", "-f", "framecrc", "-"]
    listed = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    frames = [line for line in listed.stdout.splitlines() if not line.startswith(b"#")]
    return listed.returncode == 0 and len(frames) == num_frames


def _describe_failure(path: str | os.PathLike, folder: Path) -> str:
    free_mib = shutil.disk_usage(folder).free / 2**20
    reason = "is the disk full?" if free_mib > 16 else "the disk is full"
    return (
        f"--output {path} was not written: the encoder stopped; {reason} ({free_mib:.0f} MiB free)"
    )


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _in_background(consume: Callable[[np.ndarray], None]) -> Iterator[Callable[[np.ndarray], None]]:
    """Let a thread consume, in order, what the `with` block hands to the function that it gets.

    The block waits when too much is on its way, and when it ends. What goes wrong in the thread is
    raised in the block or at its end; if the block itself fails, the rest is not consumed.
    """
    waiting: queue.Queue[np.ndarray | None] = queue.Queue(MAX_WAITING)
    errors: list[BaseException] = []

    def work() -> None:
        while (item := waiting.get()) is not None:
            try:
                if not errors:
                    consume(item)
            except BaseException as error:
                errors.append(error)

    def put(item: np.ndarray) -> None:
        if errors:
            raise errors[0]
        waiting.put(item)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield put
    except BaseException as error:
        errors.append(error)
        raise
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """In double precision, as published networks expect, where the device has it."""
    x = torch.from_numpy(np.ascontiguousarray(array))
    return x.to(torch.float32).to(device) if device.type == "mps" else x.to(device)


def _device_of(G: torch.nn.Module) -> torch.device:
    parameter = next(iter(getattr(G, "parameters", list)()), None)
    return torch.device("cpu") if parameter is None else parameter.device


if __name__ == "__main__":
    main()
