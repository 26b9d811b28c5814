"""Find the style of a target image: pixel loss, and noise that is kept free of structure."""

import copy
import json
import os

import click
import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from training.dataset import load_target

import dnnlib
import legacy


def noise_penalty(noise):
    """Correlation of a noise image with itself, shifted by one pixel, on all its scales."""
    penalty = 0.0
    while True:
        penalty = penalty + sum((noise * noise.roll(1, dim)).mean() ** 2 for dim in (0, 1))
        if noise.shape[0] <= 8:
            return penalty
        noise = F.avg_pool2d(noise[None, None], 2)[0, 0]


def project(G, target, num_steps, rate):
    """Styles `[1, num_ws, w_dim]` and the pixel losses of all steps."""
    G = copy.deepcopy(G).eval().requires_grad_(False).float()
    z = torch.from_numpy(np.random.RandomState(123).randn(200, G.z_dim)).float()
    samples = G.mapping(z, torch.zeros([200, G.c_dim]))[:, :1]  # [200, 1, w_dim]
    w_avg = samples.mean(0, keepdim=True)
    w_std = (samples - w_avg).square().sum().div(200).sqrt()

    noises = {name: buf for name, buf in G.synthesis.named_buffers() if "noise_const" in name}
    w = w_avg.clone().requires_grad_(True)
    for noise in noises.values():
        noise.copy_(torch.randn_like(noise))
        noise.requires_grad_(True)
    optimizer = torch.optim.Adam([w, *noises.values()], lr=rate, betas=(0.9, 0.999))

    losses = []
    for step in range(num_steps):
        t = step / num_steps
        optimizer.param_groups[0]["lr"] = rate * min(1, (1 - t) / 0.25, (t + 0.01) / 0.05)
        jitter = torch.randn_like(w) * w_std * 0.02 * max(0, 1 - t / 0.75) ** 2
        ws = (w + jitter).repeat([1, G.mapping.num_ws, 1])
        image = (G.synthesis(ws, noise_mode="const") + 1) * 127.5
        pixel_loss = (image - target).square().mean() / 127.5**2
        loss = pixel_loss + 1e2 * sum(noise_penalty(noise) for noise in noises.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(pixel_loss.detach()))
        with torch.no_grad():
            for noise in noises.values():
                noise -= noise.mean()
                noise *= noise.square().mean().rsqrt()
    return w.detach().repeat([1, G.mapping.num_ws, 1]), losses


@click.command()
@click.option("--network", "network_pkl", required=True)
@click.option("--target", "target_fname", required=True)
@click.option("--num-steps", type=int, default=1000)
@click.option("--learning-rate", type=float, default=0.1)
@click.option("--outdir", required=True)
def main(network_pkl, target_fname, num_steps, learning_rate, outdir):
    """Project an image."""
    torch.manual_seed(303)
    with dnnlib.util.open_url(network_pkl) as f:
        G = legacy.load_network_pkl(f)["G_ema"]
    target = load_target(target_fname, G.img_resolution, G.img_channels)
    ws, losses = project(G, target, num_steps, learning_rate)
    os.makedirs(outdir, exist_ok=True)
    image = (G.synthesis(ws, noise_mode="const") + 1) * 127.5
    image = image.permute(0, 2, 3, 1).clamp(0, 255).to(torch.uint8)[0].cpu().numpy()
    PIL.Image.fromarray(image.squeeze()).save(f"{outdir}/proj.png")
    np.savez(f"{outdir}/projected_w.npz", w=ws.cpu().numpy())
    with open(f"{outdir}/losses.json", "w") as f:
        json.dump(losses, f)


if __name__ == "__main__":
    main()
