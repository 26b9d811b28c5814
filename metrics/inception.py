"""InceptionV3 of FID, with weights from a PyTorch state dict.

The architecture is that of Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer
Vision", in the variant of the TensorFlow graph of 2015-12-05, which defines FID: 1008 outputs,
averages without the padding, a maximum in the last pool, TensorFlow's first bilinear resize. Its
weights are in `pt_inception-2015-12-05-6726825d.pth`. Layers have the names of the state
dict.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnnlib import moved
from dnnlib.errors import InputError
from metrics.state_dicts import list_names

__getattr__ = moved.names_of(__name__)
INPUT_SIZE = 299
NUM_FEATURES = 2048
NUM_CLASSES = 1008
BATCHNORM_EPS = 1e-3


def load_inception(path_or_file: str | os.PathLike | BinaryIO) -> "InceptionV3":
    """Load a state dict, such as that of `pt_inception-2015-12-05-6726825d.pth`.

    Returns:
        The network in float32 on the CPU, in evaluation mode, ready to use.

    Raises:
        ValueError: If the file is not a state dict of this architecture.
    """
    if isinstance(path_or_file, str | os.PathLike):
        name = os.fspath(path_or_file)
    else:
        name = getattr(path_or_file, "name", "the file")
    try:
        state_dict = torch.load(path_or_file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # PyTorch raises many kinds of errors for other files
        raise InputError(f"{name} is not a PyTorch state dict: {_first_sentence(error)}") from error
    return build(state_dict, name)


def build(state_dict: Any, name: str) -> "InceptionV3":
    """The network with the weights of a state dict, as `load_inception` returns it.

    Args:
        state_dict: Content of a file; it must be tensors by name.
        name: Name of the file, for messages.

    Raises:
        ValueError: If it is not a state dict of this architecture.
    """
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(value, Tensor) for value in state_dict.values()
    ):
        raise InputError(f"{name} is not a state dict: it must hold tensors by name")
    # Some files have counts of training steps, which are not needed.
    state_dict = {k: v for k, v in state_dict.items() if not k.endswith(".num_batches_tracked")}

    with torch.device("meta"):
        network = InceptionV3()
    expected = network.state_dict()
    differences = [
        *list_names("lacks", expected.keys() - state_dict.keys()),
        *list_names("has unknown", state_dict.keys() - expected.keys()),
        *list_names(
            "has other shapes of",
            {
                f"{key} {list(state_dict[key].shape)} instead of {list(value.shape)}"
                for key, value in expected.items()
                if key in state_dict and state_dict[key].shape != value.shape
            },
        ),
    ]
    if differences:
        raise InputError(f"{name} holds no FID InceptionV3: it {', '.join(differences)}")
    network.load_state_dict({k: v.float() for k, v in state_dict.items()}, assign=True)
    return network.prepare()


class InceptionV3(nn.Module):
    """The network: images in, features or probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, 3)
        self.Mixed_5b = BlockA(192, pool_channels=32)
        self.Mixed_5c = BlockA(256, pool_channels=64)
        self.Mixed_5d = BlockA(288, pool_channels=64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, channels_7x7=128)
        self.Mixed_6c = BlockC(768, channels_7x7=160)
        self.Mixed_6d = BlockC(768, channels_7x7=160)
        self.Mixed_6e = BlockC(768, channels_7x7=192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, average_pool)
        self.Mixed_7c = BlockE(2048, max_pool)
        self.fc = nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def forward(
        self, img: Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        """Compute features or probabilities of images.

        Args:
            img: RGB images of any size with values from 0 to 255, of any dtype, `[N, 3, H, W]`.
            return_features: Return the features before the last layer, `[N, 2048]`.
            no_output_bias: Leave out the bias of the last layer, as the Inception score does.

        Returns:
            Features, or else probabilities `[N, 1008]`.
        """
        x = resize(img.float(), INPUT_SIZE)
        x = (x - 128) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6a(x)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        features = x.mean([2, 3])
        return features if return_features else self.classify(features, no_output_bias)

    def classify(self, features: Tensor, no_output_bias: bool = False) -> Tensor:
        """Probabilities `[N, 1008]` of images with these features `[N, 2048]`."""
        bias = None if no_output_bias else self.fc.bias
        return F.linear(features, self.fc.weight, bias).softmax(dim=1)

    def prepare(self) -> "InceptionV3":
        """Prepare for inference: fold the normalisations into the convolutions, once."""
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fold()
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self.eval().requires_grad_(False)


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn: Normalization | None = Normalization(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in_channels, H, W]` to `[N, out_channels, H', W']`."""
        x = self.conv(x)
        return (x if self.bn is None else self.bn(x)).relu_()

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the normalisation, in evaluation mode, into the convolution."""
        conv, bn = self.conv, self.bn
        if bn is None:
            return
        gain = bn.weight.double() / torch.sqrt(bn.running_var.double() + BATCHNORM_EPS)
        bias = bn.bias.double() - bn.running_mean.double() * gain
        conv.weight = nn.Parameter((conv.weight.double() * gain[:, None, None, None]).float())
        conv.bias = nn.Parameter(bias.float())
        self.bn = None


def row_unit(in_channels: int, out_channels: int, size: int) -> ConvUnit:
    """Convolution with a row of `size` taps, which keeps the size of the image."""
    return ConvUnit(in_channels, out_channels, (1, size), padding=(0, size // 2))


def column_unit(in_channels: int, out_channels: int, size: int) -> ConvUnit:
    """Convolution with a column of `size` taps, which keeps the size of the image."""
    return ConvUnit(in_channels, out_channels, (size, 1), padding=(size // 2, 0))


class Normalization(nn.Module):
    """Batch normalisation with the statistics of the training data."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones([channels]))
        self.bias = nn.Parameter(torch.zeros([channels]))
        self.register_buffer("running_mean", torch.zeros([channels]))
        self.register_buffer("running_var", torch.ones([channels]))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[N, channels, H, W]`."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=BATCHNORM_EPS
        )


