"""A generator and a discriminator with the calls of StyleGAN2's."""

import numpy as np
import torch

from torch_utils import misc, persistence
from torch_utils.ops import bias_act, conv2d_resample, fma, upfirdn2d


def taps_for(is_filtered):
    return upfirdn2d.setup_filter([1, 3, 3, 1]) if is_filtered else None


def half(is_half):
    """What published networks do at high resolutions, on any device."""
    if is_half:
        return dict(dtype=torch.float16, memory_format=torch.channels_last)
    return dict(dtype=torch.float32, memory_format=torch.contiguous_format)


@misc.profiled_function
def convolve_by_style(x, weight, style, f, up, down, padding, noise, is_grouped):
    """Weights scaled per image and normalised per output channel, all at once or in steps."""
    misc.assert_shape(x, [style.shape[0], weight.shape[1], None, None])
    misc.assert_shape(style, [None, weight.shape[1]])
    flip = up == 1
    weights = weight * style[:, None, :, None, None]
    norm = (weights.square().sum([2, 3, 4]) + 1e-8).rsqrt()
    if not is_grouped:
        x = x * style.to(x.dtype)[:, :, None, None]
        w = weight.to(x.dtype)
        x = conv2d_resample.conv2d_resample(
            x=x, w=w, f=f, up=up, down=down, padding=padding, flip_weight=flip
        )
        return fma.fma(x, norm.to(x.dtype)[:, :, None, None], noise.to(x.dtype))
    with misc.suppress_tracer_warnings():  # sizes are tensors in a trace
        num = int(x.shape[0])
    w = (weights * norm[:, :, None, None, None]).flatten(0, 1).to(x.dtype)
    x = x.reshape(1, -1, *x.shape[2:])
    x = conv2d_resample.conv2d_resample(
        x=x, w=w, f=f, up=up, down=down, padding=padding, groups=num, flip_weight=flip
    )
    return x.reshape(num, -1, *x.shape[2:]) + noise.to(x.dtype)


@persistence.persistent_class
class Dense(torch.nn.Module):
    def __init__(self, num_in, num_out, act="linear", offset=0.0, seed=0):
        super().__init__()
        rng = np.random.RandomState(seed)
        weight = rng.randn(num_out, num_in) / np.sqrt(num_in)
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.full([num_out], float(offset)))
        self.act = act

    def forward(self, x):
        return bias_act.bias_act(x @ self.weight.t(), self.bias, act=self.act)


@persistence.persistent_class
class Mapping(torch.nn.Module):
    def __init__(self, width=6, acts=("lrelu", "relu", "softplus"), seed=0):
        super().__init__()
        layers = [Dense(width, width, act, 0.1, seed + i) for i, act in enumerate(acts)]
        self.layers = torch.nn.ModuleList(layers)
        self.register_buffer("w_avg", torch.linspace(-0.1, 0.1, width))

    def forward(self, z, truncation=1.0):
        misc.assert_shape(z, [None, self.w_avg.shape[0]])
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            w = layer(w)
        return self.w_avg.lerp(w, truncation)


