"""Metrics beside other programs: `python -m benchmarks.metric_oracles` prints the table.

Images are drawn, written to folders, and evaluated as `calc_metrics.py --images` does, with feature
networks of random weights. Programs of others then compute the same values of the same images:
SciPy (FID), TorchMetrics (FID, KID, inception score), and prdc, by the authors of density and
coverage (precision, recall, density, coverage). The last two are in requirements-dev.txt.

TorchMetrics divides covariances by N - 1, the published program and ours divide by N, which changes
FID by about one part in N. Its row is therefore our distance of covariances divided by N - 1.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click
import numpy as np
import scipy.linalg
import torch
from PIL import Image
from prdc import compute_prdc  # type: ignore[import-untyped]
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from benchmarks import options
from dnnlib import cli
from dnnlib.text import format_table
from metrics import metric_main
from metrics.frechet_inception_distance import frechet_distance
from torch_utils.distributed import Worker

FID, KID, PR, DC, IS = "fid50k_full", "kid50k_full", "pr50k3_full", "dc50k5_full", "is50k"
METRICS = (FID, KID, PR, DC, IS)
NUM_IMAGES = 300  # of each kind: no more than in a subset of KID, which is then all images
SIZE = 24  # pixels
NUM_FEATURES = {"inception": 32, "vgg16": 16}
NUM_CLASSES = 10
IS_PARTS = 10
HEADER = ("value", "ours", "theirs", "relative difference", "program")


@dataclass(frozen=True)
class Row:
    """A value of ours and of another program."""

    name: str
    ours: float
    theirs: float
    program: str

    @property
    def difference(self) -> float:
        """Relative to the other program's value."""
        return abs(self.ours - self.theirs) / abs(self.theirs)

    def cells(self) -> list[str]:
        """A row under `HEADER`."""
        numbers = [f"{self.ours:.6g}", f"{self.theirs:.6g}", f"{self.difference:.1e}"]
        return [self.name, *numbers, self.program]


class FeatureNetwork(nn.Module):
    """Random features of images, and class probabilities: stands in for Inception and VGG16."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(num_features)
        self.w = nn.Parameter(torch.randn([3 * 8 * 8, num_features], generator=generator) / 6)
        self.v = nn.Parameter(torch.randn([num_features, NUM_CLASSES], generator=generator))

    def forward(
        self, img: Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        """Features `[N, num_features]` of uint8 images, or else probabilities."""
        features = self.features(img)
        return features if return_features else torch.softmax(self.logits(features), dim=1)

    def features(self, img: Tensor) -> Tensor:
        """Features `[N, num_features]` of uint8 images; none is negative."""
        x = nn.functional.adaptive_avg_pool2d(img.to(torch.float32) / 127.5 - 1, 8)
        return torch.relu(x.flatten(1) @ self.w)

    def logits(self, features: Tensor) -> Tensor:
        """Logarithms of class probabilities, `[N, NUM_CLASSES]`."""
        return features @ self.v


@click.command(cls=cli.Command)
@options.machine
def main(threads: int | None, device: str) -> None:
    """Compare metrics with the programs of others, on the same images."""
    rows = compare(options.start(device, threads))
    click.echo(format_table(list(HEADER), [row.cells() for row in rows]))


@torch.no_grad()
def compare(device: torch.device) -> list[Row]:
    """Values of the same images, of ours and of other programs."""
    networks = {name: FeatureNetwork(num).eval() for name, num in NUM_FEATURES.items()}
    real, gen = draw(0.0), draw(0.4)
    ours = evaluate(networks, real, gen, device)
    covs = [np.cov(networks["inception"].features(img).double().T) for img in (real, gen)]
    means = [
        networks["inception"].features(img).double().mean(dim=0).numpy() for img in (real, gen)
    ]
    unbiased = frechet_distance(means[0], covs[0], means[1], covs[1])
    share = (NUM_IMAGES - 1) / NUM_IMAGES
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # TorchMetrics warns of the memory of features
        fid = _fid(networks["inception"], real, gen)
        kid = _kid(networks["inception"], real, gen)
        mean, std = _inception_score(networks["inception"], gen)
        prdc = _prdc(networks["vgg16"], real, gen)
    return [
        Row(FID, ours[FID], _sqrtm_distance(means, [cov * share for cov in covs]), "SciPy"),
        Row("the same, N - 1", unbiased, fid, "TorchMetrics"),
        Row(KID, ours[KID], kid, "TorchMetrics"),
        Row("is50k_mean", ours["is50k_mean"], mean, "TorchMetrics"),
        Row("is50k_std", ours["is50k_std"], std, "TorchMetrics"),
        *(Row(name, ours[name], value, "prdc") for name, value in prdc.items()),
    ]


def draw(change: float) -> Tensor:
    """Random images, uint8 `[NUM_IMAGES, 3, SIZE, SIZE]`: soft blots, brighter by `change`."""
    generator = torch.Generator().manual_seed(int(change * 100))
    blots = torch.randn([NUM_IMAGES, 3, 5, 5], generator=generator) + change
    smooth = nn.functional.interpolate(blots, [SIZE, SIZE], mode="bicubic")
    return (smooth * 50 + 128).clamp(0, 255).to(torch.uint8)


def evaluate(
    networks: dict[str, FeatureNetwork], real: Tensor, gen: Tensor, device: torch.device
) -> dict[str, float]:
    """Our values of images in folders, with feature networks in files."""
    with tempfile.TemporaryDirectory() as folder:
        files, datasets = {}, {}
        for name, network in networks.items():
            files[name] = str(Path(folder) / f"{name}.pt")
            torch.jit.script(network).save(files[name])
        for name, images in dict(real=real, gen=gen).items():
            path = Path(folder) / name
            path.mkdir()
            for idx, pixels in enumerate(images.permute(0, 2, 3, 1).numpy()):
                Image.fromarray(pixels).save(path / f"{idx:04d}.png")
            datasets[name] = dict(class_name="data.dataset.ImageFolderDataset", path=str(path))
        kwargs = dict(
            dataset_kwargs=datasets["real"],
            images_kwargs=datasets["gen"],
            num=NUM_IMAGES,
            worker=Worker(device=device),
            detectors=files,
            allow_untrusted=True,  # TorchScript
            cache=False,
        )
        values: dict[str, float] = {}
        for name in METRICS:
            values |= metric_main.calc_metric(name, **kwargs).results
        return values


def _sqrtm_distance(means: list[np.ndarray], covs: list[np.ndarray]) -> float:
    """The Frechet distance by SciPy's general matrix root."""
    root = scipy.linalg.sqrtm(covs[0] @ covs[1]).real
    offset = np.square(means[0] - means[1]).sum()
    return float(offset + np.trace(covs[0] + covs[1] - 2 * root))


