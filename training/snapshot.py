"""What a run writes at its snapshots: sheets of generated images, and network pickles."""

import copy
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib import heartbeat
from dnnlib.heartbeat import BeatingFile
from dnnlib.util import open_atomic
from torch_utils.distributed import Worker
from torch_utils.images import save_image_grid
from torch_utils.misc import are_finite, check_ddp_consistency, nonfinite_tensors
from training.snapshot_grid import setup_snapshot_image_grid


class SampleSheet:
    """Images of the same latents and labels, drawn again and again while the generator learns.

    Args:
        training_set: Dataset that the labels are taken from.
        reals_path: Where to write the real images that belong to the labels; `None` leaves the
            sheet of them as it is.
        z_dim: Size of the latents.
        batch_gpu: Images per pass.
        device: Device of the generator.
    """

    def __init__(
        self,
        training_set,
        reals_path: Path | None,
        z_dim: int,
        batch_gpu: int,
        device: torch.device,
    ) -> None:
        self.grid_size, real_images, labels = setup_snapshot_image_grid(training_set)
        if reals_path is not None:
            save_image_grid(real_images, reals_path, drange=(0, 255), grid_size=self.grid_size)
        self.z = torch.randn([len(labels), z_dim], device=device).split(batch_gpu)
        self.c = torch.from_numpy(labels).to(device).split(batch_gpu)

    @torch.no_grad()
    def save_fakes(self, G_ema: torch.nn.Module, path: Path) -> None:
        """Write the images that a generator makes of the latents, with constant noise.

        A sheet can hold a thousand images: a progress bar on a terminal shows how far it is. What
        is not finite becomes black, and a notice is printed: a sheet is not worth a run.
        """
        batches = tqdm(
            zip(self.z, self.c, strict=True), path.name, len(self.z), leave=False, disable=None
        )
        parts: list[Tensor] = []
        for z, c in batches:
            parts.append(G_ema(z, c, noise_mode="const").cpu())
            heartbeat.beat()  # the other processes wait
        img = torch.cat(parts)
        if num_bad := len(img) - int(are_finite(img).count_nonzero()):
            print(
                f"Note: {num_bad} of {len(img)} images of {path.name} hold NaN or infinite values, "
                "which are black there."
            )
            img = img.nan_to_num(nan=-1, posinf=-1, neginf=-1)
        save_image_grid(img, path, drange=(-1, 1), grid_size=self.grid_size)


def save_network_pickle(
    worker: Worker,
    path: Path,
    networks: dict[str, torch.nn.Module | None],
    training_set_kwargs: dict[str, Any],
    dataset_fingerprint: dict[str, Any] | None = None,
) -> None:
    """Write networks as a pickle that carries their source; all processes take part.

    Args:
        worker: This process; the main one writes.
        path: The pickle, which appears when it is complete.
        networks: `G`, `D`, `G_ema` and `augment_pipe`, on any device; they are left as they are.
        training_set_kwargs: How the dataset was constructed.
        dataset_fingerprint: Which data it had, if that is known: see `data.fingerprint`.

    Raises:
        RuntimeError: If the processes' networks differ.
    """
    if worker.size > 1:
        for module in networks.values():
            if module is not None:
                check_ddp_consistency(module)
    if not worker.is_main:
        return
    data: dict[str, Any] = {
        name: None if module is None else copy.deepcopy(module).eval().requires_grad_(False).cpu()
        for name, module in networks.items()
    }
    damaged = {
        name: len(tensors)
        for name, module in data.items()
        if module is not None and (tensors := nonfinite_tensors(module))
    }
    if damaged:
        which = ", ".join(f"{name} ({num} tensors)" for name, num in damaged.items())
        print(f"Note: {path.name} has NaN or infinite values in {which}.")
    data["training_set_kwargs"] = dict(training_set_kwargs)
    if dataset_fingerprint is not None:
        # Not among the kwargs, with which other programs construct the dataset.
        data["dataset_fingerprint"] = dict(dataset_fingerprint)
    with open_atomic(path) as f:
        pickle.dump(data, BeatingFile(f))
