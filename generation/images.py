"""Images of seeds or of given styles, as PNG files."""

import dataclasses
import itertools
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.errors import InputError
from generation import latent_files
from torch_utils import images, latents
from torch_utils.networks import Generator, device_of


@dataclass(frozen=True)
class Settings:
    """How to draw images.

    Attributes:
        truncation_psi: 1 for the full variety, 0 for the average image.
        class_idx: Class to draw; several take turns, from image to image. Conditional networks need
            it; others ignore it and warn.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, fresh, or none.
        translate: Shift of the content in fractions of the image, for StyleGAN3.
        rotate: Rotation of the content in degrees, for StyleGAN3.
        batch: Images per pass.
    """

    truncation_psi: float = 1
    class_idx: int | Sequence[int] | None = None
    noise_mode: Literal["const", "random", "none"] = "const"
    translate: tuple[float, float] = (0, 0)
    rotate: float = 0
    batch: int = 1


@torch.no_grad()
def generate_images(
    G: Generator,
    seeds: Sequence[int] | None,
    outdir: str | os.PathLike,
    *,
    grid: tuple[int, int] | None = None,
    ws: Tensor | None = None,
    transforms: np.ndarray | None = None,
    offset: Tensor | None = None,
    **settings: Any,
) -> list[Path]:
    """Write one PNG per seed, `seed0000.png` and so on, or all images on one sheet.

    All arguments are checked before the first image is computed, and each file appears complete. At
    `batch` 1 the image of a seed does not depend on the other seeds. At larger batches it may
    differ by a rounding error: StyleGAN3 normalises styles over the batch, and convolutions may sum
    in another order.

    Args:
        G: A generator, on the device to use.
        seeds: One image each; not used with `ws`.
        outdir: Result folder, created if necessary.
        grid: `(width, height)`: write `grid.png` instead, row by row. Unused cells at the end are
            black.
        ws: Styles to draw in place of seeds, `[N, num_ws, w_dim]`; gives `proj00.png` and so on.
        transforms: Transform of the content of each style of `ws`, `[N, 3, 3]`, which comes before
            `translate` and `rotate`; the images are drawn one by one.
        offset: Added to the styles of all images, `[num_ws, w_dim]`, such as a direction.
        **settings: Fields of `Settings`.

    Returns:
        The files written, in order.

    Raises:
        ValueError: If an argument does not suit the network, or an image is not finite.
        OSError: If `outdir` cannot be written.
    """
    options = Settings(**settings)
    if options.batch < 1:
        raise InputError(f"generate_images: `batch` must be at least 1, got {options.batch}")
    if seeds is not None and ws is None and grid is None:
        seeds = list(dict.fromkeys(seeds))  # one file each
    if transforms is not None:
        if ws is None or transforms.shape != (len(ws), 3, 3):
            raise InputError(
                f"generate_images: `transforms` have shape {list(transforms.shape)}, not one for "
                "each style of `ws`"
            )
        options = dataclasses.replace(options, batch=1)
    batches, names, origins = _styles(G, seeds, ws, options)
    if len(names) == 0:
        raise InputError("generate_images: no images were asked for")
    if offset is not None:
        moved = offset.to(device_of(G), torch.float32)
        batches = (styles.to(moved) + moved for styles in batches)
    if grid is not None and len(names) > grid[0] * grid[1]:
        raise InputError(f"--grid {grid[0]}x{grid[1]} is too small for {len(names)} images")
    matrix = _content_matrix(G, options)
    matrices = itertools.repeat(matrix) if transforms is None else matrix @ transforms
    outdir = prepare_outdir(outdir)
    pixels = _draw(G, zip(batches, matrices, strict=False), origins, options.noise_mode)
    if grid is None:
        return _save_each(pixels, [outdir / name for name in names])
    return [_save_sheet(pixels, grid, outdir / "grid.png")]


@torch.no_grad()
def draw_styles(
    G: Generator,
    ws: Tensor,
    names: Sequence[str],
    noise_mode: Literal["const", "random", "none"] = "const",
    batch: int = 1,
) -> Iterator[Tensor]:
    """Draw styles `[N, num_ws, w_dim]`, with a progress bar: images uint8 `[C, H, W]`, in order.

    Args:
        G: A generator, on the device to use.
        ws: The styles.
        names: What the styles are, for messages.
        noise_mode: As for `Settings`.
        batch: Images per pass.

    Raises:
        ValueError: If an image is not finite; the message has its name.
    """
    batches = zip(ws.split(batch), itertools.repeat(np.eye(3)), strict=False)
    yield from _draw(G, batches, names, noise_mode)


