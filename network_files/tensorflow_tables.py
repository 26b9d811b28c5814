"""Tables that map the options and variables of TensorFlow's networks to ours.

`GENERATOR` and `DISCRIMINATOR` have a table of options and two tables of names each;
`network_files.tensorflow` applies them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.util import is_power_of_two
from network_files import own_classes
from network_files.tensorflow_object import Kind, is_int
from torch_utils.ops.bias_act import activation_funcs

networks_stylegan2 = own_classes.load("training.networks_stylegan2")


def _whole_number(low: int, high: int) -> Kind:
    # The upper limits only keep damaged files from filling the memory.
    return Kind(
        f"a whole number from {low} to {high}",
        lambda value: is_int(value) and low <= value <= high,
    )


def _one_of(choices: Iterable[str]) -> Kind:
    choices = tuple(choices)
    return Kind(
        f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices
    )


def _is_number(value: Any) -> bool:
    return (is_int(value) or isinstance(value, float)) and -1e9 <= value <= 1e9


def _is_list_of_taps(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 64
        and all(_is_number(tap) for tap in value)
        and sum(value) != 0
    )


_FLAG = Kind("True or False", lambda value: isinstance(value, bool))
_POSITIVE = Kind("a positive number", lambda value: _is_number(value) and value > 0)
_FRACTION = Kind("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
_TAPS = Kind("a list of numbers whose sum is not 0", _is_list_of_taps)
_SIZE = _whole_number(1, 65536)
_COUNT = _whole_number(0, 100)
_ACTIVATION = _one_of(activation_funcs)
_ARCHITECTURE = _one_of(networks_stylegan2.ARCHITECTURES)
_RESOLUTION = Kind(
    "a power of two from 4 to 65536",
    lambda value: is_int(value) and 4 <= value <= 65536 and is_power_of_two(value),
)


@dataclass(frozen=True)
class Option:
    """An option of TensorFlow's networks.

    Attributes:
        targets: Arguments of our constructor that take the value; a dot leads into a dictionary.
        default: TensorFlow's value if the pickle lacks the option.
        kind: Accepted values.
        factor: Factor for numbers.
        if_none: Value that None stands for.
    """

    targets: str | tuple[str, ...]
    default: Any
    kind: Kind
    factor: int = 1
    if_none: Any = None


_COMMON_OPTIONS = {
    "label_size": Option("c_dim", 0, _whole_number(0, 65536)),
    "resolution": Option("img_resolution", 1024, _RESOLUTION),
    "num_channels": Option("img_channels", 3, _SIZE),
    # Channels at resolution R: fmap_base / (R / 2) there, channel_base / R here.
    "fmap_base": Option("channel_base", 16384, _whole_number(1, 2**20), factor=2),
    "fmap_max": Option("channel_max", 512, _SIZE),
    "num_fp16_res": Option("num_fp16_res", 0, _COUNT),
    "conv_clamp": Option("conv_clamp", None, _POSITIVE.or_none()),
}

_GENERATOR_OPTIONS = {
    **_COMMON_OPTIONS,
    "latent_size": Option("z_dim", 512, _SIZE),
    "dlatent_size": Option("w_dim", 512, _SIZE),
    "architecture": Option("architecture", "skip", _ARCHITECTURE),
    "resample_kernel": Option("resample_filter", [1, 3, 3, 1], _TAPS),
    "use_noise": Option("use_noise", True, _FLAG),
    "nonlinearity": Option("activation", "lrelu", _ACTIVATION),
    "mapping_layers": Option("mapping_kwargs.num_layers", 8, _whole_number(1, 100)),
    "label_fmaps": Option("mapping_kwargs.embed_features", None, _SIZE.or_none()),
    "mapping_fmaps": Option("mapping_kwargs.layer_features", None, _SIZE.or_none()),
    "mapping_nonlinearity": Option("mapping_kwargs.activation", "lrelu", _ACTIVATION),
    "mapping_lrmul": Option("mapping_kwargs.lr_multiplier", 0.01, _POSITIVE),
    # Without averaging of styles, TensorFlow keeps the initial average.
    "w_avg_beta": Option("mapping_kwargs.w_avg_beta", 0.995, _FRACTION.or_none(), if_none=1),
}

_DISCRIMINATOR_OPTIONS = {
    **_COMMON_OPTIONS,
    "architecture": Option("architecture", "resnet", _ARCHITECTURE),
    "resample_kernel": Option("block_kwargs.resample_filter", [1, 3, 3, 1], _TAPS),
    "nonlinearity": Option(
        ("block_kwargs.activation", "mapping_kwargs.activation", "epilogue_kwargs.activation"),
        "lrelu",
        _ACTIVATION,
    ),
    "freeze_layers": Option("block_kwargs.freeze_layers", 0, _COUNT),
    "mapping_layers": Option("mapping_kwargs.num_layers", 0, _COUNT),
    "mapping_fmaps": Option(
        ("cmap_dim", "mapping_kwargs.embed_features", "mapping_kwargs.layer_features"),
        None,
        _SIZE.or_none(),
    ),
    "mapping_lrmul": Option("mapping_kwargs.lr_multiplier", 0.1, _POSITIVE),
    "mbstd_group_size": Option("epilogue_kwargs.mbstd_group_size", None, _SIZE.or_none()),
    "mbstd_num_features": Option("epilogue_kwargs.mbstd_num_channels", 1, _COUNT),
}

# Options that do not change the converted networks: for training, or for other ways to compute.
_IGNORED_DISCRIMINATOR_OPTIONS = ("structure", "conditioning")
_IGNORED_GENERATOR_OPTIONS = (
    *_IGNORED_DISCRIMINATOR_OPTIONS,
    "truncation_psi",
    "truncation_cutoff",
    "style_mixing_prob",
    "fused_modconv",
    "randomize_noise",
)

# Options of forks. They are supported if they equal another option, or the fixed property of our
# networks: square, with channels in inverse proportion to the resolution, in float32.
_EQUAL_OPTIONS = {"resolution_w": "resolution", "resolution_h": "resolution"}
_FIXED_DISCRIMINATOR_OPTIONS = {
    "dtype": "float32",
    "use_bfloat16": False,
    "fmap_decay": 1,
    "fmap_min": 1,
}
_FIXED_GENERATOR_OPTIONS = {**_FIXED_DISCRIMINATOR_OPTIONS, "normalize_latents": True}


@dataclass(frozen=True)
class Layout:
    """Steps that convert an array of TensorFlow to ours, in this order.

    Attributes:
        leading: Number of axes of size one in front, which we leave out.
        axes: Order of the axes, `None` to keep it.
        flip: Reverse the last two axes, width and height of a kernel.
        offset: Number to add.
    """

    leading: int = 0
    axes: tuple[int, ...] | None = None
    flip: bool = False
    offset: float = 0

    def original_shape(self, shape: Iterable[int]) -> tuple[int, ...]:
        """Shape of an array in TensorFlow, from its shape here."""
        shape = tuple(shape)
        if self.axes is not None:
            shape = tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))
        return (1,) * self.leading + shape

    def convert(self, array: np.ndarray) -> Tensor:
        """Our array, as a tensor with memory of its own."""
        array = array.reshape(array.shape[self.leading :])
        array = array if self.axes is None else array.transpose(self.axes)
        array = array[..., ::-1, ::-1] if self.flip else array
        array = array + np.float32(self.offset) if self.offset else array
        return torch.from_numpy(np.array(array, order="C"))


_AS_IT_IS = Layout()
_MATRIX = Layout(axes=(1, 0))  # [in, out] to [out, in]
_KERNEL = Layout(axes=(3, 2, 0, 1))  # [kh, kw, in, out] to [out, in, kh, kw]
_UP_KERNEL = Layout(axes=(3, 2, 0, 1), flip=True)

Arrays = dict[str, tuple[str, Layout]]  # of a layer: our name, TensorFlow's name, layout

_DENSE: Arrays = {"weight": ("weight", _MATRIX), "bias": ("bias", _AS_IT_IS)}
_CONV: Arrays = {"weight": ("weight", _KERNEL), "bias": ("bias", _AS_IT_IS)}
_UP_CONV: Arrays = {**_CONV, "weight": ("weight", _UP_KERNEL)}
_MODULATION: Arrays = {
    "affine.weight": ("mod_weight", _MATRIX),
    "affine.bias": ("mod_bias", Layout(offset=1)),  # TensorFlow adds the 1 when it computes
    "noise_strength": ("noise_strength", _AS_IT_IS),
}

# Layers: our name, TensorFlow's name, arrays. A network may lack some of these layers.
# {r} is each resolution; {i} counts layers of the mapping network.
_GENERATOR_LAYERS: dict[str, tuple[str, Arrays]] = {
    "mapping.embed": ("mapping/LabelEmbed", _DENSE),
    "mapping.fc{i}": ("mapping/Dense{i}", _DENSE),
    "synthesis.b{r}.conv0": ("synthesis/{r}x{r}/Conv0_up", {**_UP_CONV, **_MODULATION}),
    "synthesis.b{r}.conv1": ("synthesis/{r}x{r}/Conv1", {**_CONV, **_MODULATION}),
    "synthesis.b4.conv1": ("synthesis/4x4/Conv", {**_CONV, **_MODULATION}),  # instead of 4x4/Conv1
    "synthesis.b{r}.torgb": ("synthesis/{r}x{r}/ToRGB", {**_CONV, **_MODULATION}),
    "synthesis.b{r}.skip": ("synthesis/{r}x{r}/Skip", _UP_CONV),
}
_DISCRIMINATOR_LAYERS: dict[str, tuple[str, Arrays]] = {
    "b{r}.fromrgb": ("{r}x{r}/FromRGB", _CONV),
    "b{r}.conv0": ("{r}x{r}/Conv0", _CONV),
    "b{r}.conv1": ("{r}x{r}/Conv1_down", _CONV),
    "b{r}.skip": ("{r}x{r}/Skip", _CONV),
    "b4.conv": ("4x4/Conv", _CONV),
    "b4.fc": ("4x4/Dense0", _DENSE),
    "b4.out": ("Output", _DENSE),
    "mapping.embed": ("LabelEmbed", _DENSE),
    "mapping.fc{i}": ("Mapping{i}", _DENSE),
}

# Arrays of the generator outside of these layers. Its noise images are numbered from the lowest
# resolution up: {n0} belongs to the layer that doubles the resolution, {n1} to the one after it.
_GENERATOR_ARRAYS: Arrays = {
    "mapping.w_avg": ("dlatent_avg", _AS_IT_IS),
    "synthesis.b4.const": ("synthesis/4x4/Const/const", Layout(leading=1)),
    "synthesis.b{r}.conv0.noise_const": ("synthesis/noise{n0}", Layout(leading=2)),
    "synthesis.b{r}.conv1.noise_const": ("synthesis/noise{n1}", Layout(leading=2)),
}


@dataclass(frozen=True)
class NetworkKind:
    """The differences between generators and discriminators.

    Attributes:
        constructor: Our class.
        options: Options that become arguments of our constructor.
        ignored_options: Options that do not.
        equal_options: Options that must have the value of another.
        fixed_options: Options that must have this value.
        layers: Names of layers and of their arrays.
        arrays: Names of other arrays.
        component: Prefix of TensorFlow's names in the component that works on images.
        rgb_layer: TensorFlow's name of layers from or to images.
    """

    constructor: type[torch.nn.Module]
    options: dict[str, Option]
    ignored_options: tuple[str, ...]
    equal_options: dict[str, str]
    fixed_options: dict[str, Any]
    layers: dict[str, tuple[str, Arrays]]
    arrays: Arrays
    component: str
    rgb_layer: str


GENERATOR = NetworkKind(
    networks_stylegan2.Generator,
    _GENERATOR_OPTIONS,
    _IGNORED_GENERATOR_OPTIONS,
    _EQUAL_OPTIONS,
    _FIXED_GENERATOR_OPTIONS,
    _GENERATOR_LAYERS,
    _GENERATOR_ARRAYS,
    component="synthesis/",
    rgb_layer="ToRGB",
)
DISCRIMINATOR = NetworkKind(
    networks_stylegan2.Discriminator,
    _DISCRIMINATOR_OPTIONS,
    _IGNORED_DISCRIMINATOR_OPTIONS,
    _EQUAL_OPTIONS,
    _FIXED_DISCRIMINATOR_OPTIONS,
    _DISCRIMINATOR_LAYERS,
    {},
    component="",
    rgb_layer="FromRGB",
)
