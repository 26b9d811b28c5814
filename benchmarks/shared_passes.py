"""Time of several metrics in one call, which share their images, beside each metric alone."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmarks import timing
from metrics import metric_main
from metrics.inception import InceptionV3
from torch_utils.distributed import Worker
from torch_utils.networks import Generator

NAMES = ("fid50k_full", "kid50k_full", "pr50k3_full", "is50k")
NUM_REAL = 16
VGG_CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
HEADER = ("metrics", "s", "spread", "runs")


@dataclass(frozen=True)
class Comparison:
    """Durations of metrics alone, by name, and of all of them in one call."""

    alone: dict[str, timing.Timing]
    together: timing.Timing

    @property
    def ratio(self) -> float:
        """Duration of all metrics, by the duration of the longest metric alone."""
        return self.together.median_sec / max(time.median_sec for time in self.alone.values())

    def rows(self) -> list[list[str]]:
        """Rows of a table under `HEADER`."""
        named = [*self.alone.items(), ("together", self.together)]
        return [
            [name, f"{time.median_sec:.4g}", f"{time.spread:.0%}", str(len(time.runs_sec))]
            for name, time in named
        ]


def measure(
    G: Generator,
    device: torch.device,
    num: int,
    num_runs: int | None = None,
    is_small: bool = False,
) -> Comparison:
    """Time metrics whose features of real images are cached, with random feature networks.

    Args:
        G: An unconditional generator.
        device: Where to compute.
        num: Images to generate.
        num_runs: Timed runs, see `timing.measure`.
        is_small: Take feature networks of one layer with few features.

    Raises:
        RuntimeError: If metrics in one call differ from the same metrics alone.
    """
    with torch.no_grad():  # compiles kernels, which stay in the usual cache
        G(torch.zeros([1, G.z_dim], device=device), torch.zeros([1, G.c_dim], device=device))
    with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder)):
        options = _options(Path(folder), G, device, num, is_small)
        expected = _evaluate(NAMES, options)  # fills the cache, loads the feature networks
        alone = {}
        for name in NAMES:
            one = functools.partial(_evaluate, [name], options)
            alone[name] = timing.measure(one, device, num_runs, num_warmup=0)
        together = timing.measure(
            functools.partial(_evaluate, NAMES, options), device, num_runs, num_warmup=0
        )
    values = {key: value for time in alone.values() for key, value in time.result.items()}
    if device.type == "cpu" and not values == together.result == expected:
        raise RuntimeError(f"metrics in one call are {together.result}, alone they are {values}")
    return Comparison(alone, together)


class Vgg16(nn.Module):
    """The layers of VGG16 (Simonyan & Zisserman 2015) up to its 4096 features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        last = 3
        for channels in VGG_CHANNELS:
            if channels == 0:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(last, channels, 3, padding=1), nn.ReLU()]
                last = channels
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Sequential(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Linear(4096, 4096))

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        """Features `[N, 4096]` of uint8 images."""
        x = F.interpolate(img / 127.5 - 1, [224, 224], mode="bilinear")
        return self.fc(self.layers(x).flatten(1))


class OneLayer(nn.Module):
    """Answers as the feature networks do, with few features."""

    def __init__(self, num_features: int = 64) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, num_features)

    def forward(
        self, img: Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        """Features `[N, num_features]` of uint8 images, or else probabilities."""
        x = self.fc(F.adaptive_avg_pool2d(img / 127.5 - 1, 8).flatten(1))
        return x if return_features else x.softmax(dim=1)


def _evaluate(names: Sequence[str], options: dict[str, Any]) -> dict[str, float]:
    passes = metric_main.plan(names, **options)
    values: dict[str, float] = {}
    for name in names:
        values |= metric_main.calc_metric(name, passes=passes, **options).results
    return values


def _options(
    folder: Path, G: Generator, device: torch.device, num: int, is_small: bool
) -> dict[str, Any]:
    """Arguments of `calc_metric`, with feature networks and real images in a folder."""
    torch.manual_seed(0)
    files = dict(inception=folder / "inception.pt", vgg16=folder / "vgg16.pt")
    if is_small:
        torch.jit.script(OneLayer()).save(files["inception"])
    else:
        torch.save(InceptionV3().state_dict(), files["inception"])
    torch.jit.script(OneLayer() if is_small else Vgg16()).save(files["vgg16"])
    rng = np.random.RandomState(0)
    (folder / "images").mkdir()
    for idx in range(NUM_REAL):
        pixels = rng.randint(256, size=[G.img_resolution, G.img_resolution, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{idx}.png")
    return dict(
        G=G,
        dataset_kwargs=dict(
            class_name="training.dataset.ImageFolderDataset", path=str(folder / "images")
        ),
        worker=Worker(device=device),
        num=num,
        detectors={name: str(path) for name, path in files.items()},
        allow_untrusted=True,  # TorchScript
    )


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Let the cache be in a folder."""
    before = os.environ.get("DNNLIB_CACHE_DIR")
    os.environ["DNNLIB_CACHE_DIR"] = str(folder / "cache")
    try:
        yield
    finally:
        del os.environ["DNNLIB_CACHE_DIR"]
        if before is not None:
            os.environ["DNNLIB_CACHE_DIR"] = before