def map_seeds(
    G: Generator, seeds: Sequence[int], class_idx: int | Sequence[int] | None, **mapping_kwargs: Any
) -> Tensor:
    """Styles of seeds, `[N, num_ws, w_dim]`; `class_idx` is one class, or one for each seed."""
    device = device_of(G)
    z = latents.z_from_seeds(seeds, G.z_dim)
    if isinstance(class_idx, Sequence):
        c = torch.cat([latents.label_from_class(idx, G.c_dim, device=device) for idx in class_idx])
    else:
        c = latents.label_from_class(class_idx, G.c_dim, len(z), device)
    # Rounded before the transfer: some devices have no float64.
    return G.mapping(z.to(torch.float32).to(device), c, **mapping_kwargs)


def load_ws(path: str | os.PathLike) -> Tensor:
    """The styles of a file of latents, `[N, num_ws, w_dim]`; see `generation.latent_files`."""
    return latent_files.load(path).ws


def prepare_outdir(outdir: str | os.PathLike, option: str = "--outdir") -> Path:
    """Create the folder if it does not exist, and make sure that files can be written there."""
    path = Path(outdir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(f"{option} {outdir} cannot be written: {error.strerror}") from error
    return path


def check_class(G: Generator, class_idx: int | Sequence[int] | None) -> None:
    """Refuse classes that the network does not have; warn if the network has no classes.

    Raises:
        ValueError: If the class is missing or does not exist.
    """
    c_dim = getattr(G, "c_dim", 0)
    if isinstance(class_idx, Sequence) and len(class_idx) == 0:
        raise InputError("generate_images: `class_idx` is an empty list; give a class, or None")
    for idx in class_idx if isinstance(class_idx, Sequence) else [class_idx]:
        latents.label_from_class(idx, c_dim)
    if class_idx is not None and c_dim == 0:
        warnings.warn("--class has no effect: the network is unconditional", stacklevel=4)


def _styles(
    G: Generator, seeds: Sequence[int] | None, ws: Tensor | None, options: Settings
) -> tuple[Iterable[Tensor], list[str], list[str]]:
    """Batches of styles; for each style the name of its file, and its name in messages."""
    if ws is not None:
        latent_files.check_shape(ws, G, "--latents")
        names = [f"proj{i:02d}.png" for i in range(len(ws))]
        origins = [f"style {i} of --latents" for i in range(len(ws))]
        return ws.split(options.batch), names, origins
    if seeds is None:
        raise InputError("generate_images: give either `seeds` or `ws`")
    check_class(G, options.class_idx)
    if isinstance(options.class_idx, Sequence) and len(seeds) < len(options.class_idx):
        warnings.warn(
            f"--class: {len(seeds)} images show only the first {len(seeds)} of "
            f"{len(options.class_idx)} classes; give more --seeds",
            stacklevel=3,
        )
    names = [f"seed{seed:04d}.png" for seed in seeds]
    return _map_batches(G, seeds, options), names, [f"seed {seed}" for seed in seeds]


def _content_matrix(G: Generator, options: Settings) -> np.ndarray:
    matrix = latents.make_transform(options.translate, options.rotate)
    if latents.transform_buffer(G) is None and not np.array_equal(matrix, np.eye(3)):
        warnings.warn(
            "--translate and --rotate have no effect: the network has no input transform",
            stacklevel=3,
        )
    return matrix


def _map_batches(G: Generator, seeds: Sequence[int], options: Settings) -> Iterator[Tensor]:
    given = options.class_idx
    for start in range(0, len(seeds), options.batch):
        chunk = seeds[start : start + options.batch]
        classes = given
        if isinstance(given, Sequence):
            classes = [given[idx % len(given)] for idx in range(start, start + len(chunk))]
        yield map_seeds(G, chunk, classes, truncation_psi=options.truncation_psi)


def _draw(
    G: Generator,
    batches: Iterable[tuple[Tensor, np.ndarray]],
    origins: Sequence[str],
    noise_mode: str,
) -> Iterator[Tensor]:
    """Images of styles one by one, with a progress bar: uint8 `[C, H, W]` on the CPU.

    A batch is styles and the transform of the content in all of its images.
    """
    device, num_done = device_of(G), 0
    with tqdm(total=len(origins), disable=None) as progress:
        for ws, matrix in batches:
            with latents.content_transform(G, matrix):
                img = G.synthesis(ws.to(device, torch.float32), noise_mode=noise_mode)
            images.check_finite(img, origins[num_done:])
            num_done += len(img)
            for pixels in images.to_uint8(img).cpu():
                yield pixels
                progress.update()


def _save_each(pixels: Iterator[Tensor], paths: list[Path]) -> list[Path]:
    for image, path in zip(pixels, paths, strict=True):
        images.save_png(image, path)
    return paths


def _save_sheet(pixels: Iterator[Tensor], grid: tuple[int, int], path: Path) -> Path:
    cells = list(pixels)
    blanks = [torch.zeros_like(cells[0])] * (grid[0] * grid[1] - len(cells))
    images.save_png(images.make_grid(torch.stack(cells + blanks), grid), path)
    return path