@persistence.persistent_class
class StyledLayer(torch.nn.Module):
    def __init__(self, num_in, num_out, size, kernel=3, up=1, act="lrelu", clamp=None, **options):
        super().__init__()
        self.options = options  # is_half, is_filtered, is_grouped, padding, gain
        self.up, self.act, self.clamp = up, act, clamp
        self.def_gain = bias_act.activation_funcs[act].def_gain
        rng = np.random.RandomState(num_out + size)
        weight = rng.randn(num_out, num_in, kernel, kernel)
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.tensor(rng.randn(num_out), dtype=torch.float32))
        self.strength = torch.nn.Parameter(torch.tensor(0.3))
        self.affine = Dense(6, num_in, offset=1.0, seed=size)
        self.register_buffer("noise", torch.tensor(rng.randn(size, size), dtype=torch.float32))
        self.register_buffer("resample_filter", taps_for(options.get("is_filtered", True)))

    def forward(self, x, w, gain=1.0):
        x = x.to(**half(self.options.get("is_half")))
        padding = self.options.get("padding", self.weight.shape[2] // 2)
        x = convolve_by_style(
            x,
            self.weight,
            self.affine(w),
            self.resample_filter,
            self.up,
            1,
            padding,
            self.noise * self.strength,
            self.options.get("is_grouped", False),
        )
        clamp = None if self.clamp is None else self.clamp * gain
        b = self.bias.to(x.dtype)
        return bias_act.bias_act(x, b, act=self.act, gain=self.def_gain * gain, clamp=clamp)


@persistence.persistent_class
class Generator(torch.nn.Module):
    """`layers`: keyword arguments of `StyledLayer`; `clamp` that of the layers and the image."""

    def __init__(self, layers, clamp=None, is_half=False, mapping=None):
        super().__init__()
        self.mapping = Mapping(**(mapping or {}))
        self.start = torch.nn.Parameter(torch.randn(4, 4, 4, generator=torch.Generator()))
        self.layers = torch.nn.ModuleList(
            StyledLayer(4, 4, clamp=clamp, is_half=is_half, **layer) for layer in layers
        )
        self.to_image = torch.nn.Parameter(torch.randn(3, 4, 1, 1, generator=torch.Generator()))
        self.image_bias = torch.nn.Parameter(torch.linspace(-0.2, 0.2, 3))
        self.clamp = clamp
        self.register_buffer("resample_filter", upfirdn2d.setup_filter([1, 3, 3, 1]))

    def synthesis(self, ws):
        """Images from one style per layer `[N, layers, 6]`."""
        misc.assert_shape(ws, [None, len(self.layers), 6])
        x = self.start.expand(ws.shape[0], -1, -1, -1)
        img = None
        for layer, w in zip(self.layers, ws.unbind(1)):  # noqa: B905
            x = layer(x, w, gain=np.sqrt(0.5))
            if img is not None and layer.up == 2:
                img = upfirdn2d.upsample2d(img, self.resample_filter)
            y = conv2d_resample.conv2d_resample(
                x=x, w=self.to_image.to(x.dtype), f=None, up=1, down=1, padding=0, flip_weight=True
            )
            y = bias_act.bias_act(y, self.image_bias.to(y.dtype), clamp=self.clamp)
            misc.assert_shape(y, [ws.shape[0], 3, *x.shape[2:]])
            img = y.float() if img is None else img + y.float()
        return img

    def forward(self, z, truncation=1.0):
        w = self.mapping(z, truncation)
        return self.synthesis(w[:, None].expand(-1, len(self.layers), -1))


@persistence.persistent_class
class CriticStage(torch.nn.Module):
    """Halves the image and its features."""

    def __init__(self, act="lrelu", clamp=None, is_half=False, is_filtered=True, kernel=3):
        super().__init__()
        rng = np.random.RandomState(kernel)
        for name, num_in, size in (("rgb", 3, 1), ("wide", 4, kernel), ("skip", 4, 1)):
            weight = torch.tensor(rng.randn(4, num_in, size, size) / size, dtype=torch.float32)
            setattr(self, name, torch.nn.Parameter(weight))
        self.bias = torch.nn.Parameter(torch.linspace(-1, 1, 4))
        self.act, self.clamp, self.is_half = act, clamp, is_half
        self.register_buffer("taps", taps_for(is_filtered))
        self.register_buffer("resample_filter", upfirdn2d.setup_filter([1, 3, 3, 1]))

    def forward(self, x, img):
        misc.assert_shape(img, [None, 3, None, None])
        img = img.to(**half(self.is_half))
        b = self.bias.to(img.dtype)
        y = self.convolve(img, self.rgb, down=1)
        y = bias_act.bias_act(y, b, act=self.act, gain=1, clamp=self.clamp)
        x = y if x is None else x.to(**half(self.is_half)) + y
        gain = np.sqrt(0.5)
        skip = self.convolve(x, self.skip, down=2)
        wide = self.convolve(x, self.wide, down=2)
        wide = bias_act.bias_act(wide, b, act=self.act, gain=gain, clamp=self.clamp)
        return wide + skip * gain, upfirdn2d.downsample2d(img, self.resample_filter)

    def convolve(self, x, w, down):
        f, padding = self.taps, w.shape[2] // 2
        return conv2d_resample.conv2d_resample(
            x=x, w=w.to(x.dtype), f=f, up=1, down=down, padding=padding, flip_weight=True
        )


@persistence.persistent_class
class Critic(torch.nn.Module):
    """Discriminator; `stages`: keyword arguments of `CriticStage`."""

    def __init__(self, stages):
        super().__init__()
        self.stages = torch.nn.ModuleList(CriticStage(**stage) for stage in stages)
        self.head = Dense(5, 1)

    def forward(self, img):
        x = None
        for stage in self.stages:
            x, img = stage(x, img)
        x = x.float()
        with misc.suppress_tracer_warnings():
            num = torch.min(torch.as_tensor(x.shape[0]), torch.as_tensor(4)).item()
        spread = x[:num].std(0, unbiased=False).mean().expand(x.shape[0], 1)
        return self.head(torch.cat([x.mean([2, 3]), spread], dim=1))