class BlockA(nn.Module):
    """Branches with 1x1, 5x5, and two 3x3 convolutions, and a pool (Fig. 5 of the paper)."""

    def __init__(self, in_channels: int, pool_channels: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(in_channels, 64, 1)
        self.branch5x5_1 = ConvUnit(in_channels, 48, 1)
        self.branch5x5_2 = ConvUnit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvUnit(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, padding=1)
        self.branch_pool = ConvUnit(in_channels, pool_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in_channels, 35, 35]` to `[N, 224 + pool_channels, 35, 35]`."""
        branches = [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(average_pool(x)),
        ]
        return torch.cat(branches, dim=1)


class BlockB(nn.Module):
    """From 35x35 to 17x17."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvUnit(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvUnit(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in_channels, 35, 35]` to `[N, 480 + in_channels, 17, 17]`."""
        branches = [
            self.branch3x3(x),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            F.max_pool2d(x, kernel_size=3, stride=2),
        ]
        return torch.cat(branches, dim=1)


class BlockC(nn.Module):
    """Branches with 7x7 convolutions that are factorised into rows and columns (Fig. 6)."""

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(in_channels, 192, 1)
        self.branch7x7_1 = ConvUnit(in_channels, channels_7x7, 1)
        self.branch7x7_2 = row_unit(channels_7x7, channels_7x7, 7)
        self.branch7x7_3 = column_unit(channels_7x7, 192, 7)
        self.branch7x7dbl_1 = ConvUnit(in_channels, channels_7x7, 1)
        self.branch7x7dbl_2 = column_unit(channels_7x7, channels_7x7, 7)
        self.branch7x7dbl_3 = row_unit(channels_7x7, channels_7x7, 7)
        self.branch7x7dbl_4 = column_unit(channels_7x7, channels_7x7, 7)
        self.branch7x7dbl_5 = row_unit(channels_7x7, 192, 7)
        self.branch_pool = ConvUnit(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in_channels, 17, 17]` to `[N, 768, 17, 17]`."""
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        branches = [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(average_pool(x)),
        ]
        return torch.cat(branches, dim=1)


class BlockD(nn.Module):
    """From 17x17 to 8x8."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvUnit(in_channels, 192, 1)
        self.branch3x3_2 = ConvUnit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvUnit(in_channels, 192, 1)
        self.branch7x7x3_2 = row_unit(192, 192, 7)
        self.branch7x7x3_3 = column_unit(192, 192, 7)
        self.branch7x7x3_4 = ConvUnit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in_channels, 17, 17]` to `[N, 512 + in_channels, 8, 8]`."""
        factorised = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        branches = [
            self.branch3x3_2(self.branch3x3_1(x)),
            self.branch7x7x3_4(factorised),
            F.max_pool2d(x, kernel_size=3, stride=2),
        ]
        return torch.cat(branches, dim=1)


class BlockE(nn.Module):
    """Branches that end in a row and a column side by side (Fig. 7)."""

    def __init__(self, in_channels: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = ConvUnit(in_channels, 320, 1)
        self.branch3x3_1 = ConvUnit(in_channels, 384, 1)
        self.branch3x3_2a = row_unit(384, 384, 3)
        self.branch3x3_2b = column_unit(384, 384, 3)
        self.branch3x3dbl_1 = ConvUnit(in_channels, 448, 1)
        self.branch3x3dbl_2 = ConvUnit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = row_unit(384, 384, 3)
        self.branch3x3dbl_3b = column_unit(384, 384, 3)
        self.branch_pool = ConvUnit(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in_channels, 8, 8]` to `[N, 2048, 8, 8]`."""
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        ]
        return torch.cat(branches, dim=1)


def average_pool(x: Tensor) -> Tensor:
    """Average of 3x3 pixels, without pixels outside of the image."""
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


def max_pool(x: Tensor) -> Tensor:
    """Maximum of 3x3 pixels."""
    return F.max_pool2d(x, kernel_size=3, stride=1, padding=1)


def resize(x: Tensor, size: int) -> Tensor:
    """Resize images `[N, C, H, W]` to `[N, C, size, size]` as TensorFlow 1 did.

    Pixel k is sampled bilinearly at k * H / size, not at pixel centres. Nothing is filtered, and
    the last pixels repeat.
    """
    for dim in (2, 3):
        if x.shape[dim] == size:
            continue
        last = x.shape[dim] - 1
        # In float32, like TensorFlow.
        position = torch.arange(size, dtype=torch.float32) * (x.shape[dim] / size)
        first = position.long().clamp(max=last)
        weight = (position - first).to(x)
        first = first.to(x.device)
        x = torch.lerp(
            x.index_select(dim, first),
            x.index_select(dim, (first + 1).clamp(max=last)),
            weight[:, None] if dim == 2 else weight,
        )
    return x


def _first_sentence(error: Exception) -> str:
    """The reason, without PyTorch's advice to trust the file."""
    return str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
