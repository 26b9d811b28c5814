"""A small classifier of the drawn shapes, which judges networks that were trained on them.

A plain classifier is sure of anything, blobs included. This one also learns pictures that show no
shape, with equal probabilities as their label (outlier exposure; Hendrycks et al. 2019): strongly
warped drawings, and averages of two. Slightly warped and noisy drawings keep their label, so that
the classifier judges shapes rather than single pixels.
"""

import hashlib
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from data.synthetic_images import CLASSES, draw_image
from dnnlib.errors import InputError
from dnnlib.util import open_atomic

# Seeds of drawings that no dataset can have: dataset_tool.py takes seeds below 2^32 only.
TRAINING_SEED, HELD_OUT_SEED, FLOOR_SEED = (2**32 + i for i in range(3))

VERSION = 1  # counts changes of this file that give other weights
MIN_SIZE, MAX_SIZE = 16, 64  # larger images are averaged down
LAYERS = ((24, 2), (48, 1), (48, 2), (96, 1), (96, 2))  # channels, stride
NUM_FEATURES = 64
NUM_STEPS = 250
BATCH = 64  # drawings per step; half as many pictures without a shape are added
LEARNING_RATE = 4e-3  # the highest, of one cycle (Smith & Topin 2018)
SURE = 0.9  # probability above which the classifier is sure of a picture

# Standard deviation of the displacement of a warp, in half image widths.
SLIGHT_WARP, STRONG_WARP = (0, 0.03), (0.15, 0.3)
MAX_NOISE = 4  # standard deviation, in levels of 8 bits


