"""StyleGAN2: the generator, and the discriminator that all configurations share.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", with the mixed
precision and conditioning of "Training Generative Adversarial Networks with Limited Data".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_utils import layers, misc, persistence
from torch_utils.layers import FullyConnectedLayer, MappedGenerator, MappingNetwork
from torch_utils.ops import conv2d_resample, fma, upfirdn2d
from torch_utils.ops.bias_act import activation_funcs, bias_act

ARCHITECTURES = ("orig", "skip", "resnet")  # Fig. 7: how RGB images and residuals take part
RESIDUAL_GAIN = float(np.sqrt(0.5))  # keeps the variance of a sum of two paths


@persistence.persistent_class
class Generator(MappedGenerator):
    """Mapping network and `SynthesisNetwork`; arguments as for `MappedGenerator`."""

    def make_synthesis(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """Construct the synthesis network."""
        return SynthesisNetwork(*args, **kwargs)


@persistence.persistent_class
class SynthesisNetwork(torch.nn.Module):
    """A learned constant and one block per resolution.

    Args:
        w_dim: Size of the styles.
        img_resolution: Width and height of the images, a power of two.
        img_channels: Number of colour channels.
        channel_base: Overall multiplier of the numbers of channels.
        channel_max: Largest number of channels.
        num_fp16_res: Use half precision for this many of the highest resolutions.
        block_kwargs: Arguments of `SynthesisBlock`.
    """

    b4: "SynthesisBlock"

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 4,
        **block_kwargs: Any,
    ) -> None:
        super().__init__()
        layers.check_resolution(img_resolution)
        self.w_dim = w_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.num_fp16_res = num_fp16_res
        self.block_resolutions = _resolutions_up_to(img_resolution)
        fp16_resolution = _lowest_fp16_resolution(img_resolution, num_fp16_res)

        self.num_ws = 0
        for res in self.block_resolutions:
            block = SynthesisBlock(
                in_channels=_num_channels(res // 2, channel_base, channel_max) if res > 4 else 0,
                out_channels=_num_channels(res, channel_base, channel_max),
                w_dim=w_dim,
                resolution=res,
                img_channels=img_channels,
                is_last=(res == img_resolution),
                use_fp16=(res >= fp16_resolution),
                **block_kwargs,
            )
            self.num_ws += block.num_conv
            setattr(self, f"b{res}", block)
        self.num_ws += block.num_torgb

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "random",
        force_fp32: bool = False,
        fused_modconv: bool | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Synthesise images.

        Args:
            ws: Styles `[N, num_ws, w_dim]`: one for each convolution, and one for the last ToRGB.
            noise_mode: `"random"` draws noise, `"const"` takes the network's own, `"none"` adds
                none.
            force_fp32: Never use half precision.
            fused_modconv: Accepted because callers pass it, see `modulated_conv2d`.
            update_emas: Accepted as by StyleGAN3; there is nothing to update here.

        Returns:
            Images `[N, img_channels, img_resolution, img_resolution]`, float32 (as the weights),
            nominally in [-1, 1].
        """
        layers.check_noise_mode(noise_mode)
        misc.assert_shape(ws, [None, self.num_ws, self.w_dim])
        ws = ws.to(self.b4.const.dtype)
        x = img = None
        first = 0
        for res in self.block_resolutions:
            block = getattr(self, f"b{res}")
            block_ws = ws.narrow(1, first, block.num_conv + block.num_torgb)
            x, img = block(x, img, block_ws, noise_mode=noise_mode, force_fp32=force_fp32)
            first += block.num_conv  # ToRGB shares its style with the next block's convolution
        assert img is not None  # the last block makes one in any architecture
        return img

    def extra_repr(self) -> str:
        """Sizes."""
        return (
            f"w_dim={self.w_dim}, num_ws={self.num_ws}, img_resolution={self.img_resolution}, "
            f"img_channels={self.img_channels}, num_fp16_res={self.num_fp16_res}"
        )


