"""The alias-free generator: StyleGAN3-T and StyleGAN3-R.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks". Signals are continuous and
band-limited; feature maps sample them. Sizes are in pixels, sampling rates in samples per image
width, cutoffs and half widths in cycles per image width; a margin around the image hides its
borders (Sec. 3.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal
import scipy.special
import torch
from torch import Tensor

from torch_utils import layers, misc, persistence
from torch_utils.layers import FullyConnectedLayer, MappedGenerator
from torch_utils.ops import conv2d_gradfix
from torch_utils.ops.filtered_lrelu import filtered_lrelu

MAX_TAPS = 512  # per axis; only wrong options ask for more, and could fill the memory


@persistence.persistent_class
class Generator(MappedGenerator):
    """Mapping network and `SynthesisNetwork`; arguments as for `MappedGenerator`."""

    def make_mapping(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """Construct the mapping network."""
        return MappingNetwork(*args, **kwargs)

    def make_synthesis(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """Construct the synthesis network."""
        return SynthesisNetwork(*args, **kwargs)


@persistence.persistent_class
class MappingNetwork(layers.MappingNetwork):
    """As for StyleGAN2, with two layers in place of eight (Sec. 3.1)."""

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, num_ws: int, num_layers: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(z_dim, c_dim, w_dim, num_ws, num_layers, **kwargs)


@persistence.persistent_class
class SynthesisNetwork(torch.nn.Module):
    """Fourier features and a sequence of alias-free layers (Fig. 4b).

    Args:
        w_dim: Size of the styles.
        img_resolution: Width and height of the images, a power of two.
        img_channels: Number of colour channels.
        channel_base: Overall multiplier of the numbers of channels.
        channel_max: Largest number of channels.
        num_layers: Number of layers before ToRGB.
        num_critical: How many of the last layers sample critically, that is, at twice their cutoff.
        first_cutoff: Cutoff of the first layer, f_c,0.
        first_stopband: Minimum stopband of the first layer, f_t,0.
        last_stopband_rel: Minimum stopband of the last layer, relative to its cutoff.
        margin_size: Pixels outside of the image, on each side.
        output_scale: Factor on the output of ToRGB.
        num_fp16_res: Use half precision for this many of the highest sampling rates.
        layer_kwargs: Arguments of `SynthesisLayer`.
    """

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_layers: int = 14,
        num_critical: int = 2,
        first_cutoff: float = 2,
        first_stopband: float = 2**2.1,
        last_stopband_rel: float = 2**0.3,
        margin_size: int = 10,
        output_scale: float = 0.25,
        num_fp16_res: int = 4,
        **layer_kwargs: Any,
    ) -> None:
        super().__init__()
        layers.check_resolution(img_resolution)
        self.w_dim = w_dim
        self.num_ws = num_layers + 2
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.num_layers = num_layers
        self.num_critical = num_critical
        self.margin_size = margin_size
        self.output_scale = output_scale
        self.num_fp16_res = num_fp16_res

        signals = design_signals(
            img_resolution,
            img_channels,
            channel_base,
            channel_max,
            num_layers,
            num_critical,
            first_cutoff,
            first_stopband,
            last_stopband_rel,
            margin_size,
        )
        self.input = SynthesisInput(
            w_dim,
            channels=signals[0].channels,
            size=signals[0].size,
            sampling_rate=signals[0].sampling_rate,
            bandwidth=signals[0].cutoff,
        )
        self.layer_names = []
        for idx, signal_out in enumerate(signals):
            signal_in = signals[max(idx - 1, 0)]
            layer = SynthesisLayer(
                w_dim,
                is_torgb=(idx == num_layers),
                is_critically_sampled=(idx >= num_layers - num_critical),
                use_fp16=bool(signal_out.sampling_rate * 2**num_fp16_res > img_resolution),
                in_channels=signal_in.channels,
                out_channels=signal_out.channels,
                in_size=signal_in.size,
                out_size=signal_out.size,
                in_sampling_rate=signal_in.sampling_rate,
                out_sampling_rate=signal_out.sampling_rate,
                in_cutoff=signal_in.cutoff,
                out_cutoff=signal_out.cutoff,
                in_half_width=signal_in.half_width,
                out_half_width=signal_out.half_width,
                **layer_kwargs,
            )
            name = f"L{idx}_{signal_out.size}_{signal_out.channels}"
            setattr(self, name, layer)
            self.layer_names.append(name)

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "random",
        force_fp32: bool = False,
        update_emas: bool = False,
    ) -> Tensor:
        """Synthesise images.

        Args:
            ws: Styles `[N, num_ws, w_dim]`: one for the Fourier features, one for each layer.
            noise_mode: Accepted as by StyleGAN2; this network has no noise.
            force_fp32: Never use half precision.
            update_emas: Let the magnitudes of the layers' inputs enter their moving averages.

        Returns:
            Images `[N, img_channels, img_resolution, img_resolution]`, float32 (as the weights),
            nominally in [-1, 1].
        """
        layers.check_noise_mode(noise_mode)
        misc.assert_shape(ws, [None, self.num_ws, self.w_dim])
        ws = ws.to(self.input.weight.dtype)
        w_input, *w_layers = ws.unbind(dim=1)
        x = self.input(w_input)
        for name, w in zip(self.layer_names, w_layers, strict=True):
            x = getattr(self, name)(x, w, force_fp32=force_fp32, update_emas=update_emas)
        x = x.to(dtype=ws.dtype, memory_format=torch.contiguous_format)
        return x * self.output_scale

    def extra_repr(self) -> str:
        """Sizes and numbers of layers."""
        return (
            f"w_dim={self.w_dim}, num_ws={self.num_ws}, img_resolution={self.img_resolution}, "
            f"img_channels={self.img_channels}, num_layers={self.num_layers}, "
            f"num_critical={self.num_critical}"
        )


@dataclass(frozen=True)
class Signal:
    """How the feature maps of a layer sample their continuous signal."""

    size: int
    channels: int
    sampling_rate: float
    cutoff: float
    half_width: float


def design_signals(
    img_resolution: int,
    img_channels: int,
    channel_base: int,
    channel_max: int,
    num_layers: int,
    num_critical: int,
    first_cutoff: float,
    first_stopband: float,
    last_stopband_rel: float,
    margin_size: int,
) -> list[Signal]:
    """The output of every layer, ToRGB included; arguments as for `SynthesisNetwork`.

    Raises:
        ValueError: If a layer would have no channels.
    """
    # Geometric progression of cutoffs f_c and minimum stopbands f_t (Sec. 3.2).
    last_cutoff = img_resolution / 2
    last_stopband = last_cutoff * last_stopband_rel
    exponents = np.minimum(np.arange(num_layers + 1) / (num_layers - num_critical), 1)
    cutoffs = first_cutoff * (last_cutoff / first_cutoff) ** exponents
    stopbands = first_stopband * (last_stopband / first_stopband) ** exponents

    # Sampling rates s, transition half widths f_h, and the resulting sizes and channels.
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, img_resolution))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + margin_size * 2
    sizes[-2:] = img_resolution
    channels = np.rint(np.minimum((channel_base / 2) / cutoffs, channel_max))
    channels[-1] = img_channels
    if channels.min() < 1:
        raise ValueError(
            f"`channel_base` (--cbase) of {channel_base} leaves no channels in the last layers; it "
            f"must be at least {img_resolution}"
        )
    return [
        Signal(int(size), int(num_channels), float(rate), float(cutoff), float(half_width))
        for size, num_channels, rate, cutoff, half_width in zip(
            sizes, channels, rates, cutoffs, half_widths, strict=True
        )
    ]


@persistence.persistent_class
class SynthesisInput(torch.nn.Module):
    """Fourier features, which the style translates and rotates (Secs. 3.1 and 3.2).

    The buffer `transform` `[3, 3]` maps homogeneous coordinates of the image to coordinates of the
    features; it is the inverse of the transformation that the image undergoes.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(
        self,
        w_dim: int,
        channels: int,
        size: int | Sequence[int],
        sampling_rate: float,
        bandwidth: float,
    ) -> None:
        super().__init__()
        self.w_dim = w_dim
        self.channels = channels
        self.size = _width_and_height(size)
        self.sampling_rate = sampling_rate
        self.bandwidth = bandwidth

        # Frequencies spread evenly over the disc that the bandwidth allows.
        freqs = torch.randn([channels, 2])
        radii = freqs.square().sum(dim=1, keepdim=True).sqrt()
        freqs = freqs / (radii * radii.square().exp().pow(0.25)) * bandwidth
        phases = torch.rand([channels]) - 0.5

        self.weight = torch.nn.Parameter(torch.randn([channels, channels]))
        self.affine = FullyConnectedLayer(w_dim, 4, weight_init=0, bias_init=[1, 0, 0, 0])
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", phases)

    def forward(self, w: Tensor) -> Tensor:
        """Return features `[N, channels, height, width]` for styles `[N, w_dim]`."""
        transform = self._transform_of_style(w) @ self.transform  # [N, 3, 3]

        # Translating the image shifts phases; rotating or scaling it does so to the frequencies.
        phases = self.phases + (self.freqs @ transform[:, :2, 2:]).squeeze(2)  # [N, C]
        freqs = self.freqs @ transform[:, :2, :2]  # [N, C, 2]

        # Fade out the frequencies that the user's transform moves out of the band.
        excess = (freqs.norm(dim=2) - self.bandwidth) / (self.sampling_rate / 2 - self.bandwidth)
        amplitudes = (1 - excess).clamp(0, 1)  # [N, C]

        # Pixel centres, in image widths from the centre.
        coords_x, coords_y = (
            (torch.arange(size, dtype=w.dtype, device=w.device) + (1 - size) / 2)
            / self.sampling_rate
            for size in self.size
        )
        # Numbers [N, C] and their products with coordinates are few: they take all that they can.
        freqs, phases = freqs * (2 * np.pi), phases * (2 * np.pi)
        arg_x = freqs[:, :, None, 0] * coords_x + phases[:, :, None]  # [N, C, W]
        arg_y = freqs[:, :, None, 1] * coords_y  # [N, C, H]
        x = torch.sin(arg_y[:, :, :, None] + arg_x[:, :, None])  # [N, C, H, W]
        weight = amplitudes[:, None] * (self.weight / np.sqrt(self.channels))  # [N, C, C]
        return torch.bmm(weight, x.flatten(2)).view(x.shape)

    def _transform_of_style(self, w: Tensor) -> Tensor:
        t = self.affine(w)  # r_c, r_s, t_x, t_y
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        r_c, r_s, t_x, t_y = t.unbind(dim=1)
        zero, one = torch.zeros_like(r_c), torch.ones_like(r_c)
        rotation = torch.stack([r_c, -r_s, zero, r_s, r_c, zero, zero, zero, one], dim=1)
        translation = torch.stack([one, zero, -t_x, zero, one, -t_y, zero, zero, one], dim=1)
        return rotation.view(-1, 3, 3) @ translation.view(-1, 3, 3)

    def extra_repr(self) -> str:
        """Sizes and band."""
        return (
            f"w_dim={self.w_dim}, channels={self.channels}, size={self.size}, "
            f"sampling_rate={self.sampling_rate:g}, bandwidth={self.bandwidth:g}"
        )


