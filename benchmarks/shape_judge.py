"""What the classifier of the drawn shapes says about a network, beside held-out drawings."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from benchmarks import shape_classifier as shapes
from data.dataset import ImageFolderDataset
from data.synthetic_images import CLASSES
from dnnlib.errors import InputError, MachineError
from dnnlib.util import EasyDict
from metrics import equivariance, precision_recall, samples
from metrics.feature_stats import FeatureStats
from metrics.frechet_inception_distance import frechet_distance
from metrics.metric_utils import MetricOptions
from torch_utils import images, latents
from torch_utils.distributed import Worker
from torch_utils.networks import Generator

MIN_ACCURACY = 0.99  # a classifier that is worse judges nothing
NEIGHBOURS = 3  # of precision and recall, as published
MAX_DATA = 600  # images of a dataset that are compared with drawings
MAX_RATIO = 3  # of the distance of a dataset to the distance of drawings among themselves
BLOCK = 10_000  # distances are computed in blocks of this many rows and columns
EQ_BATCH = 4  # images with the same translation and angle


@dataclass(frozen=True)
class Seen:
    """What the classifier sees in some pictures.

    Attributes:
        features: Their features and the moments of these. Features are activations of length 1:
            exaggerated contrast doubles the length of activations, which would outweigh all else.
        probabilities: Of the classes, `[N, 6]`, on the CPU.
    """

    features: FeatureStats
    probabilities: Tensor

    @property
    def is_sure(self) -> Tensor:
        """Of which pictures the classifier is sure, bool `[N]`."""
        return self.probabilities.amax(dim=1) > shapes.SURE

    def share_right(self, labels: Tensor) -> float:
        """Share of the pictures whose likeliest class is that of `labels`, int64 `[N]`."""
        return float((self.probabilities.argmax(dim=1) == labels).float().mean())


@dataclass(frozen=True)
class Findings:
    """What is measured of pictures; shares are from 0 to 1.

    Attributes:
        distance: Squared Fréchet distance of features to those of held-out drawings.
        precision: Share of the pictures that lie among the drawings.
        recall: Share of the drawings that lie among the pictures.
        sure: Share of the pictures of which the classifier is sure.
        right: Share of the pictures that show their label's class; `None` without labels.
        class_shares: Class -> share of the pictures that surely show this class.
    """

    distance: float
    precision: float
    recall: float
    sure: float
    right: float | None
    class_shares: dict[str, float]


class Judge:
    """The classifier, and held-out drawings to compare with, for one size of images.

    Args:
        resolution: Size of the images.
        is_mirrored: Whether half of the drawings are mirrored, as in a training with `--mirror=1`.
        num: Number of drawings to compare with.
        folder: Where the classifier is kept.
        device: Where it computes.

    Raises:
        InputError: If the size is not supported.
        MachineError: If the classifier is not good enough.
    """

    def __init__(
        self, resolution: int, is_mirrored: bool, num: int, folder: Path, device: torch.device
    ) -> None:
        self.resolution = resolution
        self.device = device
        self.classifier = shapes.load_or_train(resolution, folder, device)
        self.labels = torch.arange(num) % len(CLASSES)
        self.held_out = self._look_at_drawings(num, shapes.HELD_OUT_SEED, is_mirrored)
        self.others = self._look_at_drawings(num, shapes.FLOOR_SEED, is_mirrored)
        self.of_drawings = self.judge(self.others, self.labels)
        if not self.accuracy >= MIN_ACCURACY:
            raise MachineError(
                f"the classifier is right about {self.accuracy:.1%} of {num} held-out drawings of "
                f"{resolution}x{resolution}; it must be right about {MIN_ACCURACY:.0%}"
            )

    @property
    def accuracy(self) -> float:
        """Share of the held-out drawings about which the classifier is right."""
        return self.held_out.share_right(self.labels)

    @property
    def floor(self) -> float:
        """Distance of drawings to other drawings, as many as there are of each."""
        return self.of_drawings.distance

    def judge(self, seen: Seen, labels: Tensor | None) -> Findings:
        """Compare pictures with the held-out drawings; `labels` are their classes, int64 `[N]`."""
        opts = MetricOptions(worker=Worker(device=self.device))
        real, gen = self.held_out.features, seen.features
        precision, recall = precision_recall.compute_pr_of_features(
            opts, real.get_all_torch(), gen.get_all_torch(), NEIGHBOURS, BLOCK, BLOCK
        )
        likeliest = seen.probabilities.argmax(dim=1)[seen.is_sure]
        counts = likeliest.bincount(minlength=len(CLASSES)).tolist()
        return Findings(
            distance=frechet_distance(*real.get_mean_cov(), *gen.get_mean_cov()),
            precision=precision,
            recall=recall,
            sure=float(seen.is_sure.float().mean()),
            right=None if labels is None else seen.share_right(labels),
            class_shares={
                name: count / seen.features.num_items
                for name, count in zip(CLASSES, counts, strict=True)
            },
        )

    @functools.cached_property
    def sure_of_others(self) -> dict[str, float]:
        """Shares of pictures without a shape of which the classifier is sure, which should be low.

        They are averages of two held-out drawings, and strongly warped held-out drawings.
        """
        num = min(MAX_DATA, len(self.labels))
        img, _ = shapes.draw(range(num), shapes.HELD_OUT_SEED, self.resolution)
        warped = shapes.warp(img, shapes.STRONG_WARP[0], torch.Generator().manual_seed(1))
        kinds = {"averages of two drawings": shapes.mix(img[1:], img[:-1]), "warped": warped}
        return {
            kind: float(self.look(pictures.split(100)).is_sure.float().mean())
            for kind, pictures in kinds.items()
        }

    def check_data(self, dataset: ImageFolderDataset) -> None:
        """Refuse a dataset of other images than the drawn shapes.

        Its first images must be about as far from drawings as other drawings are.

        Raises:
            InputError: If they are not.
        """
        num = min(MAX_DATA, len(dataset))
        hint = (
            "this benchmark judges networks of the drawn shapes (dataset_tool.py "
            "--source=synthetic); calc_metrics.py measures others"
        )
        if dataset.image_shape != [3, self.resolution, self.resolution]:
            shape = "x".join(map(str, dataset.image_shape))
            raise InputError(f"its images are {shape}, not 3x{self.resolution}x{self.resolution}")
        found = self.look(torch.from_numpy(dataset[idx][0])[None] for idx in range(num))
        drawings = [
            self._look_at_drawings(num, seed, False)
            for seed in (shapes.HELD_OUT_SEED, shapes.FLOOR_SEED)
        ]
        ours, *others = (of.features.get_mean_cov() for of in (*drawings, found))
        floor, distance = (frechet_distance(*ours, *other) for other in others)
        if not distance <= MAX_RATIO * floor:
            raise InputError(
                f"its first {num} images are at a distance of {distance:.3g} to drawings, which "
                f"are {floor:.3g} apart: they show something else; {hint}"
            )

    @torch.no_grad()
    def look(self, batches: Iterator[Tensor] | tuple[Tensor, ...]) -> Seen:
        """What the classifier sees in pictures in [0, 255], `[N, 3, size, size]` each batch."""
        stats = FeatureStats(capture_all=True, capture_mean_cov=True)
        probabilities = []
        for img in batches:
            activations = self.classifier.activations(img.to(self.device))
            stats.append(F.normalize(activations, dim=1))
            probabilities.append(self.classifier.out(activations).softmax(dim=1).cpu())
        return Seen(stats, torch.cat(probabilities))

    def _look_at_drawings(self, num: int, seed: int, is_mirrored: bool) -> Seen:
        def draw() -> Iterator[Tensor]:
            starts = tqdm(range(0, num, 60), "Drawing", leave=False, disable=None)
            for start in starts:
                img, _ = shapes.draw(range(start, min(start + 60, num)), seed, self.resolution)
                # Groups of six alternate, so that the classes are mirrored equally often.
                flips = torch.arange(start, start + len(img)) // len(CLASSES) % 2 == 1
                if is_mirrored:
                    img[flips] = img[flips].flip(3)
                yield img

        return self.look(draw())


def check_network(G: Generator) -> None:
    """Refuse a network that was certainly not trained on the drawn shapes.

    Raises:
        InputError: If its images are not in colour, or it has another number of classes.
    """
    if G.img_channels != 3 or G.c_dim not in (0, len(CLASSES)):
        raise InputError(
            f"draws {G.img_channels} channels of {G.c_dim} classes; networks of the drawn shapes "
            f"draw 3 channels of {len(CLASSES)} classes, or of 0 without labels; calc_metrics.py "
            "measures other networks"
        )


def labels_of(G: Generator, num: int) -> Tensor | None:
    """The classes of the pictures to generate, which take turns; `None` without labels."""
    return torch.arange(num) % G.c_dim if G.c_dim > 0 else None


@torch.no_grad()
def generate(
    G: Generator, num: int, seed: int, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """Pictures of a network, in batches, uint8 `[N, 3, size, size]`; classes take turns.

    Raises:
        InputError: If a picture is not finite.
    """
    for start in range(0, num, batch):
        stop = min(start + batch, num)
        z = samples.to_device(samples.latents(seed, start, stop, G.z_dim), device)
        img = G(z, _one_hot(G, range(start, stop), device), noise_mode="const")
        images.check_finite(img, [f"picture {idx}" for idx in range(start, stop)])
        yield images.to_uint8(img)


def measure_equivariance(
    G: Generator, num: int, seed: int, device: torch.device
) -> tuple[float, float] | None:
    """EQ-T and EQ-R in dB of about `num` pictures; `None` without an input transform.

    NaN stands for pictures that are too small to be compared.
    """
    if latents.transform_buffer(G) is None:
        return None
    opts = MetricOptions(G=G, G_kwargs=EasyDict(), worker=Worker(device=device))
    compare = equivariance.Comparison(opts, EQ_BATCH, 0.125, 1, True, False, True)
    sums = torch.zeros([2, 2])
    with samples.preserved_generators(device):
        for start in range(0, num, EQ_BATCH):
            samples.seed_torch(seed, start)
            sums = sums + compare(_one_hot(G, range(start, start + EQ_BATCH), device)).cpu()
    eqt, eqr = (equivariance.psnr(*of_metric) for of_metric in sums.tolist())
    return eqt, eqr


def _one_hot(G: Generator, indices: range, device: torch.device) -> Tensor:
    """Labels of pictures by their numbers, float32 `[N, c_dim]`."""
    rows = [latents.label_from_class(idx % max(G.c_dim, 1), G.c_dim) for idx in indices]
    return samples.to_device(torch.cat(rows), device)