@persistence.persistent_class
class SynthesisBlock(torch.nn.Module):
    """All layers of one resolution.

    Args:
        in_channels: Channels of the input, 0 for the first block.
        out_channels: Channels of the output.
        w_dim: Size of the styles.
        resolution: Width and height of the output.
        img_channels: Number of colour channels.
        is_last: The block makes the final image.
        architecture: One of `ARCHITECTURES`.
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Clamp the output of layers to [-conv_clamp, conv_clamp], `None` for no limit.
        use_fp16: Compute in half precision.
        fp16_channels_last: Keep features in half precision in channels-last layout.
        fused_modconv_default: Accepted because pickles carry it, see `modulated_conv2d`.
        half_dtype: Half precision is `"fp16"` (float16, on CUDA only) or `"bf16"` (bfloat16).
        layer_kwargs: Arguments of `SynthesisLayer`.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        is_last: bool,
        architecture: str = "skip",
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = 256,
        use_fp16: bool = False,
        fp16_channels_last: bool = False,
        fused_modconv_default: bool | str = True,
        half_dtype: str = "fp16",
        **layer_kwargs: Any,
    ) -> None:
        super().__init__()
        _check_architecture(architecture)
        layers.check_half_dtype(half_dtype)
        self.in_channels = in_channels
        self.w_dim = w_dim
        self.resolution = resolution
        self.img_channels = img_channels
        self.is_last = is_last
        self.architecture = architecture
        self.use_fp16 = use_fp16
        self.half_dtype = half_dtype
        self.channels_last = use_fp16 and fp16_channels_last
        self.num_conv = 1 if in_channels == 0 else 2
        self.num_torgb = int(is_last or architecture == "skip")
        self.register_buffer("resample_filter", upfirdn2d.setup_filter(resample_filter))

        common: dict[str, Any] = dict(conv_clamp=conv_clamp, channels_last=self.channels_last)
        up: dict[str, Any] = dict(up=2, resample_filter=resample_filter)
        layer_kwargs.update(common)
        if in_channels == 0:
            self.const = torch.nn.Parameter(torch.randn([out_channels, resolution, resolution]))
        else:
            self.conv0 = SynthesisLayer(
                in_channels, out_channels, w_dim, resolution, **up, **layer_kwargs
            )
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, **layer_kwargs)
        if self.num_torgb:
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, **common)
        if in_channels != 0 and architecture == "resnet":
            up["channels_last"] = self.channels_last
            self.skip = Conv2dLayer(in_channels, out_channels, kernel_size=1, bias=False, **up)

    def forward(
        self,
        x: Tensor | None,
        img: Tensor | None,
        ws: Tensor,
        force_fp32: bool = False,
        fused_modconv: bool | None = None,
        update_emas: bool = False,
        **layer_kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Double the resolution of features and image.

        Args:
            x: Features `[N, in_channels, resolution / 2, resolution / 2]`, `None` for the first
                block.
            img: Image so far `[N, img_channels, resolution / 2, resolution / 2]`, or `None`.
            ws: Styles `[N, num_conv + num_torgb, w_dim]`.
            force_fp32: Never use half precision.
            fused_modconv: As for `SynthesisNetwork.forward`.
            update_emas: As for `SynthesisNetwork.forward`.
            layer_kwargs: Arguments of `SynthesisLayer.forward`.

        Returns:
            Features `[N, out_channels, resolution, resolution]`, and the image, never in
            half precision.
        """
        misc.assert_shape(ws, [None, self.num_conv + self.num_torgb, self.w_dim])
        w_conv, w_torgb = ws[:, : self.num_conv].unbind(dim=1), ws[:, -1]
        dtype, memory_format = _precision(self, force_fp32)
        if self.in_channels == 0:
            x = self.const.to(dtype).unsqueeze(0).repeat([ws.shape[0], 1, 1, 1])
            x = x.contiguous(memory_format=memory_format)
            x = self.conv1(x, w_conv[0], **layer_kwargs)
        else:
            assert x is not None
            misc.assert_shape(x, [None, self.in_channels, self.resolution // 2, None])
            x = x.to(dtype=dtype, memory_format=memory_format)
            if self.architecture == "resnet":
                skipped = self.skip(x, gain=RESIDUAL_GAIN)
                x = self.conv0(x, w_conv[0], **layer_kwargs)
                x = skipped + self.conv1(x, w_conv[1], gain=RESIDUAL_GAIN, **layer_kwargs)
            else:
                x = self.conv0(x, w_conv[0], **layer_kwargs)
                x = self.conv1(x, w_conv[1], **layer_kwargs)
        if img is not None:
            img = upfirdn2d.upsample2d(img, self.resample_filter)
        if self.num_torgb:
            rgb = self.torgb(x, w_torgb)
            rgb = rgb.to(dtype=ws.dtype, memory_format=torch.contiguous_format)
            img = rgb if img is None else img + rgb
        return x, img

    def extra_repr(self) -> str:
        """Resolution and architecture."""
        return f"resolution={self.resolution}, architecture={self.architecture}"


@persistence.persistent_class
class SynthesisLayer(torch.nn.Module):
    """Modulated convolution, noise, bias and activation (Fig. 2c).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        w_dim: Size of the styles.
        resolution: Width and height of the output.
        kernel_size: Width and height of the convolution kernel.
        up: Factor of upsampling.
        use_noise: Add noise to the output of the convolution.
        activation: Name of the activation function, see `torch_utils.ops.bias_act`.
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Clamp the output to [-conv_clamp, conv_clamp], `None` for no limit.
        channels_last: Keep the kernels in channels-last layout.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        kernel_size: int = 3,
        up: int = 1,
        use_noise: bool = True,
        activation: str = "lrelu",
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.w_dim = w_dim
        self.resolution = resolution
        self.up = up
        self.use_noise = use_noise
        self.activation = activation
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        self.act_gain = activation_funcs[activation].def_gain

        self.register_buffer("resample_filter", upfirdn2d.setup_filter(resample_filter))
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = _new_kernel(out_channels, in_channels, kernel_size, channels_last)
        if use_noise:
            self.register_buffer("noise_const", torch.randn([resolution, resolution]))
            self.noise_strength = torch.nn.Parameter(torch.zeros([]))
        self.bias = torch.nn.Parameter(torch.zeros([out_channels]))

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        noise_mode: str = "random",
        fused_modconv: bool = True,
        gain: float = 1,
    ) -> Tensor:
        """Map features `[N, in_channels, H, W]` to `[N, out_channels, resolution, resolution]`.

        Args:
            x: Features.
            w: Styles `[N, w_dim]`.
            noise_mode: `"random"`, `"const"` or `"none"`.
            fused_modconv: Accepted because callers pass it, see `modulated_conv2d`.
            gain: Factor on the output.
        """
        in_size = self.resolution // self.up
        misc.assert_shape(x, [None, self.in_channels, in_size, in_size])
        noise = None
        if self.use_noise and noise_mode == "random":
            shape = [x.shape[0], 1, self.resolution, self.resolution]
            noise = torch.randn(shape, device=x.device).to(self.noise_strength.dtype)
            noise = noise * self.noise_strength
        elif self.use_noise and noise_mode == "const":
            noise = (self.noise_const * self.noise_strength)[None, None]
        x, scale = _modulate_and_convolve(
            x,
            self.weight,
            self.affine(w),
            demodulate=True,
            f=self.resample_filter,
            up=self.up,
            padding=self.padding,
            flip_weight=(self.up == 1),
        )
        return bias_act(
            x,
            self.bias,
            act=self.activation,
            gain=self.act_gain * gain,
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
            scale=scale,
            noise=noise,
        )

    def extra_repr(self) -> str:
        """Sizes and activation."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"resolution={self.resolution}, up={self.up}, activation={self.activation}"
        )


@persistence.persistent_class
class ToRGBLayer(torch.nn.Module):
    """Modulated 1x1 convolution without demodulation, to colours (Sec. 4.1).

    Args:
        in_channels: Channels of the input.
        out_channels: Number of colour channels.
        w_dim: Size of the styles.
        kernel_size: Width and height of the convolution kernel.
        conv_clamp: Clamp the output to [-conv_clamp, conv_clamp], `None` for no limit.
        channels_last: Keep the kernels in channels-last layout.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        kernel_size: int = 1,
        conv_clamp: float | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.w_dim = w_dim
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = _new_kernel(out_channels, in_channels, kernel_size, channels_last)
        self.bias = torch.nn.Parameter(torch.zeros([out_channels]))
        self.weight_gain = 1 / np.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor, w: Tensor, fused_modconv: bool = True) -> Tensor:
        """Map `x` `[N, in_channels, H, W]`, `w` `[N, w_dim]` to `[N, out_channels, H, W]`."""
        styles = self.affine(w) * self.weight_gain
        x, _ = _modulate_and_convolve(
            x, self.weight, styles, demodulate=False, padding=self.padding
        )
        return bias_act(x, self.bias, clamp=self.conv_clamp)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"in_channels={self.in_channels}, out_channels={self.out_channels}"


@persistence.persistent_class
class Conv2dLayer(torch.nn.Module):
    """Convolution with equalised learning rate, optional resampling, bias and activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Width and height of the convolution kernel.
        bias: Add a bias before the activation.
        activation: Name of the activation function, see `torch_utils.ops.bias_act`.
        up: Factor of upsampling.
        down: Factor of downsampling.
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Clamp the output to [-conv_clamp, conv_clamp], `None` for no limit.
        channels_last: Keep the kernels in channels-last layout.
        trainable: Keep weight and bias as parameters; as buffers otherwise.
    """

    weight: Tensor
    bias: Tensor | None
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        channels_last: bool = False,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.activation = activation
        self.up = up
        self.down = down
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        self.weight_gain = 1 / np.sqrt(in_channels * kernel_size**2)
        self.act_gain = activation_funcs[activation].def_gain
        self.register_buffer("resample_filter", upfirdn2d.setup_filter(resample_filter))
        kernel = _new_kernel(out_channels, in_channels, kernel_size, channels_last)
        offset = torch.nn.Parameter(torch.zeros([out_channels])) if bias else None
        if trainable:
            self.weight, self.bias = kernel, offset
        else:
            self.register_buffer("weight", kernel.detach())
            self.register_buffer("bias", None if offset is None else offset.detach())

    def forward(self, x: Tensor, gain: float = 1) -> Tensor:
        """Map features `[N, in_channels, H, W]` to `[N, out_channels, H', W']`, times `gain`."""
        # If nothing follows the convolution, as in a residual path, its weights take the gain.
        is_bare = self.bias is None and self.activation == "linear" and self.conv_clamp is None
        weight_gain = self.weight_gain * gain if is_bare else self.weight_gain
        x = conv2d_resample.conv2d_resample(
            x,
            (self.weight * weight_gain).to(x.dtype),
            f=self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            flip_weight=(self.up == 1),
        )
        if is_bare:
            return x
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, self.bias, act=self.activation, gain=self.act_gain * gain, clamp=clamp)

    def extra_repr(self) -> str:
        """Sizes and activation."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, up={self.up}, "
            f"down={self.down}, activation={self.activation}"
        )


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused_modconv: bool = True,
) -> Tensor:
    """Convolve each sample with kernels scaled by its own style (Sec. 2.2, Eqs. 1 and 3).

    The kernels are never built for each sample: scaling the channels of the input and of the output
    around one shared convolution is the same.

    Args:
        x: Features `[N, I, H, W]`.
        weight: Kernels `[O, I, kh, kw]`.
        styles: Styles `[N, I]`.
        noise: Added to the output, broadcast to `[N, O, H', W']`; `None` for none.
        up: Factor of upsampling.
        down: Factor of downsampling.
        padding: As for `conv2d_resample`.
        resample_filter: Low-pass filter for resampling, from `upfirdn2d.setup_filter`.
        demodulate: Normalise the scaled kernels for each sample and output.
        flip_weight: False convolves, True correlates.
        fused_modconv: Accepted because callers pass it; both values give the same result.

    Returns:
        Features `[N, O, H', W']` in the dtype of `x`.
    """
    x, out_scale = _modulate_and_convolve(
        x,
        weight,
        styles,
        demodulate,
        f=resample_filter,
        up=up,
        down=down,
        padding=padding,
        flip_weight=flip_weight,
    )
    noise = None if noise is None else noise.to(x.dtype)
    if out_scale is None:
        return x if noise is None else x + noise
    out_scale = out_scale.to(x.dtype)[:, :, None, None]
    return x * out_scale if noise is None else fma.fma(x, out_scale, noise)


