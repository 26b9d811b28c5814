"""A command line that makes the same picture as a view."""

import os
import shlex
import subprocess

import numpy as np

from dnnlib.cli import MAX_SEED
from dnnlib.text import shortest_number
from viz.renderer import SEEDS_PER_ROW, NetworkInfo, View


def gen_images_command(
    view: View, info: NetworkInfo | None = None, num_latents: int = 1
) -> tuple[str, list[str]]:
    """The `gen_images.py` line for a view.

    Args:
        view: The view; it must have a network.
        info: Facts about the network. Options that do not affect it are left out.
        num_latents: Number of images in the file of latents.

    Returns:
        The line, for the shell of this system, and the names of settings that it cannot express.
    """
    x, y = int(np.rint(view.x)), int(np.rint(view.y))
    args = [f"--network={view.network}"]
    if view.latents is not None:
        args.append(f"--latents={view.latents}")
    else:
        args.append(f"--seeds={(x + SEEDS_PER_ROW * y) % (MAX_SEED + 1)}")
        if view.truncation_psi != 1:
            args.append(f"--trunc={shortest_number(view.truncation_psi)}")
        if info is not None and info.c_dim > 0:
            args.append(f"--class={view.class_idx}")
    for name, amount in view.amounts:
        args.append(f"--direction={view.directions}:{name}={shortest_number(amount)}")
    if view.noise_mode != "const" and (info is None or info.has_noise):
        args.append(f"--noise-mode={view.noise_mode}")
    if info is None or info.has_transform:
        if view.translate != (0, 0):
            args.append(f"--translate={','.join(map(shortest_number, view.translate))}")
        if view.rotate != 0:
            args.append(f"--rotate={shortest_number(view.rotate)}")
    args.append("--outdir=out")
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(["python", "gen_images.py", *args]), _left_out(view, num_latents)


def _left_out(view: View, num_latents: int) -> list[str]:
    is_seed = view.latents is None
    parts = {
        "the choice of the image (Save latent)": not is_seed and num_latents > 1,
        "the place between seeds": is_seed
        and (view.x != np.rint(view.x) or view.y != np.rint(view.y)),
        "style mixing": bool(view.mix_layers),
        "the layers of directions": bool(view.amounts) and view.direction_layers is not None,
        "dragged points (Save latent)": view.drag is not None
        and (view.drag.num_steps > 0 or view.drag.start is not None),
        "the cutoff of truncation": is_seed
        and view.truncation_cutoff is not None
        and view.truncation_psi != 1,
        "the seed of the noise": view.noise_mode == "random",
        "Untransform": view.untransform,
        "the layer": view.layer is not None,
        "the spectrum": view.fft,
        "brightness and colours": view.gain_db != 0
        or view.normalize
        or (view.level, view.window) != (0, 2)
        or view.color_map != "grey",
        "Force FP32": view.force_fp32,
    }
    return [name for name, is_used in parts.items() if is_used]
