"""Videos that move smoothly through the images of several seeds, in a grid."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.errors import InputError
from generation import layers
from generation.images import prepare_outdir
from generation.tracks import Curve, Track
from generation.trajectories import (
    Trajectory,
    assign_seeds,
    blend_classes,
    interpolate,
    interpolate_transforms,
    map_keyframes,
    move_along,
    to_device,
    truncate,
)
from torch_utils import images, latents, videos
from torch_utils.networks import Generator, device_of

MAX_MEASURED = 32  # frames from which the scale of a layer is found
NUM_CHECKED = 1000  # frames whose transforms are in memory at once


@torch.no_grad()
def gen_interp_video(
    G: Generator,
    mp4: str | os.PathLike | None,
    seeds: Sequence[int] | None,
    shuffle_seed: int | None = None,
    w_frames: int = 240,
    kind: str = "cubic",
    grid_dims: tuple[int, int] = (1, 1),
    num_keyframes: int | None = None,
    wraps: int = 2,
    psi: float | Curve = 1,
    device: torch.device | str | None = None,
    *,
    class_idx: int | Track | None = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    batch: int = 1,
    ws: Tensor | None = None,
    transforms: np.ndarray | None = None,
    directions: Sequence[tuple[Tensor, Curve]] = (),
    content: Curve | None = None,
    stabilize: bool = False,
    layer: str | None = None,
    frames: str | os.PathLike | None = None,
    **video_kwargs: Any,
) -> None:
    """Write a video of `num_keyframes * w_frames` frames; it appears complete or not at all.

    This thread computes frames and another one encodes them; few frames are in memory at a time.
    Curves get times from 0 to 1, see `generation.tracks`.

    Args:
        G: A generator.
        mp4: The file. Its extension decides the format: .mp4, .gif, .webp. `None` for `frames`
            alone.
        seeds: Random seeds of the keyframes, see `generation.trajectories.assign_seeds`; `None` for
            those of `ws` alone.
        shuffle_seed: Decides how seeds are shuffled; `None` keeps their order.
        w_frames: Frames from one keyframe to the next.
        kind: Kind of interpolation, see `generation.trajectories.interpolate`.
        grid_dims: Columns and rows of images in a frame.
        num_keyframes: Keyframes of each image; `None` uses each seed once.
        wraps: Repetitions of the keyframes before the first and after the last, so that the
            video ends where it begins.
        psi: Truncation of the seeds; 1 for the full variety, 0 for the average image.
        device: Where to compute; `None` for the device of `G`.
        class_idx: Class to draw; a track goes from class to class, see
            `generation.trajectories.blend_classes`. Conditional networks need it; others ignore it
            and warn.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, fresh for each image, or none.
        batch: Images per pass. More than 1 can change pixels by a rounding error. Images whose
            content is transformed differently are drawn in passes of their own.
        ws: Styles of more keyframes, after those of the seeds, `[N, num_ws, w_dim]`.
        transforms: Transform of the content of each style of `ws`, `[N, 3, 3]`; the content of
            seeds stays as it is. Networks without input transform ignore it.
        directions: What is added to all styles: for an amount of 1, `[num_ws, w_dim]`, and the
            amount.
        content: Transforms of all content, `[N, 3, 3]`, after those of `transforms`; see
            `generation.tracks.content_matrices`. For StyleGAN3.
        stabilize: Keep the content of StyleGAN3 in its place, see
            `torch_utils.latents.mean_input_transform`.
        layer: Show the first three channels of this layer, or the first one if there are fewer. In
            each channel, medium grey is the mean over up to 32 frames, which are spread evenly over
            the video, and black and white are three standard deviations from the mean. Pixels are
            repeated up to the size of the network's images.
        frames: Folder for the frames as PNG files, frame000000.png and so on, which keep
            transparency. It may not have such files before.
        video_kwargs: Keyword arguments of `imageio.get_writer`, such as `fps`, `bitrate`, `codec`.
            Unless `macro_block_size` is given, imageio scales MP4 to multiples of 16 pixels.

    Raises:
        ValueError: If an argument does not suit the network or another argument, or an image is
            not finite.
        RuntimeError: If the packages for writing videos are missing.
        OSError: If a file cannot be written.
    """
    if min(w_frames, batch, wraps) < 1:
        raise InputError("gen_interp_video: `w_frames`, `batch` and `wraps` must be at least 1")
    if mp4 is None and frames is None:
        raise InputError("gen_interp_video: give `mp4`, `frames`, or both")
    seeds = [] if seeds is None else list(seeds)
    num = len(seeds) + (0 if ws is None else len(ws))
    table = assign_seeds(range(num), grid_dims, num_keyframes, shuffle_seed)
    names = [f"seed {seed}" for seed in seeds] + [f"style {i}" for i in range(num - len(seeds))]
    if mp4 is not None:
        videos.require_ffmpeg()
    device = device_of(G) if device is None else torch.device(device)

    def path(psi: float, class_idx: int | None) -> Trajectory:
        keyframes = _styles(G, seeds, ws, psi, class_idx, device)[table]
        return interpolate(keyframes, kind, wraps)

    trajectory = _trajectory(path, psi, class_idx, len(table))
    if directions:
        offsets = [(offset.cpu().numpy(), amount) for offset, amount in directions]
        trajectory = move_along(trajectory, offsets, len(table))
    moves = None if transforms is None else _keyframe_transforms(len(seeds), transforms)[table]
    matrices = _content(G, moves, content, kind, wraps, len(table))

    first = trajectory(np.zeros(1))[0, 0, [0]]  # [1, num_ws, w_dim]
    _warm_up(G, to_device(first, device), layer)
    times = np.arange(len(table) * w_frames) / w_frames
    if matrices is not None:
        _check_matrices(matrices, times, np.array(names)[table])
    with latents.mean_input_transform(G) if stabilize else contextlib.nullcontext():
        pictures = render_frames(
            G,
            trajectory,
            times,
            grid_dims,
            noise_mode,
            batch,
            device,
            np.array(names)[table],
            matrices=matrices,
            layer=layer,
        )
        _write(mp4, frames, pictures, len(times), video_kwargs)


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


def _trajectory(
    path: Callable[[float, int | None], Trajectory],
    psi: float | Curve,
    class_idx: int | Track | None,
    num_keyframes: int,
) -> Trajectory:
    """The styles of the video, out of paths with one truncation and one class each."""
    if isinstance(psi, Track) and psi.constant is not None:
        psi = psi.constant
    if isinstance(class_idx, Track) and class_idx.constant is not None:
        class_idx = class_idx.constant

    def of_class(class_idx: int | None) -> Trajectory:
        if not callable(psi):
            return path(psi, class_idx)
        return truncate(path(0, class_idx), path(1, class_idx), psi, num_keyframes)

    if isinstance(class_idx, Track):
        return blend_classes(of_class, class_idx, num_keyframes)
    return of_class(class_idx)


def _keyframe_transforms(num_seeds: int, transforms: np.ndarray) -> np.ndarray:
    """Transforms of the content of seeds, which stays as it is, then the given ones."""
    return np.concatenate([np.broadcast_to(np.eye(3), (num_seeds, 3, 3)), transforms])


def _content(
    G: Generator,
    keyframes: np.ndarray | None,
    content: Curve | None,
    kind: str,
    wraps: int,
    num_keyframes: int,
) -> Trajectory | None:
    """Transforms of the content, `[N, height, width, 3, 3]` by time; None if it stays as it is."""
    if latents.transform_buffer(G) is None:
        if content is not None:
            raise InputError(
                "--translate, --rotate and --zoom are for StyleGAN3: this network has no input "
                "transform"
            )
        return None
    of_keyframes = None if keyframes is None else interpolate_transforms(keyframes, kind, wraps)
    if content is None or of_keyframes is None:
        return (
            of_keyframes if content is None else lambda t: _everywhere(content(t / num_keyframes))
        )
    return lambda t: _everywhere(content(t / num_keyframes)) @ of_keyframes(t)


def _everywhere(matrices: np.ndarray) -> np.ndarray:
    """Matrices of frames, `[N, 3, 3]`, for all images of a grid: `[N, 1, 1, 3, 3]`."""
    return matrices[:, None, None]


def _check_matrices(matrices: Trajectory, times: np.ndarray, keyframe_names: np.ndarray) -> None:
    """Refuse transforms of the content that cannot be drawn, before the first frame."""
    for start in range(0, len(times), NUM_CHECKED):
        found = matrices(times[start : start + NUM_CHECKED])
        bad = np.argwhere(~latents.have_inverse(found.reshape(len(found), -1, 3, 3)))
        if len(bad):
            frame, cell = bad[0].tolist()
            origin = _origin(start + frame, times[start + frame], cell, keyframe_names)
            raise InputError(
                f"{origin}: the transform of the content has no inverse; change the array "
                "'transform' of --latents, or --zoom"
            )


def _warm_up(G: Generator, ws: Tensor, layer: str | None) -> None:
    """Draw one image; refuse layers that the network does not have."""
    if layer is None:
        G.synthesis(ws)
    elif layer not in (names := layers.names(G.synthesis, ws)):
        raise InputError(
            f"--layer: this network has no layer {layer!r}; there are: {', '.join(names)}"
        )


def render_frames(
    G: Generator,
    trajectory: Trajectory,
    times: np.ndarray,
    grid_dims: tuple[int, int],
    noise_mode: str,
    batch: int,
    device: torch.device,
    keyframe_names: np.ndarray | None = None,
    *,
    matrices: Trajectory | None = None,
    layer: str | None = None,
) -> Iterator[np.ndarray]:
    """Compute frames one after the other, uint8 `[height * H, width * W, C]`.

    A batch may hold a part of a frame, or several frames.

    Args:
        G: A generator.
        trajectory: Styles by time, see `generation.trajectories.interpolate`.
        times: Time of each frame, in keyframes.
        grid_dims: Columns and rows of images in a frame.
        noise_mode: See `gen_interp_video`.
        batch: Images per pass.
        device: Where to compute.
        keyframe_names: Names for messages, `[K, height, width]`.
        matrices: Transforms of the content by time, `[N, height or 1, width or 1, 3, 3]`.
        layer: Name of a layer to show; see `gen_interp_video`.

    Raises:
        ValueError: If an image is not finite; the message has the names of the keyframes around it.
    """
    width, height = grid_dims
    cells = width * height
    scene = _Scene(G, trajectory, matrices, times, cells, batch, device, keyframe_names)
    draw = partial(_draw_image, G, noise_mode=noise_mode)
    if layer is not None:
        draw = partial(layers.output_of, G.synthesis, layer, noise_mode=noise_mode)
        num = min(len(times), MAX_MEASURED)
        measured = np.arange(num) * len(times) // num  # spread evenly
        scale = layers.measure(scene.images(measured, draw))
        draw = partial(_draw_layer, draw, scale, G.img_resolution)
    done: list[Tensor] = []
    for img in scene.images(np.arange(len(times)), draw):
        done.extend(images.to_uint8(img).cpu())
        while len(done) >= cells:
            frame = images.make_grid(torch.stack(done[:cells]), grid_dims)
            yield frame.permute(1, 2, 0).numpy()
            del done[:cells]


def _draw_image(G: Generator, ws: Tensor, noise_mode: str) -> Tensor:
    return G.synthesis(ws=ws, noise_mode=noise_mode)


def _draw_layer(
    draw: Callable[[Tensor], Tensor], scale: layers.Scale, size: int, ws: Tensor
) -> Tensor:
    """A layer as images; pixels are repeated as often as they fit into `size`."""
    img = scale(draw(ws))
    factor = max(size // img.shape[-1], 1)
    return img.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


@dataclass(frozen=True)
class _Scene:
    """What is to be seen at any time: the arguments of `render_frames`."""

    G: Generator
    trajectory: Trajectory
    matrices: Trajectory | None
    times: np.ndarray
    cells: int
    batch: int
    device: torch.device
    keyframe_names: np.ndarray | None

    def images(self, frames: np.ndarray, draw: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Batches of what `draw` makes of styles, over all cells of some frames in turn."""
        for start in range(0, len(frames) * self.cells, self.batch):
            idx = np.arange(start, min(start + self.batch, len(frames) * self.cells))
            ws = to_device(self._of_images(self.trajectory, frames, idx), self.device)
            if self.matrices is None:
                img = draw(ws)
            else:
                img = _draw_moved(self.G, draw, ws, self._of_images(self.matrices, frames, idx))
            images.check_finite(img, [self._name(frames, i) for i in idx.tolist()])
            yield img

    def _of_images(self, path: Trajectory, frames: np.ndarray, idx: np.ndarray) -> np.ndarray:
        """What a path has for some images, which are counted over all frames and cells."""
        first, last = idx[[0, -1]] // self.cells
        found = path(self.times[frames[first : last + 1]])  # [frames, height or 1, width or 1, ...]
        shape = found.shape[3:]
        found = np.broadcast_to(
            found.reshape(len(found), -1, *shape), (len(found), self.cells, *shape)
        )
        return found.reshape(-1, *shape)[idx - first * self.cells]

    def _name(self, frames: np.ndarray, idx: int) -> str:
        """Name of an image for messages."""
        place, cell = divmod(idx, self.cells)
        frame = int(frames[place])
        return _origin(frame, self.times[frame], cell, self.keyframe_names)


