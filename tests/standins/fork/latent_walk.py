"""Frames of a walk through styles; the path is a network of this program, saved beside them."""

import os
import pickle

import click
import numpy as np
import PIL.Image
import torch

import dnnlib
import legacy
from torch_utils import misc, persistence


@click.command()
@click.option("--network", "network_pkl", required=True)
@click.option("--seeds", required=True)
@click.option("--frames", "num_frames", type=int, default=24)
@click.option("--trunc", "truncation_psi", type=float, default=1)
@click.option("--outdir", required=True)
def main(network_pkl, seeds, num_frames, truncation_psi, outdir):
    """Write the frames of a walk."""
    seeds = [int(seed) for seed in seeds.split(",")]
    with dnnlib.util.open_url(network_pkl) as f:
        G = legacy.load_network_pkl(f)["G_ema"].eval().requires_grad_(False)
    z = torch.from_numpy(np.stack([np.random.RandomState(s).randn(G.z_dim) for s in seeds]))
    ws = G.mapping(z, torch.zeros([len(seeds), G.c_dim]), truncation_psi=truncation_psi)

    kwargs = dnnlib.EasyDict(class_name="training.networks.Generator", keys=ws[:, 0])
    path = dnnlib.util.construct_class_by_name(**kwargs)
    assert persistence.is_persistent(path) and not isinstance(G, type(path))
    os.makedirs(outdir, exist_ok=True)
    with open(f"{outdir}/path.pkl", "wb") as f:
        pickle.dump(dict(path=path, G_ema=G), f)

    if hasattr(G.synthesis, "input"):  # StyleGAN3 can move its pictures
        G.synthesis.input.transform.copy_(torch.eye(3))
    with torch.inference_mode():
        misc.print_module_summary(path, [torch.zeros([1])])
        for idx in range(num_frames):
            w = path(torch.tensor([idx / num_frames]))
            image = G.synthesis(w[:, None].repeat([1, G.num_ws, 1]), noise_mode="none")[0]
            pixels = (image.permute(1, 2, 0) * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
            PIL.Image.fromarray(pixels.squeeze()).save(f"{outdir}/frame{idx:04d}.png")
    print(f"Wrote {num_frames} frames, {dnnlib.util.format_time(num_frames / 24)} at 24 fps")


if __name__ == "__main__":
    main()