@persistence.persistent_class
class SynthesisLayer(torch.nn.Module):
    """Modulated convolution and filtered leaky ReLU (Fig. 4b, Sec. 3.2).

    Args:
        w_dim: Size of the styles.
        is_torgb: The last layer: 1x1 convolution, neither demodulated nor followed by a
            nonlinearity.
        is_critically_sampled: Its filters are separable even in config R.
        use_fp16: Compute in half precision.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        in_size: Width and height of the input, one number or two.
        out_size: Width and height of the output, likewise.
        in_sampling_rate: Sampling rate s of the input.
        out_sampling_rate: Sampling rate s of the output.
        in_cutoff: Cutoff f_c of the input.
        out_cutoff: Cutoff f_c of the output.
        in_half_width: Transition half width f_h of the input.
        out_half_width: Transition half width f_h of the output.
        conv_kernel: Width and height of the convolution kernel.
        filter_size: Taps of the low-pass filters, relative to the factor of resampling.
        lrelu_upsampling: Sampling rate of the nonlinearity, relative to the higher of input and
            output.
        use_radial_filters: Downsample with radially symmetric filters (config R).
        conv_clamp: Clamp the output to [-conv_clamp, conv_clamp], `None` for no limit.
        magnitude_ema_beta: Decay of the moving average of the input's magnitude.
        half_dtype: Half precision is `"fp16"` (float16, on CUDA only) or `"bf16"` (bfloat16).
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        w_dim: int,
        is_torgb: bool,
        is_critically_sampled: bool,
        use_fp16: bool,
        in_channels: int,
        out_channels: int,
        in_size: int | Sequence[int],
        out_size: int | Sequence[int],
        in_sampling_rate: float,
        out_sampling_rate: float,
        in_cutoff: float,
        out_cutoff: float,
        in_half_width: float,
        out_half_width: float,
        conv_kernel: int = 3,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        use_radial_filters: bool = False,
        conv_clamp: float | None = 256,
        magnitude_ema_beta: float = 0.999,
        half_dtype: str = "fp16",
    ) -> None:
        super().__init__()
        layers.check_half_dtype(half_dtype)
        self.w_dim = w_dim
        self.is_torgb = is_torgb
        self.is_critically_sampled = is_critically_sampled
        self.use_fp16 = use_fp16
        self.half_dtype = half_dtype
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.in_size = _width_and_height(in_size)
        self.out_size = _width_and_height(out_size)
        self.in_sampling_rate = in_sampling_rate
        self.out_sampling_rate = out_sampling_rate
        self.in_cutoff = in_cutoff
        self.out_cutoff = out_cutoff
        self.in_half_width = in_half_width
        self.out_half_width = out_half_width
        self.conv_kernel = 1 if is_torgb else conv_kernel
        self.conv_clamp = conv_clamp
        self.magnitude_ema_beta = magnitude_ema_beta

        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = torch.nn.Parameter(
            torch.randn([out_channels, in_channels, self.conv_kernel, self.conv_kernel])
        )
        self.bias = torch.nn.Parameter(torch.zeros([out_channels]))
        self.register_buffer("magnitude_ema", torch.ones([]))

        # The nonlinearity runs at a temporary rate that both filters are designed for.
        self.tmp_sampling_rate = max(in_sampling_rate, out_sampling_rate) * (
            1 if is_torgb else lrelu_upsampling
        )
        self.down_radial = use_radial_filters and not is_critically_sampled
        self._design_filters(filter_size)
        self.padding = self._design_padding()

    def forward(
        self, x: Tensor, w: Tensor, force_fp32: bool = False, update_emas: bool = False
    ) -> Tensor:
        """Map `[N, in_channels, in_size, in_size]` to `[N, out_channels, out_size, out_size]`.

        Args:
            x: Features.
            w: Styles `[N, w_dim]`.
            force_fp32: Never use half precision.
            update_emas: Let the magnitude of the input enter its moving average, before it is used.
        """
        in_width, in_height = self.in_size
        misc.assert_shape(x, [None, self.in_channels, in_height, in_width])
        misc.assert_shape(w, [x.shape[0], self.w_dim])
        if update_emas:
            magnitude = _mean_square(x.detach(), self.magnitude_ema.dtype)
            self.magnitude_ema.copy_(magnitude.lerp(self.magnitude_ema, self.magnitude_ema_beta))
        styles = self.affine(w)
        if self.is_torgb:
            styles = styles / np.sqrt(self.in_channels * self.conv_kernel**2)
        dtype = layers.compute_dtype(self.weight, self.use_fp16, force_fp32, self.half_dtype)
        x, out_scale = _conv2d_before_scale(
            x.to(dtype),
            self.weight,
            styles,
            demodulate=not self.is_torgb,
            padding=self.conv_kernel - 1,
            input_gain=self.magnitude_ema.rsqrt(),
        )
        return filtered_lrelu(
            x,
            fu=self.up_filter,
            fd=self.down_filter,
            b=self.bias,
            up=self.up_factor,
            down=self.down_factor,
            padding=self.padding,
            gain=1 if self.is_torgb else np.sqrt(2),
            slope=1 if self.is_torgb else 0.2,
            clamp=self.conv_clamp,
            scale=out_scale,
        )

    def _design_filters(self, filter_size: int) -> None:
        """Set `up_factor`, `up_taps`, `up_filter`, and the same for downsampling."""
        self.up_factor = _ratio(self.tmp_sampling_rate, self.in_sampling_rate)
        self.up_taps = 1 if self.up_factor == 1 or self.is_torgb else filter_size * self.up_factor
        up_filter = self.design_lowpass_filter(
            self.up_taps, self.in_cutoff, self.in_half_width * 2, self.tmp_sampling_rate
        )
        self.register_buffer("up_filter", up_filter)
        self.down_factor = _ratio(self.tmp_sampling_rate, self.out_sampling_rate)
        self.down_taps = (
            1 if self.down_factor == 1 or self.is_torgb else filter_size * self.down_factor
        )
        down_filter = self.design_lowpass_filter(
            self.down_taps,
            self.out_cutoff,
            self.out_half_width * 2,
            self.tmp_sampling_rate,
            radial=self.down_radial,
        )
        self.register_buffer("down_filter", down_filter)

    def _design_padding(self) -> list[int]:
        """Padding for x and y that gives the output its size, centred on the input."""
        padding = []
        for size_in, size_out in zip(self.in_size, self.out_size, strict=True):
            total = (size_out - 1) * self.down_factor + 1  # at the temporary rate, after `fd`
            total -= (size_in + self.conv_kernel - 1) * self.up_factor
            total += self.up_taps + self.down_taps - 2
            low = (total + self.up_factor) // 2
            padding += [low, total - low]
        return padding

    @staticmethod
    def design_lowpass_filter(
        numtaps: int, cutoff: float, width: float, fs: float, radial: bool = False
    ) -> Tensor | None:
        """Design a Kaiser-windowed low-pass filter (Sec. 3.2).

        Args:
            numtaps: Number of taps per axis; a radial filter needs an even number.
            cutoff: Cutoff frequency.
            width: Width of the transition band.
            fs: Sampling rate, in the unit of `cutoff` and `width`.
            radial: Make a rotationally symmetric 2D filter instead of a separable one.

        Returns:
            Float32 filter `[numtaps]`, or `[numtaps, numtaps]` if radial; `None` for one tap.

        Raises:
            ValueError: If `numtaps` is not from 1 to `MAX_TAPS`, or odd for a radial filter.
        """
        if not 1 <= numtaps <= MAX_TAPS or (radial and numtaps > 1 and numtaps % 2 != 0):
            raise ValueError(f"cannot design a filter of {numtaps} taps (radial={radial})")
        if numtaps == 1:
            return None
        if not radial:
            taps = scipy.signal.firwin(numtaps, cutoff, width=width, fs=fs)
            return torch.as_tensor(taps, dtype=torch.float32)
        # The ideal circular low-pass filter is the jinc function.
        axis = (np.arange(numtaps) - (numtaps - 1) / 2) / fs
        radius = np.hypot(axis[:, None], axis)
        taps = scipy.special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius)
        attenuation = scipy.signal.kaiser_atten(numtaps, width / (fs / 2))
        window = np.kaiser(numtaps, scipy.signal.kaiser_beta(attenuation))
        taps *= np.outer(window, window)
        return torch.as_tensor(taps / taps.sum(), dtype=torch.float32)

    def extra_repr(self) -> str:
        """Sizes and resampling."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"in_size={self.in_size}, out_size={self.out_size}, up={self.up_factor}, "
            f"down={self.down_factor}, is_torgb={self.is_torgb}, use_fp16={self.use_fp16}"
        )


