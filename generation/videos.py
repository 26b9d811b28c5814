"""Videos that move smoothly through the images of several seeds, in a grid."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.errors import InputError
from generation.trajectories import assign_seeds, interpolate, map_keyframes, to_device
from torch_utils import images, videos
from torch_utils.networks import Generator, device_of


@torch.no_grad()
def gen_interp_video(
    G: Generator,
    mp4: str | os.PathLike,
    seeds: Sequence[int] | None,
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
    ws: Tensor | None = None,
    **video_kwargs: Any,
) -> None:
    """Write a video of `num_keyframes * w_frames` frames; it appears complete or not at all.

    This thread computes frames and another one encodes them; few frames are in memory at a time.

    Args:
        G: A generator.
        mp4: The file. Its extension decides the format: .mp4, .gif, .webp.
        seeds: Random seeds of the keyframes, see `generation.trajectories.assign_seeds`; `None` for
            those of `ws` alone.
        shuffle_seed: Decides how seeds are shuffled; `None` keeps their order.
        w_frames: Frames from one keyframe to the next.
        kind: Kind of interpolation between styles, see `scipy.interpolate.interp1d`.
        grid_dims: Columns and rows of images in a frame.
        num_keyframes: Keyframes of each image; `None` uses each seed once.
        wraps: Repetitions of the keyframes before the first and after the last, so that the
            video ends where it begins.
        psi: Truncation; 1 for the full variety, 0 for the average image.
        device: Where to compute; `None` for the device of `G`.
        class_idx: Class to draw. Conditional networks need it; others ignore it and warn.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, fresh for each image, or none.
        batch: Images per pass. More than 1 can change pixels by a rounding error.
        ws: Styles of more keyframes, after those of the seeds, `[N, num_ws, w_dim]`.
        video_kwargs: Keyword arguments of `imageio.get_writer`, such as `fps`, `bitrate`, `codec`.
            Unless `macro_block_size` is given, imageio scales MP4 to multiples of 16 pixels.

    Raises:
        ValueError: If an argument does not suit the network or another argument, or an image is
            not finite.
        RuntimeError: If the packages for writing videos are missing.
        OSError: If the file cannot be written.
    """
    if min(w_frames, batch, wraps) < 1:
        raise InputError("gen_interp_video: `w_frames`, `batch` and `wraps` must be at least 1")
    seeds = [] if seeds is None else list(seeds)
    num = len(seeds) + (0 if ws is None else len(ws))
    table = assign_seeds(range(num), grid_dims, num_keyframes, shuffle_seed)
    names = [f"seed {seed}" for seed in seeds] + [f"style {i}" for i in range(num - len(seeds))]
    videos.require_ffmpeg()
    device = device_of(G) if device is None else torch.device(device)
    keyframes = _styles(G, seeds, ws, psi, class_idx, device)[table]
    trajectory = interpolate(keyframes, kind, wraps)

    G.synthesis(to_device(keyframes[0].reshape(-1, *keyframes.shape[3:])[:1], device))  # warm-up
    times = np.arange(len(keyframes) * w_frames) / w_frames
    frames = render_frames(
        G, trajectory, times, grid_dims, noise_mode, batch, device, np.array(names)[table]
    )
    settings = videos.writer_settings(Path(mp4).suffix.lower()) | video_kwargs
    _write(mp4, frames, len(times), settings)


def _styles(
    G: Generator,
    seeds: Sequence[int],
    ws: Tensor | None,
    psi: float,
    class_idx: int | None,
    device: torch.device,
) -> np.ndarray:
    """Styles of the seeds, then the given ones, `[N, num_ws, w_dim]`."""
    parts = [] if ws is None else [ws.cpu().numpy()]
    if seeds:
        table = np.asarray(seeds, np.int64)[:, None, None]
        parts.insert(0, map_keyframes(G, table, psi, class_idx, device)[:, 0, 0])
    return np.concatenate(parts)


def render_frames(
    G: Generator,
    trajectory: Callable[[np.ndarray], np.ndarray],
    times: np.ndarray,
    grid_dims: tuple[int, int],
    noise_mode: str,
    batch: int,
    device: torch.device,
    keyframe_names: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Compute frames one after the other, uint8 `[height * H, width * W, C]`.

    A batch may hold a part of a frame, or several frames.

    Raises:
        ValueError: If an image is not finite; the message has the names of the keyframes around it,
            from `keyframe_names` `[K, height, width]`.
    """
    width, height = grid_dims
    cells = width * height

    def origin(idx: int) -> str:
        """Name of an image for messages; images are counted over all frames and cells."""
        frame, cell = divmod(idx, cells)
        if keyframe_names is None:
            return f"frame {frame}"
        keyframe = int(times[frame])
        first, second = (
            keyframe_names[k % len(keyframe_names)].flat[cell] for k in (keyframe, keyframe + 1)
        )
        return f"frame {frame}, between {first} and {second}"

    done: list[Tensor] = []
    for start in range(0, len(times) * cells, batch):
        images_idx = np.arange(start, min(start + batch, len(times) * cells))
        first_frame, last_frame = images_idx[[0, -1]] // cells
        ws = trajectory(times[first_frame : last_frame + 1])  # [frames, height, width, ...]
        ws = ws.reshape(-1, *ws.shape[3:])[images_idx - first_frame * cells]
        img = G.synthesis(ws=to_device(ws, device), noise_mode=noise_mode)
        images.check_finite(img, [origin(i) for i in images_idx.tolist()])
        done.extend(images.to_uint8(img).cpu())
        while len(done) >= cells:
            frame = images.make_grid(torch.stack(done[:cells]), grid_dims)
            yield frame.permute(1, 2, 0).numpy()
            del done[:cells]


def layout_grid(
    img: Tensor,
    grid_w: int | None = None,
    grid_h: int = 1,
    float_to_uint8: bool = True,
    chw_to_hwc: bool = True,
    to_numpy: bool = True,
) -> Tensor | np.ndarray:
    """Lay images out row by row; a function of the published `gen_video`.

    Args:
        img: Images `[grid_w * grid_h, C, H, W]`.
        grid_w: Columns; `None` for as many as the images fill.
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


def _write(
    path: str | os.PathLike, frames: Iterator[np.ndarray], num: int, settings: dict[str, Any]
) -> None:
    with (
        tqdm(total=num, unit="frame", disable=None) as progress,
        videos.write_video(path, num, settings) as write,
    ):
        for frame in frames:
            write(frame)
            progress.update()
