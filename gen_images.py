"""Generate images from a trained network: one PNG per seed, or one contact sheet."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib import cli
from dnnlib.cli import parse_range as parse_range
from dnnlib.cli import parse_vec2 as parse_vec2
from dnnlib.errors import InputError
from network_files.load import load_network
from torch_utils import distributed, images, latents, npz
from torch_utils.latents import make_transform as make_transform


@click.command(cls=cli.Command)
@click.option(
    "--network", type=cli.Address(), metavar="PATH|URL", required=True, help="Trained network."
)
@click.option(
    "--seeds",
    type=cli.SeedRange(),
    metavar="LIST",
    help="Random seeds, e.g. 0,1,4-7; required without --projected-w.",
)
@cli.trunc_option
@cli.class_option
@cli.noise_mode_option
@click.option(
    "--translate",
    type=cli.Vec2(),
    metavar="x,y",
    default="0,0",
    show_default=True,
    help="Shift the content, in fractions of the image (StyleGAN3).",
)
@click.option(
    "--rotate",
    type=cli.FiniteFloat(),
    metavar="DEG",
    default=0,
    show_default=True,
    help="Rotate the content (StyleGAN3).",
)
@click.option("--outdir", type=cli.LocalPath(path_type=Path), required=True, help="Result folder.")
@click.option(
    "--batch",
    type=cli.WholeNumber(min=1),
    default=1,
    show_default=True,
    help="Images per pass; may change pixels by a rounding error.",
)
@click.option(
    "--grid", type=cli.Size(), metavar="WxH", help="Write one contact sheet, grid.png, instead."
)
@click.option(
    "--projected-w",
    metavar="FILE.npz",
    type=cli.LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="Take the styles `w` from a file instead of seeds.",
)
@cli.allow_untrusted_option
@cli.device_option
@cli.version_option
def main(
    network: str,
    seeds: list[int] | None,
    trunc: float,
    class_idx: int | None,
    noise_mode: Literal["const", "random", "none"],
    translate: tuple[float, float],
    rotate: float,
    outdir: Path,
    batch: int,
    grid: tuple[int, int] | None,
    projected_w: Path | None,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Generate images with a trained network.

    Writes seed0000.png and so on to --outdir. The network can be a pickle of this project, of the
    published StyleGAN2, StyleGAN2-ADA and StyleGAN3, or a safetensors file; see legacy.py.

    \b
    Examples:
      # Eight images, closer to the average than without --trunc
      python gen_images.py --network=net.pkl --seeds=0-7 --trunc=0.7 --outdir=out
      # A contact sheet of class 3
      python gen_images.py --network=net.pkl --seeds=0-7 --grid=4x2 --class=3 --outdir=out
      # Rotated by 30 degrees
      python gen_images.py --network=r.pkl --seeds=2 --rotate=30 --outdir=out
      # From projected styles
      python gen_images.py --network=net.pkl --projected-w=projected_w.npz --outdir=out
    """
    if seeds is None and projected_w is None:
        raise click.UsageError("Missing option '--seeds' (or '--projected-w').")
    if projected_w is not None and (seeds is not None or class_idx is not None or trunc != 1):
        warnings.warn(
            "--seeds, --class and --trunc have no effect with --projected-w", stacklevel=1
        )
    torch_device = distributed.resolve_device(device)
    distributed.configure_backends(torch_device)
    styles = None if projected_w is None else load_ws(projected_w)

    click.echo(f"Loading {network} ...")
    data = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = data["G_ema"].to(torch_device)
    written = generate_images(
        G,
        seeds,
        outdir,
        truncation_psi=trunc,
        class_idx=class_idx,
        noise_mode=noise_mode,
        translate=translate,
        rotate=rotate,
        batch=batch,
        grid=grid,
        ws=styles,
    )
    what = "1 file" if len(written) == 1 else f"{len(written)} files"
    click.echo(f"Wrote {what} to {outdir}")


