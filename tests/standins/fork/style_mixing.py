"""A grid of images: coarse styles of the rows, some styles of the columns."""

import os

import click
import numpy as np
import PIL.Image
import torch

import dnnlib
import legacy
from torch_utils import misc


@click.command()
@click.option("--network", "network_pkl", required=True)
@click.option("--rows", required=True)
@click.option("--cols", required=True)
@click.option("--styles", default="2-3")
@click.option("--trunc", "truncation_psi", type=float, default=1)
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const")
@click.option("--outdir", required=True)
def main(network_pkl, rows, cols, styles, truncation_psi, noise_mode, outdir):
    """Mix styles."""
    rows, cols = ([int(seed) for seed in text.split(",")] for text in (rows, cols))
    first, last = (int(idx) for idx in styles.split("-"))
    with dnnlib.util.open_url(network_pkl) as f:
        G = legacy.load_network_pkl(f)["G_ema"].requires_grad_(False)
    options = dnnlib.EasyDict(truncation_psi=truncation_psi)

    seeds = sorted({*rows, *cols})
    z = np.stack([np.random.RandomState(seed).randn(G.z_dim) for seed in seeds])
    all_w = G.mapping(torch.from_numpy(z), torch.zeros([len(seeds), G.c_dim]), **options)
    misc.assert_shape(all_w, [len(seeds), G.num_ws, G.w_dim])
    w_of = dict(zip(seeds, all_w, strict=True))

    def picture(w):
        image = G.synthesis(w[None], noise_mode=noise_mode).permute(0, 2, 3, 1)[0]
        return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8).cpu().numpy()

    size = G.img_resolution
    shape = ((len(rows) + 1) * size, (len(cols) + 1) * size, G.img_channels)
    canvas = np.zeros(shape, np.uint8)
    os.makedirs(outdir, exist_ok=True)
    for y, row in enumerate([None, *rows]):
        for x, col in enumerate([None, *cols]):
            if row is None and col is None:
                continue
            w = w_of[col if row is None else row].clone()
            if row is not None and col is not None:
                w[first : last + 1] = w_of[col][first : last + 1]
            image = picture(w)
            canvas[y * size : (y + 1) * size, x * size : (x + 1) * size] = image
            if row is not None and col is not None:
                PIL.Image.fromarray(image.squeeze()).save(f"{outdir}/{row}-{col}.png")
    PIL.Image.fromarray(canvas.squeeze()).save(f"{outdir}/grid.png")


if __name__ == "__main__":
    main()