class ShapeClassifier(torch.nn.Module):
    """Five convolutions, the average over the image, and two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        before = 3
        for channels, stride in LAYERS:
            layers += [
                torch.nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
                torch.nn.BatchNorm2d(channels),
                torch.nn.ReLU(),
            ]
            before = channels
        self.convs = torch.nn.Sequential(*layers)
        self.fc = torch.nn.Linear(before, NUM_FEATURES)
        self.out = torch.nn.Linear(NUM_FEATURES, len(CLASSES))

    def activations(self, img: Tensor) -> Tensor:
        """Penultimate activations `[N, NUM_FEATURES]` of images `[N, 3, H, W]` in [0, 255]."""
        x = img.to(torch.float32)
        if (size := img.shape[-1]) > MAX_SIZE:
            x = F.avg_pool2d(x, size // MAX_SIZE)
        return F.relu(self.fc(self.convs(x / 127.5 - 1).mean(dim=(2, 3))))

    def forward(self, img: Tensor) -> Tensor:
        """Logits `[N, 6]` of images."""
        return self.out(self.activations(img))


def draw(indices: range, seed: int, resolution: int) -> tuple[Tensor, Tensor]:
    """Drawings, uint8 `[N, 3, resolution, resolution]`, and their classes, int64 `[N]`."""
    pixels, labels = zip(*(draw_image(idx, seed, resolution) for idx in indices), strict=True)
    return torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2)), torch.tensor(labels)


def mix(img: Tensor, other: Tensor, share: Tensor | float = 0.5) -> Tensor:
    """Two pictures in one, float32: `share` of the first and the rest of the second."""
    return other + (img.to(torch.float32) - other) * share


def warp(img: Tensor, amount: Tensor | float, generator: torch.Generator) -> Tensor:
    """Displace pixels smoothly and at random, float32.

    Args:
        img: `[N, C, H, W]`, on the CPU.
        amount: Standard deviation of the displacement, in half image widths; a number, or one for
            each image, `[N, 1, 1, 1]`.
        generator: Draws displacements at 5x5 points; those between are interpolated.
    """
    shifts = torch.randn([len(img), 2, 5, 5], generator=generator) * amount
    shifts = F.interpolate(shifts, size=img.shape[2:], mode="bicubic", align_corners=True)
    still = F.affine_grid(
        torch.eye(2, 3).expand(len(img), 2, 3), list(img.shape), align_corners=False
    )
    grid = still + shifts.permute(0, 2, 3, 1)
    return F.grid_sample(
        img.to(torch.float32), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def load_or_train(resolution: int, folder: Path, device: torch.device) -> ShapeClassifier:
    """The classifier for images of a size, from its file, or trained and saved there.

    Args:
        resolution: Size of the images, a power of two.
        folder: Where the file is kept. Its name depends on all settings and on the drawings.
        device: Where the classifier computes; it is trained on the CPU.

    Raises:
        InputError: If the size is not supported.
        OSError: If the file cannot be written.
    """
    if resolution < MIN_SIZE or resolution & (resolution - 1) != 0:
        raise InputError(
            f"shapes are classified in images of {MIN_SIZE}x{MIN_SIZE}, 32x32, 64x64 and so on, "
            f"not of {resolution}x{resolution}"
        )
    size = min(resolution, MAX_SIZE)
    path = folder / f"shape-classifier-{size}-{_digest(size)}.safetensors"
    classifier = ShapeClassifier()
    if not _load(classifier, path):
        classifier = train(size)
        folder.mkdir(parents=True, exist_ok=True)
        with open_atomic(path) as file:
            file.write(safetensors.torch.save(classifier.state_dict()))
    return classifier.eval().requires_grad_(False).to(device)


def train(size: int) -> ShapeClassifier:
    """Train on drawings that are drawn meanwhile; the same weights every time on one machine.

    Global random generators stay as they were.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = ShapeClassifier()
    optimizer = torch.optim.Adam(classifier.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, NUM_STEPS)
    steps = tqdm(range(NUM_STEPS), f"Training the classifier ({size}x{size})", disable=None)
    for step in steps:
        img, target = _training_batch(step, size, generator)
        loss = F.cross_entropy(classifier(img), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier


def _training_batch(step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures, float32 `[BATCH * 3 / 2, 3, size, size]`, and the probabilities of the classes."""
    img, labels = draw(range(step * BATCH, (step + 1) * BATCH), TRAINING_SEED, size)
    # Networks that were trained with mirrored images draw shadows on both sides.
    flips = torch.rand([BATCH], generator=generator) < 0.5
    img[flips] = img[flips].flip(3)

    def uniform(low: float, high: float, num: int) -> Tensor:
        return low + (high - low) * torch.rand([num, 1, 1, 1], generator=generator)

    # Neighbours differ in class, so every mixture is one of two shapes.
    quarter, half = BATCH // 4, BATCH // 2
    mixed = mix(img[0:half:2], img[1:half:2], uniform(0.3, 0.7, quarter))
    warped = warp(img[half:][:quarter], uniform(*STRONG_WARP, quarter), generator)
    slightly_warped = warp(img[:half], uniform(*SLIGHT_WARP, half), generator)
    shown = torch.cat([slightly_warped, img[half:], mixed, warped])
    noise = torch.randn(shown.shape, generator=generator)
    shown += noise * uniform(0, MAX_NOISE, len(shown))
    unsure = torch.full([2 * quarter, len(CLASSES)], 1 / len(CLASSES))
    return shown, torch.cat([F.one_hot(labels, len(CLASSES)).to(torch.float32), unsure])


def _digest(size: int) -> str:
    """Twelve digits that change with the settings, and with what is drawn."""
    settings = (
        VERSION,
        LAYERS,
        NUM_FEATURES,
        NUM_STEPS,
        BATCH,
        LEARNING_RATE,
        SLIGHT_WARP,
        STRONG_WARP,
        MAX_NOISE,
    )
    pixels, _ = draw(range(len(CLASSES)), TRAINING_SEED, size)
    return hashlib.sha256(repr(settings).encode() + pixels.numpy().tobytes()).hexdigest()[:12]


def _load(classifier: ShapeClassifier, path: Path) -> bool:
    """Whether a file exists and its weights fit; a damaged file is written again."""
    try:
        classifier.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        return False
    except (safetensors.SafetensorError, RuntimeError):
        print(f"Note: {path} is damaged; the classifier is trained again")
        return False
    return True