class _Features(nn.Module):
    """Features alone, as TorchMetrics calls a network."""

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network
        self.num_features = len(network.v)

    def forward(self, img: Tensor) -> Tensor:
        """Features `[N, num_features]`."""
        return self.network.features(img)


class _Logits(_Features):
    """Logarithms of class probabilities."""

    def forward(self, img: Tensor) -> Tensor:
        """Logits `[N, NUM_CLASSES]`."""
        return self.network.logits(self.network.features(img))


def _fid(network: FeatureNetwork, real: Tensor, gen: Tensor) -> float:
    metric = FrechetInceptionDistance(feature=_Features(network))
    metric.update(real, real=True)
    metric.update(gen, real=False)
    return float(metric.compute())


def _kid(network: FeatureNetwork, real: Tensor, gen: Tensor) -> float:
    metric = KernelInceptionDistance(feature=_Features(network), subsets=1, subset_size=NUM_IMAGES)
    metric.update(real, real=True)
    metric.update(gen, real=False)
    for name in ("real_features", "fake_features"):  # the sums nearly cancel
        setattr(metric, name, [x.double() for x in getattr(metric, name)])
    return float(metric.compute()[0])


def _inception_score(network: FeatureNetwork, gen: Tensor) -> tuple[float, float]:
    metric = InceptionScore(feature=_Logits(network), splits=IS_PARTS)
    metric.update(gen)
    with mock.patch("torch.randperm", torch.arange):  # ours takes the images in their order
        mean, std = metric.compute()
    # It divides the variance of the parts by their number less one, the published program does not.
    return float(mean), float(std) * ((IS_PARTS - 1) / IS_PARTS) ** 0.5


def _prdc(network: FeatureNetwork, real: Tensor, gen: Tensor) -> dict[str, float]:
    x, y = network.features(real).double().numpy(), network.features(gen).double().numpy()
    pr, dc = compute_prdc(x, y, nearest_k=3), compute_prdc(x, y, nearest_k=5)
    return {
        f"{PR}_precision": pr["precision"],
        f"{PR}_recall": pr["recall"],
        f"{DC}_density": dc["density"],
        f"{DC}_coverage": dc["coverage"],
    }


if __name__ == "__main__":
    main()
