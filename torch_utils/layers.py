"""Layers that the networks of StyleGAN2 and StyleGAN3 have in common.

The sources inside network pickles import these names, so the names must not change.

Trainable weights have unit variance at initialisation and are scaled at run time, which equalises
their learning rates (Karras et al. 2018, "Progressive Growing of GANs", Sec. 4.1).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from dnnlib.util import is_power_of_two
from torch_utils import misc, persistence
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.cuda.recorder import stands_for_cuda

HALF_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def normalize_2nd_moment(x: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Scale vectors along `dim` to a mean square of one."""
    return x * (x.square().mean(dim=dim, keepdim=True) + eps).rsqrt()


def check_resolution(img_resolution: int, minimum: int = 4) -> None:
    """Refuse image sizes that the networks cannot be built for."""
    if img_resolution < minimum or not is_power_of_two(img_resolution):
        raise InputError(
            f"`img_resolution` must be a power of two from {minimum} on, got {img_resolution}"
        )


def check_noise_mode(noise_mode: str) -> None:
    """Refuse unknown values of the synthesis networks' `noise_mode`."""
    if noise_mode not in ("random", "const", "none"):
        raise InputError(f'`noise_mode` must be "random", "const" or "none", got {noise_mode!r}')


def scale_channels(x: Tensor, s: Tensor) -> Tensor:
    """Features `x` `[N, C, H, W]` times factors `s` `[N, C]`."""
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        return x * s.to(x.dtype)[:, :, None, None]  # up to twice as fast there
    return bias_act(x, scale=s)  # both gradients in one pass


def check_half_dtype(half_dtype: str) -> None:
    """Refuse unknown values of the networks' `half_dtype`."""
    if half_dtype not in HALF_DTYPES:
        raise InputError(f'`half_dtype` must be "fp16" or "bf16", got {half_dtype!r}')


def compute_dtype(
    weight: Tensor, use_fp16: bool, force_fp32: bool, half_dtype: str = "fp16"
) -> torch.dtype:
    """The dtype of a layer's features: half precision if the network and the device allow it.

    Otherwise the dtype of the weights: float32, unless the network was converted (`G.double()`).

    Args:
        weight: A weight of the layer, which tells its device.
        use_fp16: The layer is one of those that compute in half precision.
        force_fp32: Never use half precision.
        half_dtype: `"fp16"` means float16, on CUDA only; `"bf16"` means bfloat16, on CUDA and on
            the CPU, which have kernels for it.
    """
    device = weight.device
    has_kernels = device.type == "cuda" or stands_for_cuda(device)
    has_kernels = has_kernels or (half_dtype == "bf16" and device.type == "cpu")
    is_half = use_fp16 and not force_fp32 and has_kernels
    return HALF_DTYPES[half_dtype] if is_half else weight.dtype


@persistence.persistent_class
class FullyConnectedLayer(torch.nn.Module):
    """Fully connected layer with equalised learning rate.

    Args:
        in_features: Size of the input vectors.
        out_features: Size of the output vectors.
        bias: Add a bias before the activation.
        activation: Name of the activation function, see `torch_utils.ops.bias_act`.
        lr_multiplier: Learning rate relative to that of other layers.
        weight_init: Initial standard deviation of the (scaled) weight.
        bias_init: Initial bias, one number or one for each output.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str = "linear",
        lr_multiplier: float = 1,
        weight_init: float = 1,
        bias_init: float | Sequence[float] = 0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.activation = activation
        self.weight_gain = lr_multiplier / np.sqrt(in_features)
        self.bias_gain = lr_multiplier
        weight = torch.randn([out_features, in_features]) * (weight_init / lr_multiplier)
        self.weight = torch.nn.Parameter(weight)
        self.bias: torch.nn.Parameter | None = None
        if bias:
            values = np.broadcast_to(np.asarray(bias_init, np.float32), [out_features])
            self.bias = torch.nn.Parameter(torch.from_numpy(np.float32(values / lr_multiplier)))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` `[N, in_features]` to `[N, out_features]`, in the dtype of `x`."""
        # There are fewer inputs than weights, so they take the gain.
        x = x * self.weight_gain
        weight = self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if bias is not None and self.bias_gain != 1:
            bias = bias * self.bias_gain
        if self.activation == "linear":
            return torch.nn.functional.linear(x, weight, bias)
        return bias_act(x @ weight.t(), bias, act=self.activation)

    def extra_repr(self) -> str:
        """Sizes and activation."""
        return f"{self.in_features}, {self.out_features}, activation={self.activation}"