@torch.no_grad()
def generate_images(
    G: torch.nn.Module,
    seeds: Sequence[int] | None,
    outdir: str | os.PathLike,
    *,
    truncation_psi: float = 1,
    class_idx: int | None = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    translate: tuple[float, float] = (0, 0),
    rotate: float = 0,
    batch: int = 1,
    grid: tuple[int, int] | None = None,
    ws: Tensor | None = None,
) -> list[Path]:
    """Write one PNG per seed, `seed0000.png` and so on, or all of them on one sheet.

    Everything is checked before the first image is computed; each file appears complete. A seed's
    image does not depend on the other seeds at `batch` 1. With larger batches it may differ by a
    rounding error: StyleGAN3 normalises styles over the batch, and convolutions may sum in another
    order.

    Args:
        G: A generator, on the device to use.
        seeds: One image each; not used with `ws`.
        outdir: Result folder, created if necessary.
        truncation_psi: 1 for the full variety, 0 for the average image.
        class_idx: Class to draw; conditional networks need it, others ignore it with a warning.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, fresh, or none.
        translate: Shift of the content in fractions of the image, for StyleGAN3.
        rotate: Rotation of the content in degrees, for StyleGAN3.
        batch: Images per pass.
        grid: `(width, height)`; writes `grid.png` instead, row by row, with unused cells at the end
            black.
        ws: Styles to draw in place of seeds, `[N, num_ws, w_dim]`; gives `proj00.png` and so on.

    Returns:
        The files written, in order.

    Raises:
        ValueError: If an argument does not suit the network, or an image is not finite.
        OSError: If `outdir` cannot be written.
    """
    if batch < 1:
        raise InputError(f"generate_images: `batch` must be at least 1, got {batch}")
    if ws is not None:
        _check_ws(G, ws)
        origins = [f"style {i} of --projected-w" for i in range(len(ws))]
        names = [f"proj{i:02d}.png" for i in range(len(ws))]
        batches = ws.split(batch)
    elif seeds is not None:
        _check_class(G, class_idx)
        if grid is None:
            seeds = list(dict.fromkeys(seeds))  # one file each
        origins = [f"seed {seed}" for seed in seeds]
        names = [f"seed{seed:04d}.png" for seed in seeds]
        batches = _map_seeds(G, seeds, class_idx, truncation_psi, batch)
    else:
        raise InputError("generate_images: give either `seeds` or `ws`")
    if len(names) == 0:
        raise InputError("generate_images: no images were asked for")
    if grid is not None and len(names) > grid[0] * grid[1]:
        raise InputError(f"--grid {grid[0]}x{grid[1]} is too small for {len(names)} images")
    matrix = make_transform(translate, rotate)
    if latents.transform_buffer(G) is None and not np.array_equal(matrix, np.eye(3)):
        warnings.warn(
            "--translate and --rotate have no effect: the network has no input transform",
            stacklevel=2,
        )
    outdir = prepare_outdir(outdir)

    device = _device_of(G)
    paths = [outdir / name for name in names]
    pending, cells, num_done = iter(paths), [], 0
    with latents.content_transform(G, matrix), tqdm(total=len(names), disable=None) as progress:
        for batch_ws in batches:
            img = G.synthesis(batch_ws.to(device, torch.float32), noise_mode=noise_mode)
            images.check_finite(img, origins[num_done:])
            num_done += len(img)
            for pixels in images.to_uint8(img).cpu():
                if grid is None:
                    images.save_png(pixels, next(pending))
                else:
                    cells.append(pixels)
                progress.update()
    if grid is None:
        return paths
    blanks = [torch.zeros_like(cells[0])] * (grid[0] * grid[1] - len(cells))
    images.save_png(images.make_grid(torch.stack(cells + blanks), grid), outdir / "grid.png")
    return [outdir / "grid.png"]


def load_ws(path: str | os.PathLike) -> Tensor:
    """Load the array `w` of an NPZ file, `[num_ws, w_dim]` or `[N, num_ws, w_dim]`, with the N."""
    try:
        ws = torch.from_numpy(npz.read_array(path, "w"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not an NPZ file with an array 'w' of numbers") from error
    if not ws.is_floating_point():
        raise InputError(f"{path}: 'w' must hold floating-point numbers, not {ws.dtype}")
    if not ws.isfinite().all():
        raise InputError(f"{path}: 'w' holds NaN or infinite values: --projected-w needs others")
    return ws[None] if ws.ndim == 2 else ws


def prepare_outdir(outdir: str | os.PathLike) -> Path:
    """Create the folder if it does not exist, and make sure that files can be written there."""
    try:
        os.makedirs(outdir, exist_ok=True)
        with tempfile.TemporaryFile(dir=outdir):
            pass
    except OSError as error:
        raise OSError(f"--outdir {outdir} cannot be written: {error.strerror}") from error
    return Path(outdir)


def _check_ws(G: torch.nn.Module, ws: Tensor) -> None:
    if ws.ndim != 3 or tuple(ws.shape[1:]) != (G.num_ws, G.w_dim):
        raise InputError(
            f"styles (--projected-w) have shape {list(ws.shape)}, "
            f"but this network takes [N, {G.num_ws}, {G.w_dim}]"
        )


def _check_class(G: torch.nn.Module, class_idx: int | None) -> None:
    latents.label_from_class(class_idx, G.c_dim)  # refuses what the network does not have
    if class_idx is not None and G.c_dim == 0:
        warnings.warn("--class has no effect: the network is unconditional", stacklevel=3)


def _map_seeds(
    G: torch.nn.Module,
    seeds: Sequence[int],
    class_idx: int | None,
    truncation_psi: float,
    batch: int,
) -> Iterator[Tensor]:
    device = _device_of(G)
    for start in range(0, len(seeds), batch):
        z = latents.z_from_seeds(seeds[start : start + batch], G.z_dim)
        c = latents.label_from_class(class_idx, G.c_dim, len(z), device)
        # Rounded before the transfer: some devices have no float64.
        yield G.mapping(z.to(torch.float32).to(device), c, truncation_psi=truncation_psi)


def _device_of(G: torch.nn.Module) -> torch.device:
    return next(itertools.chain(G.parameters(), G.buffers())).device


if __name__ == "__main__":
    main()