def modulated_conv2d(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    demodulate: bool = True,
    padding: int | list[int] = 0,
    input_gain: Tensor | None = None,
) -> Tensor:
    """Convolve each sample with kernels scaled by its own style (Karras et al. 2020, Sec. 2.2).

    The kernels are never built for each sample: scaling the channels of the input and of the output
    around one shared convolution is the same.

    Args:
        x: Features `[N, I, H, W]`.
        w: Kernels `[O, I, kh, kw]`.
        s: Styles `[N, I]`.
        demodulate: Normalise kernels and styles, and the scaled kernels for each sample and output.
        padding: Zeros around the input, an integer or `[y, x]`.
        input_gain: Scale of the input that demodulation does not undo: `[]`, `[I]` or `[N, I]`.

    Returns:
        Features `[N, O, H', W']` in the dtype of `x`.
    """
    x, out_scale = _conv2d_before_scale(x, w, s, demodulate, padding, input_gain)
    return x if out_scale is None else layers.scale_channels(x, out_scale)


def _conv2d_before_scale(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    demodulate: bool,
    padding: int | list[int],
    input_gain: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """`modulated_conv2d` without its last step, the scale `[N, O]`, which a later op can apply."""
    misc.assert_shape(w, [None, x.shape[1], None, None])
    misc.assert_shape(s, [x.shape[0], x.shape[1]])
    out_scale = None
    if demodulate:
        squares = w.square().flatten(1)  # [O, I * kh * kw]
        s = s * s.square().mean().rsqrt()
        # One matrix product, because sums over the few numbers of a kernel are slow. As the kernels
        # are not of unit norm, the small number that keeps the sums above zero takes their scale.
        factors = s.square() + 1e-8 / w[0].numel()
        factors = factors.repeat_interleave(w[0, 0].numel(), dim=1)
        out_scale = (factors @ squares.t()).rsqrt()  # [N, O]
        if x.dtype == torch.float16:
            # Kernels of unit norm keep the sums of the convolution in range. (Bfloat16 has the
            # range of float32.)
            w_norm = squares.sum(dim=1).sqrt()  # [O]
            w = w / w_norm[:, None, None, None]
            out_scale = out_scale * w_norm
    if input_gain is not None:
        s = s * input_gain
    # For one image there may be fewer weights than features, which are then cheaper to scale. With
    # gradients the features are scaled in any case: `no_weight_gradients` leaves out the gradients
    # of the weights, and would leave out those of the styles, too.
    is_cheaper_on_weights = x.shape[0] == 1 and w[:, 0].numel() < x[0, 0].numel()
    if is_cheaper_on_weights and not torch.is_grad_enabled():
        w = w * s[:, :, None, None]  # [1, I, 1, 1]
    else:
        x = layers.scale_channels(x, s)
    return conv2d_gradfix.conv2d(x, w.to(x.dtype), padding=padding), out_scale


def _mean_square(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Mean of the squares of features `[N, C, H, W]`, computed in `dtype`."""
    # The norm converts numbers as it reads them, and stores neither these nor their squares. That
    # of each channel sums few enough squares to be exact without summing in pairs.
    norms = torch.linalg.vector_norm(x, dim=[2, 3], dtype=dtype)
    return norms.square().sum() / x.numel()


def _width_and_height(size: int | Sequence[int]) -> list[int]:
    width, height = np.broadcast_to(size, [2]).tolist()
    return [width, height]


def _ratio(high: float, low: float) -> int:
    factor = int(np.rint(high / low))
    if factor * low != high:
        raise ValueError(f"sampling rate {high:g} is not a multiple of {low:g}")
    return factor