def _origin(frame: int, time: float, cell: int, keyframe_names: np.ndarray | None) -> str:
    """Where an image of a frame comes from, for messages; `keyframe_names` `[K, height, width]`."""
    if keyframe_names is None:
        return f"frame {frame}"
    first, second = (
        keyframe_names[k % len(keyframe_names)].flat[cell] for k in (int(time), int(time) + 1)
    )
    return f"frame {frame}, between {first} and {second}"


def _draw_moved(
    G: Generator, draw: Callable[[Tensor], Tensor], ws: Tensor, matrices: np.ndarray
) -> Tensor:
    """Draw images with content transforms `[N, 3, 3]`, in one pass where these are equal."""
    parts = []
    for _, group in itertools.groupby(range(len(ws)), key=lambda i: matrices[i].tobytes()):
        same = list(group)
        with latents.content_transform(G, matrices[same[0]]):
            parts.append(draw(ws[same]))
    return torch.cat(parts)


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
    path: str | os.PathLike | None,
    folder: str | os.PathLike | None,
    frames: Iterator[np.ndarray],
    num: int,
    settings: dict[str, Any],
) -> None:
    """Write frames as a video, as PNG files in a folder, or both."""
    with contextlib.ExitStack() as files:
        progress = files.enter_context(tqdm(total=num, unit="frame", disable=None))
        writers = []
        if folder is not None:
            videos.refuse_old_frames(folder)
            outdir = prepare_outdir(folder, option="--frames")
            writers.append(files.enter_context(videos.write_frames(outdir)))
        if path is not None:
            settings = videos.writer_settings(Path(path).suffix.lower()) | settings
            writers.append(files.enter_context(videos.write_video(path, num, settings)))
        for frame in frames:
            for write in writers:
                write(frame)
            progress.update()
