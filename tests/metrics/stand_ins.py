"""Small feature networks and generators, in place of those that are downloaded and trained."""

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor

import dataset_tool
from data.dataset import ImageFolderDataset
from training.networks_stylegan2 import Generator


class Inception(torch.nn.Module):
    """Answers as the published Inception network does, with few features."""

    def __init__(self, num_features: int = 24, num_classes: int = 10) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        size = 3 * 8 * 8
        self.w = torch.nn.Parameter(torch.randn([size, num_features], generator=generator) / 8)
        self.v = torch.nn.Parameter(torch.randn([num_features, num_classes], generator=generator))

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False):
        x = F.adaptive_avg_pool2d(img.to(torch.float32), [8, 8]).flatten(1) / 127.5 - 1
        x = torch.tanh(x @ self.w)
        if return_features:
            return x
        return torch.softmax(x @ self.v + (0.0 if no_output_bias else 1.0), dim=1)


class Vgg(torch.nn.Module):
    """Answers as the published VGG16 network does."""

    def __init__(self, num_features: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.w = torch.nn.Parameter(torch.randn([3 * 8 * 8, num_features], generator=generator) / 8)

    def forward(
        self,
        img: Tensor,
        return_features: bool = False,
        resize_images: bool = True,
        return_lpips: bool = False,
    ):
        x = F.adaptive_avg_pool2d(img.to(torch.float32), [8, 8]).flatten(1) / 127.5 - 1
        return x @ self.w * (10.0 if return_features else 1.0)


def save_detectors(folder: Path) -> dict[str, Path]:
    """Write both as TorchScript: `inception.pt` and `vgg16.pt`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, network in dict(inception=Inception(), vgg16=Vgg()).items():
        paths[name] = folder / f"{name}.pt"
        torch.jit.script(network).save(str(paths[name]))
    return paths


ALIVE, OVERWRITTEN = "canary", "XXXXry"


class Overwriting(torch.nn.Module):
    """Writes to a file when it is loaded, and works as a feature network after that."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.proof = torch.zeros(4)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path, self.training = state
        self.proof = torch.from_file(self.path, shared=True, size=4, dtype=torch.uint8).fill_(88)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        return img.float().flatten(1)[:, :4] + self.proof[0]


def save_overwriting_detector(path: Path, victim: Path) -> Path:
    """Write a TorchScript file that replaces the first bytes of a file by OVERWRITTEN's."""
    torch.jit.script(Overwriting(str(victim))).save(str(path))
    return path


def build_generator(c_dim: int = 0, resolution: int = 16, channels: int = 3) -> torch.nn.Module:
    """A StyleGAN2 generator with random weights and noise that matters."""
    torch.manual_seed(0)
    G = Generator(8, c_dim, 8, resolution, channels, channel_base=64, channel_max=4)
    with torch.no_grad():
        for name, value in G.named_parameters():
            if name.endswith("noise_strength"):
                value.fill_(0.1)
    return G.eval().requires_grad_(False)


def save_network(
    path: Path, dataset: Path | None = None, has_fingerprint: bool = True, **kwargs
) -> Path:
    """Write the pickle of such a generator, trained with a dataset, which may be gone by now."""
    G = build_generator(**kwargs)
    data = dict(G_ema=G, training_set_kwargs=None)
    if dataset is not None:
        data["training_set_kwargs"] = dict(
            class_name="training.dataset.ImageFolderDataset",
            path=str(dataset),
            use_labels=G.c_dim > 0,
            max_size=None,
            xflip=False,
            resolution=G.img_resolution,
            random_seed=0,
        )
        if has_fingerprint and dataset.exists():
            training_set = ImageFolderDataset(dataset, use_labels=G.c_dim > 0)
            data["dataset_fingerprint"] = training_set.fingerprint()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as f:
        pickle.dump(data, f)
    return path


def save_dataset(path: Path, num_images: int = 100, resolution: int = 16) -> Path:
    """Draw a dataset in six classes."""
    size = f"{resolution}x{resolution}"
    command = ["--source=synthetic", f"--dest={path}", f"--resolution={size}"]
    result = CliRunner().invoke(dataset_tool.main, [*command, f"--max-images={num_images}"])
    assert result.exit_code == 0, result.output
    return path