@persistence.persistent_class
class MappingNetwork(torch.nn.Module):
    """Map latents and labels to styles (Karras et al. 2019, "A Style-Based Generator", Sec. 2).

    Args:
        z_dim: Size of the latents, 0 for none.
        c_dim: Size of the labels, 0 for none.
        w_dim: Size of the styles.
        num_ws: Number of copies of the style to return, `None` for one without that dimension.
        num_layers: Number of fully connected layers.
        embed_features: Size of the embedded label, `None` for `w_dim`.
        layer_features: Size of the intermediate layers, `None` for `w_dim`.
        activation: Name of the activation function of the layers.
        lr_multiplier: Learning rate relative to that of other networks.
        w_avg_beta: Decay of the moving average of the styles, `None` for no average.
    """

    embed: FullyConnectedLayer  # if the network has labels
    fc0: FullyConnectedLayer  # if the network has layers, with fc1, fc2, ...
    w_avg: Tensor  # if the average is tracked

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.998,
    ) -> None:
        super().__init__()
        if c_dim == 0 and (z_dim == 0 or num_layers == 0):
            raise ValueError("MappingNetwork: nothing to map without labels, latents and layers")
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.num_layers = num_layers
        self.w_avg_beta = w_avg_beta
        embed_features = (w_dim if embed_features is None else embed_features) if c_dim > 0 else 0
        layer_features = w_dim if layer_features is None else layer_features
        if c_dim > 0:
            self.embed = FullyConnectedLayer(c_dim, embed_features)
        sizes = [z_dim + embed_features, *[layer_features] * (num_layers - 1), w_dim]
        for idx in range(num_layers):
            layer = FullyConnectedLayer(
                sizes[idx], sizes[idx + 1], activation=activation, lr_multiplier=lr_multiplier
            )
            setattr(self, f"fc{idx}", layer)
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros([w_dim]))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Map latents and labels to styles.

        Args:
            z: Latents `[N, z_dim]`; ignored if `z_dim` is 0.
            c: Labels `[N, c_dim]`; ignored if `c_dim` is 0.
            truncation_psi: Pull the styles towards their average: 1 not at all, 0 all the way.
            truncation_cutoff: Number of leading styles to truncate, `None` for all.
            update_emas: Let the styles enter the moving average.

        Returns:
            Styles `[N, num_ws, w_dim]` (`[N, w_dim]` if `num_ws` is `None`), in the dtype of the
            weights.

        Raises:
            ValueError: If latents or labels are missing.
            InputError: If the network has no average style to truncate towards.
        """
        dtype = (self.fc0 if self.num_layers > 0 else self.embed).weight.dtype
        inputs = []
        if self.z_dim > 0:
            if z is None:
                raise ValueError("MappingNetwork: the latents `z` are missing")
            misc.assert_shape(z, [None, self.z_dim])
            inputs.append(normalize_2nd_moment(z.to(dtype)))
        if self.c_dim > 0:
            if c is None:
                raise ValueError("MappingNetwork: the labels `c` are missing")
            misc.assert_shape(c, [None, self.c_dim])
            inputs.append(normalize_2nd_moment(self.embed(c.to(dtype))))
        x = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
        for idx in range(self.num_layers):
            x = getattr(self, f"fc{idx}")(x)
        if update_emas and self.w_avg_beta is not None:
            w_mean = x.detach().mean(dim=0)
            self.w_avg.copy_(w_mean.lerp(self.w_avg, self.w_avg_beta))
        if self.num_ws is not None:
            x = x.unsqueeze(1).repeat([1, self.num_ws, 1])
        return x if truncation_psi == 1 else self._truncate(x, truncation_psi, truncation_cutoff)

    def _truncate(self, ws: Tensor, psi: float, cutoff: int | None) -> Tensor:
        if self.w_avg_beta is None or self.num_ws is None:
            raise InputError("truncation needs a mapping network that tracks the average style")
        truncated = self.w_avg.lerp(ws, psi)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)

    def extra_repr(self) -> str:
        """Sizes of latents, labels and styles."""
        return f"z_dim={self.z_dim}, c_dim={self.c_dim}, w_dim={self.w_dim}, num_ws={self.num_ws}"


class MappedGenerator(torch.nn.Module):
    """Generator: a mapping network, then a synthesis network, which subclasses choose.

    Args:
        z_dim: Size of the latents.
        c_dim: Size of the labels, 0 for an unconditional network.
        w_dim: Size of the styles.
        img_resolution: Width and height of the images, a power of two.
        img_channels: Number of colour channels.
        mapping_kwargs: Arguments of `MappingNetwork`.
        synthesis_kwargs: Arguments of the synthesis network.
    """

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        mapping_kwargs: dict | None = None,
        **synthesis_kwargs: Any,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.synthesis = self.make_synthesis(
            w_dim, img_resolution, img_channels, **synthesis_kwargs
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = self.make_mapping(z_dim, c_dim, w_dim, self.num_ws, **(mapping_kwargs or {}))

    def make_mapping(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """Construct the mapping network."""
        return MappingNetwork(*args, **kwargs)

    def make_synthesis(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """Construct the synthesis network."""
        raise NotImplementedError

    def forward(
        self,
        z: Tensor,
        c: Tensor | None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        **synthesis_kwargs: Any,
    ) -> Tensor:
        """Generate images `[N, img_channels, img_resolution, img_resolution]`.

        Float32 (as the weights), nominally in [-1, 1]. Arguments as for the `forward` of
        `MappingNetwork` and of the synthesis network.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, update_emas=update_emas, **synthesis_kwargs)