def _modulate_and_convolve(
    x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, **resampling: Any
) -> tuple[Tensor, Tensor | None]:
    """`modulated_conv2d` up to the scale of its output, which the next op can apply.

    Returns:
        Features in the dtype of `x`, and their factors `[N, O]` (`None` without demodulation).
    """
    misc.assert_shape(weight, [None, x.shape[1], None, None])
    misc.assert_shape(styles, [x.shape[0], x.shape[1]])
    out_scale = None
    if demodulate:
        if x.dtype == torch.float16:
            # Demodulation undoes any scale; this one keeps the sums of the convolution in range.
            # (Bfloat16 has the range of float32.)
            weight = weight / (
                weight[0].numel() ** 0.5 * weight.abs().amax(dim=[1, 2, 3], keepdim=True)
            )
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        out_scale = _demodulation(weight, styles)
    # For one image there may be fewer weights than features, which are then cheaper to scale. With
    # gradients the features are scaled in any case: `no_weight_gradients` leaves out the gradients
    # of the weights, and would leave out those of the styles, too.
    is_cheaper_on_weights = x.shape[0] == 1 and weight.numel() <= x.numel()
    if is_cheaper_on_weights and not torch.is_grad_enabled():
        weight = weight * styles[0, :, None, None]
    else:
        x = layers.scale_channels(x, styles)
    return conv2d_resample.conv2d_resample(x, weight.to(x.dtype), **resampling), out_scale


