"""One picture of all layers of a network, and of the spectrum of its image."""

import math
import os

import click
import numpy as np
import PIL.Image

import dnnlib
import legacy
from viz.renderer import Renderer

CELL = 64  # pixels


@click.command()
@click.option("--network", "network_pkl", required=True)
@click.option("--seed", type=int, default=0)
@click.option("--trunc", "trunc_psi", type=float, default=1)
@click.option("--from-module", is_flag=True)
@click.option("--outdir", required=True)
def main(network_pkl, seed, trunc_psi, from_module, outdir):
    """Draw the layers."""
    args = dnnlib.EasyDict(w0_seeds=[[seed, 1]], trunc_psi=trunc_psi, trunc_cutoff=None)
    if from_module:
        with dnnlib.util.open_url(network_pkl) as f:
            args.G = legacy.load_network_pkl(f)["G_ema"]
    else:
        args.pkl = network_pkl
    renderer = Renderer()
    first = renderer.render(**args)
    views = [dnnlib.EasyDict(), dnnlib.EasyDict(fft_show=True, fft_range_db=40)]
    for layer in first.layers:
        print(f"{layer.name:<24}{list(layer.shape)!s:<20}{layer.dtype}")
        views.append(
            dnnlib.EasyDict(
                layer_name=layer.name, sel_channels=1, base_channel=0, img_normalize=True
            )
        )
    num_cols = math.ceil(math.sqrt(len(views)))
    num_rows = math.ceil(len(views) / num_cols)
    canvas = PIL.Image.new("RGB", (num_cols * CELL, num_rows * CELL))
    for idx, view in enumerate(views):
        res = renderer.render(**args, **view, force_fp32=True, noise_mode="const")
        if res.error is not None:
            raise click.ClickException(res.error)
        pixels = res.image[:, :, 0] if res.image.shape[2] == 1 else res.image
        cell = PIL.Image.fromarray(np.asarray(pixels)).resize((CELL, CELL), PIL.Image.NEAREST)
        canvas.paste(cell, (idx % num_cols * CELL, idx // num_cols * CELL))
    os.makedirs(outdir, exist_ok=True)
    canvas.save(f"{outdir}/layers.png")
    np.save(f"{outdir}/image.npy", first.image)
    print(f"{len(first.layers)} layers, mean {first.stats.mean:.3f}, std {first.stats.std:.3f}")


if __name__ == "__main__":
    main()
