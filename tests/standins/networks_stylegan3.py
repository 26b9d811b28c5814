"""A generator with the calls of StyleGAN3's."""

import numpy as np
import scipy.optimize
import scipy.signal
import torch

from torch_utils import misc, persistence
from torch_utils.ops import bias_act, conv2d_gradfix, filtered_lrelu


def low_pass(taps, is_radial=False):
    """Filter that passes the lower half of the band; `None` stays `None`."""
    if taps is None:
        return None
    # The transition is as wide as 30 dB of attenuation take.
    width = scipy.optimize.brentq(lambda w: scipy.signal.kaiser_atten(taps, w) - 30, 1e-3, 8)
    if not is_radial:
        f = scipy.signal.firwin(taps, 0.5, width=width)
    else:
        # The module of Bessel functions comes without an import of its own.
        r = np.hypot(*np.meshgrid(*[np.arange(taps) - (taps - 1) / 2] * 2)) + 1e-9
        window = np.kaiser(taps, scipy.signal.kaiser_beta(30))
        f = scipy.special.j1(np.pi / 2 * r) / r * np.outer(window, window)
    return torch.as_tensor(f / f.sum(), dtype=torch.float32)


@misc.profiled_function
def mix_channels(x, w, s, padding, gain):
    """A convolution with weights of its own for each image."""
    with misc.suppress_tracer_warnings():
        num = int(x.shape[0])
    misc.assert_shape(x, [num, w.shape[1], None, None])
    misc.assert_shape(s, [num, w.shape[1]])
    w = w * s[:, None, :, None, None]
    w = w * (w.square().sum([2, 3, 4], keepdim=True) + 1e-8).rsqrt() * gain
    x = x.reshape(1, -1, *x.shape[2:])
    w = w.flatten(0, 1).to(x.dtype)
    x = conv2d_gradfix.conv2d(input=x, weight=w, padding=padding, groups=num)
    return x.reshape(num, -1, *x.shape[2:])


@persistence.persistent_class
class Affine(torch.nn.Module):
    def __init__(self, num_in, num_out, act="linear", has_bias=True):
        super().__init__()
        weight = np.random.RandomState(num_out).randn(num_out, num_in) / np.sqrt(num_in)
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.ones(num_out)) if has_bias else None
        self.act = act

    def forward(self, x):
        b = self.bias if self.bias is None else self.bias.to(x.dtype)
        return bias_act.bias_act(x @ self.weight.t().to(x.dtype), b, act=self.act)


@persistence.persistent_class
class AliasFreeLayer(torch.nn.Module):
    def __init__(
        self, up=2, down=2, fu=12, fd=12, padding=(9, 8, 9, 8), kernel=3, is_radial=False, **options
    ):
        super().__init__()
        self.up, self.down = up, down
        self.padding = list(padding) if isinstance(padding, tuple) else padding
        self.options = options  # gain, slope, clamp, is_half
        rng = np.random.RandomState(up * 10 + down)
        weight = rng.randn(4, 4, kernel, kernel)
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.tensor(rng.randn(4) / 2, dtype=torch.float32))
        self.affine = Affine(6, 4)
        self.register_buffer("magnitude", torch.tensor(0.8))
        self.register_buffer("up_filter", low_pass(fu))
        self.register_buffer("down_filter", low_pass(fd, is_radial))

    def forward(self, x, w):
        misc.assert_shape(w, [x.shape[0], 6])
        x = x.to(torch.float16 if self.options.get("is_half") else torch.float32)
        padding = self.weight.shape[2] - 1
        x = mix_channels(x, self.weight, self.affine(w), padding, self.magnitude.rsqrt())
        x = filtered_lrelu.filtered_lrelu(
            x=x,
            fu=self.up_filter,
            fd=self.down_filter,
            b=self.bias.to(x.dtype),
            up=self.up,
            down=self.down,
            padding=self.padding,
            gain=self.options.get("gain", np.sqrt(2)),
            slope=self.options.get("slope", 0.2),
            clamp=self.options.get("clamp", 256),
        )
        misc.assert_shape(x, [w.shape[0], 4, None, None])
        return x


@persistence.persistent_class
class Generator(torch.nn.Module):
    """`layers`: keyword arguments of `AliasFreeLayer`."""

    def __init__(self, layers, size=8):
        super().__init__()
        self.style = Affine(6, 6, act="lrelu")
        self.rotation = Affine(6, 4, act="linear", has_bias=False)
        self.layers = torch.nn.ModuleList(AliasFreeLayer(**layer) for layer in layers)
        rng = np.random.RandomState(size)
        self.register_buffer("freqs", torch.tensor(rng.randn(4, 2), dtype=torch.float32))
        self.size = size

    def synthesis(self, ws):
        """Images from one style per layer `[N, layers, 6]`; the first steers the waves, too."""
        misc.assert_shape(ws, [None, len(self.layers), 6])
        turns = self.freqs[None] @ self.rotation(ws[:, 0]).reshape(-1, 2, 2)  # [N, 4, 2]
        at = torch.linspace(-1, 1, self.size, device=ws.device)
        x = torch.sin(turns[:, :, :1, None] * at + turns[:, :, 1:, None] * at[:, None])
        for layer, w in zip(self.layers, ws.unbind(1)):  # noqa: B905
            x = layer(x, w)
        return x[:, :3].float()

    def forward(self, z):
        w = self.style(z)
        return self.synthesis(w[:, None].expand(-1, len(self.layers), -1))