def _demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Reciprocal norms `[N, O]` of the kernels `[O, I, kh, kw]` scaled by styles `[N, I]`."""
    if weight.dtype == torch.bfloat16:
        weight, styles = weight.float(), styles.float()
    # One matrix product, because sums over the few numbers of a kernel are slow.
    factors = styles.square().repeat_interleave(weight[0, 0].numel(), dim=1)
    norm = factors @ weight.square().flatten(1).t()
    return (norm + 1e-8).rsqrt()


@persistence.persistent_class
class Discriminator(torch.nn.Module):
    """Tell real images from generated ones.

    Args:
        c_dim: Size of the labels, 0 for an unconditional network.
        img_resolution: Width and height of the images, a power of two.
        img_channels: Number of colour channels.
        architecture: One of `ARCHITECTURES`.
        channel_base: Overall multiplier of the numbers of channels.
        channel_max: Largest number of channels.
        num_fp16_res: Use half precision for this many of the highest resolutions.
        conv_clamp: Clamp the output of layers to [-conv_clamp, conv_clamp], `None` for no limit.
        cmap_dim: Size of the mapped label, `None` for the number of channels at 4x4.
        block_kwargs: Arguments of `DiscriminatorBlock`.
        mapping_kwargs: Arguments of `MappingNetwork`, for the labels.
        epilogue_kwargs: Arguments of `DiscriminatorEpilogue`.
        half_dtype: Half precision is `"fp16"` (float16, on CUDA only) or `"bf16"` (bfloat16).
    """

    def __init__(
        self,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        architecture: str = "resnet",
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 4,
        conv_clamp: float | None = 256,
        cmap_dim: int | None = None,
        block_kwargs: dict[str, Any] | None = None,
        mapping_kwargs: dict[str, Any] | None = None,
        epilogue_kwargs: dict[str, Any] | None = None,
        half_dtype: str = "fp16",
    ) -> None:
        super().__init__()
        layers.check_resolution(img_resolution, minimum=8)
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.block_resolutions = _resolutions_up_to(img_resolution)[:0:-1]  # img_resolution to 8
        fp16_resolution = _lowest_fp16_resolution(img_resolution, num_fp16_res)
        channels = {
            res: _num_channels(res, channel_base, channel_max)
            for res in [*self.block_resolutions, 4]
        }
        if c_dim == 0:
            cmap_dim = 0
        elif cmap_dim is None:
            cmap_dim = channels[4]

        common: dict[str, Any] = dict(
            img_channels=img_channels, architecture=architecture, conv_clamp=conv_clamp
        )
        num_layers = 0
        for res in self.block_resolutions:
            block = DiscriminatorBlock(
                in_channels=channels[res] if res < img_resolution else 0,
                tmp_channels=channels[res],
                out_channels=channels[res // 2],
                resolution=res,
                first_layer_idx=num_layers,
                use_fp16=(res >= fp16_resolution),
                half_dtype=half_dtype,
                **common,
                **(block_kwargs or {}),
            )
            num_layers += block.num_layers
            setattr(self, f"b{res}", block)
        if c_dim > 0:
            self.mapping = MappingNetwork(
                0, c_dim, cmap_dim, num_ws=None, w_avg_beta=None, **(mapping_kwargs or {})
            )
        self.b4 = DiscriminatorEpilogue(
            channels[4], cmap_dim=cmap_dim, resolution=4, **common, **(epilogue_kwargs or {})
        )

    def forward(
        self,
        img: Tensor,
        c: Tensor | None,
        update_emas: bool = False,
        force_fp32: bool = False,
    ) -> Tensor:
        """Score images.

        Args:
            img: Images `[N, img_channels, img_resolution, img_resolution]` in [-1, 1].
            c: Labels `[N, c_dim]`; ignored if `c_dim` is 0.
            update_emas: Accepted as by the generators; there is nothing to update here.
            force_fp32: Never use half precision.

        Returns:
            Logits `[N, 1]`, float32 (as the weights): the higher, the more real.
        """
        misc.assert_shape(img, [None, self.img_channels, self.img_resolution, self.img_resolution])
        x = None
        for res in self.block_resolutions:
            x, img = getattr(self, f"b{res}")(x, img, force_fp32=force_fp32)
        cmap = self.mapping(None, c) if self.c_dim > 0 else None
        return self.b4(x, img, cmap)

    def extra_repr(self) -> str:
        """Sizes."""
        return (
            f"c_dim={self.c_dim}, img_resolution={self.img_resolution}, "
            f"img_channels={self.img_channels}"
        )


@persistence.persistent_class
class DiscriminatorBlock(torch.nn.Module):
    """All layers of one resolution of the discriminator.

    Args:
        in_channels: Channels of the input, 0 for the first block.
        tmp_channels: Channels between the two convolutions.
        out_channels: Channels of the output.
        resolution: Width and height of the input.
        img_channels: Number of colour channels.
        first_layer_idx: Number of layers before this block, for `freeze_layers`.
        architecture: One of `ARCHITECTURES`.
        activation: Name of the activation function, see `torch_utils.ops.bias_act`.
        resample_filter: Taps of the low-pass filter.
        conv_clamp: Clamp the output of layers to [-conv_clamp, conv_clamp], `None` for no limit.
        use_fp16: Compute in half precision.
        fp16_channels_last: Keep features in half precision in channels-last layout.
        freeze_layers: Do not train this many of the network's first layers (Freeze-D).
        half_dtype: Half precision is `"fp16"` (float16, on CUDA only) or `"bf16"` (bfloat16).
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        tmp_channels: int,
        out_channels: int,
        resolution: int,
        img_channels: int,
        first_layer_idx: int,
        architecture: str = "resnet",
        activation: str = "lrelu",
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        use_fp16: bool = False,
        fp16_channels_last: bool = False,
        freeze_layers: int = 0,
        half_dtype: str = "fp16",
    ) -> None:
        super().__init__()
        _check_architecture(architecture)
        layers.check_half_dtype(half_dtype)
        self.in_channels = in_channels
        self.resolution = resolution
        self.img_channels = img_channels
        self.architecture = architecture
        self.use_fp16 = use_fp16
        self.half_dtype = half_dtype
        self.channels_last = use_fp16 and fp16_channels_last
        self.num_layers = 0
        self.register_buffer("resample_filter", upfirdn2d.setup_filter(resample_filter))

        def conv(in_channels: int, out_channels: int, **kwargs: Any) -> Conv2dLayer:
            kwargs["trainable"] = first_layer_idx + self.num_layers >= freeze_layers
            kwargs["channels_last"] = self.channels_last
            self.num_layers += 1
            return Conv2dLayer(in_channels, out_channels, **kwargs)

        active = dict(activation=activation, conv_clamp=conv_clamp)
        down = dict(down=2, resample_filter=resample_filter)
        if in_channels == 0 or architecture == "skip":
            self.fromrgb = conv(img_channels, tmp_channels, kernel_size=1, **active)
        self.conv0 = conv(tmp_channels, tmp_channels, kernel_size=3, **active)
        self.conv1 = conv(tmp_channels, out_channels, kernel_size=3, **active, **down)
        if architecture == "resnet":
            self.skip = conv(tmp_channels, out_channels, kernel_size=1, bias=False, **down)

    def forward(
        self, x: Tensor | None, img: Tensor | None, force_fp32: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Halve the resolution of features and image.

        Args:
            x: Features `[N, in_channels, resolution, resolution]`, `None` for the first block.
            img: Image `[N, img_channels, resolution, resolution]`; only the first block needs it,
                or, in the skip architecture, every block.
            force_fp32: Never use half precision.

        Returns:
            Features `[N, out_channels, resolution / 2, resolution / 2]`, and the image for the next
            block or `None`.
        """
        dtype, memory_format = _precision(self, force_fp32)
        if x is not None:
            misc.assert_shape(x, [None, self.in_channels, self.resolution, self.resolution])
            x = x.to(dtype=dtype, memory_format=memory_format)
        if self.in_channels == 0 or self.architecture == "skip":
            assert img is not None
            misc.assert_shape(img, [None, self.img_channels, self.resolution, self.resolution])
            img = img.to(dtype)
            y = self.fromrgb(img.contiguous(memory_format=memory_format))
            x = y if x is None else x + y
            is_skip = self.architecture == "skip"
            img = upfirdn2d.downsample2d(img, self.resample_filter) if is_skip else None
        if self.architecture == "resnet":
            skipped = self.skip(x, gain=RESIDUAL_GAIN)
            return skipped + self.conv1(self.conv0(x), gain=RESIDUAL_GAIN), img
        return self.conv1(self.conv0(x)), img

    def extra_repr(self) -> str:
        """Resolution and architecture."""
        return f"resolution={self.resolution}, architecture={self.architecture}"


def minibatch_group_size(num_samples: int, wanted: int | None) -> int:
    """Samples in a group of `MinibatchStdLayer`: `wanted`, or the next smaller divisor.

    A group of one has no spread, so its feature is constant.

    Args:
        num_samples: Samples in a pass.
        wanted: Desired size, `None` for the whole pass.
    """
    size = num_samples if wanted is None else min(wanted, num_samples)
    while num_samples % size != 0:
        size -= 1
    return size


@persistence.persistent_class
class MinibatchStdLayer(torch.nn.Module):
    """Append the standard deviation over groups of samples as features.

    Karras et al. 2018, "Progressive Growing of GANs", Sec. 3.

    Args:
        group_size: Samples in a group, `None` for the whole batch. If the batch is no multiple of
            this size, the next smaller size that divides the batch.
        num_channels: Number of features to append.
    """

    def __init__(self, group_size: int | None, num_channels: int = 1) -> None:
        super().__init__()
        self.group_size = group_size
        self.num_channels = num_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map features `[N, C, H, W]` to `[N, C + num_channels, H, W]`."""
        n, c, h, w = x.shape
        group_size = minibatch_group_size(n, self.group_size)
        # Sample i belongs to group i % (N / group_size); features are averaged in num_channels
        # parts.
        y = x.reshape(group_size, -1, self.num_channels, c // self.num_channels, h, w)
        y = (y - y.mean(dim=0)).square().mean(dim=0)
        y = (y + 1e-8).sqrt().mean(dim=[2, 3, 4])  # [groups, num_channels]
        y = y.repeat(group_size, 1)[:, :, None, None].expand(-1, -1, h, w)
        return torch.cat([x, y], dim=1)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"group_size={self.group_size}, num_channels={self.num_channels}"


@persistence.persistent_class
class DiscriminatorEpilogue(torch.nn.Module):
    """The last layers of the discriminator, never in half precision.

    Args:
        in_channels: Channels of the input.
        cmap_dim: Size of the mapped label, 0 for none.
        resolution: Width and height of the input.
        img_channels: Number of colour channels.
        architecture: One of `ARCHITECTURES`.
        mbstd_group_size: Group size of the minibatch standard deviation, `None` for the whole
            batch.
        mbstd_num_channels: Number of its features, 0 to leave it out.
        activation: Name of the activation function, see `torch_utils.ops.bias_act`.
        conv_clamp: Clamp the output of the convolution, `None` for no limit.
    """

    def __init__(
        self,
        in_channels: int,
        cmap_dim: int,
        resolution: int,
        img_channels: int,
        architecture: str = "resnet",
        mbstd_group_size: int | None = 4,
        mbstd_num_channels: int = 1,
        activation: str = "lrelu",
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        _check_architecture(architecture)
        self.in_channels = in_channels
        self.cmap_dim = cmap_dim
        self.resolution = resolution
        self.architecture = architecture
        active: dict[str, Any] = dict(activation=activation, conv_clamp=conv_clamp)
        if architecture == "skip":
            self.fromrgb = Conv2dLayer(
                img_channels, in_channels, kernel_size=1, activation=activation
            )
        self.mbstd = None
        if mbstd_num_channels > 0:
            self.mbstd = MinibatchStdLayer(mbstd_group_size, mbstd_num_channels)
        self.conv = Conv2dLayer(
            in_channels + mbstd_num_channels, in_channels, kernel_size=3, **active
        )
        self.fc = FullyConnectedLayer(
            in_channels * resolution**2, in_channels, activation=activation
        )
        self.out = FullyConnectedLayer(in_channels, 1 if cmap_dim == 0 else cmap_dim)

    def forward(self, x: Tensor, img: Tensor | None, cmap: Tensor | None) -> Tensor:
        """Map features `[N, in_channels, resolution, resolution]` to logits `[N, 1]`.

        Args:
            x: Features.
            img: Image `[N, img_channels, resolution, resolution]`, for the skip architecture.
            cmap: Mapped labels `[N, cmap_dim]`, for a conditional network.
        """
        misc.assert_shape(x, [None, self.in_channels, self.resolution, self.resolution])
        x = x.to(dtype=self.out.weight.dtype, memory_format=torch.contiguous_format)
        if self.architecture == "skip":
            assert img is not None
            img = img.to(dtype=x.dtype, memory_format=torch.contiguous_format)
            x = x + self.fromrgb(img)
        if self.mbstd is not None:
            x = self.mbstd(x)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        if self.cmap_dim > 0:
            # Projection discriminator (Miyato and Koyama 2018).
            assert cmap is not None
            misc.assert_shape(cmap, [None, self.cmap_dim])
            x = (x * cmap).sum(dim=1, keepdim=True) / np.sqrt(self.cmap_dim)
        return x

    def extra_repr(self) -> str:
        """Resolution and architecture."""
        return f"resolution={self.resolution}, architecture={self.architecture}"


def _resolutions_up_to(img_resolution: int) -> list[int]:
    return [2**i for i in range(2, img_resolution.bit_length())]


def _num_channels(resolution: int, channel_base: int, channel_max: int) -> int:
    num_channels = min(channel_base // resolution, channel_max)
    if num_channels < 1:
        raise ValueError(
            f"`channel_base` (--cbase) of {channel_base} leaves no channels at {resolution}x"
            f"{resolution}; it must be at least {resolution}"
        )
    return num_channels


def _lowest_fp16_resolution(img_resolution: int, num_fp16_res: int) -> int:
    return max(img_resolution * 2 // 2**num_fp16_res, 8)


def _precision(
    block: SynthesisBlock | DiscriminatorBlock, force_fp32: bool
) -> tuple[torch.dtype, torch.memory_format]:
    """Dtype and layout of a block's features."""
    dtype = layers.compute_dtype(block.conv1.weight, block.use_fp16, force_fp32, block.half_dtype)
    is_channels_last = block.channels_last and dtype in layers.HALF_DTYPES.values()
    return dtype, torch.channels_last if is_channels_last else torch.contiguous_format


def _new_kernel(
    out_channels: int, in_channels: int, kernel_size: int, channels_last: bool
) -> torch.nn.Parameter:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    kernel = torch.randn([out_channels, in_channels, kernel_size, kernel_size])
    return torch.nn.Parameter(kernel.to(memory_format=memory_format))


def _check_architecture(architecture: str) -> None:
    if architecture not in ARCHITECTURES:
        raise ValueError(f"`architecture` must be one of {ARCHITECTURES}, got {architecture!r}")
