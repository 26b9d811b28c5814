"""Convert pickles of the TensorFlow versions of StyleGAN2 and StyleGAN2-ADA to our networks.

Such a pickle is a tuple (G, D, G_ema) of objects of the class `dnnlib.tflib.network.Network`. The
unpickler turns each into a `TensorFlowNetwork`, and `convert()` turns these into our networks.

An object holds the options with which the network was built, and the values of its variables. Its
components are objects of their own, whose names precede those of their variables:
`synthesis/8x8/Conv1/weight`. `tensorflow_tables` maps options and variables to ours; others are
refused.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from network_files.proportion import Sharing, check_image_size
from network_files.tensorflow_object import TensorFlowNetwork, plain, show
from network_files.tensorflow_tables import (
    DISCRIMINATOR,
    GENERATOR,
    Arrays,
    NetworkKind,
)

MIN_VERSION = 4  # StyleGAN2; StyleGAN2-ADA wrote 5
MAX_NAME_CHARACTERS = 1 << 20  # of all variables of a network and its components together
MAX_VARIABLES = 10_000  # of a network
MAX_DEPTH = 8  # of nested components; existing networks have one level

# Other networks in such pickles, by the name of the function that builds them.
OTHER_NETWORKS = {
    "G_style": "StyleGAN1",
    "D_style": "StyleGAN1",
    "D_basic": "StyleGAN1",
    "G_paper": "Progressive GAN",
    "D_paper": "Progressive GAN",
}


def convert(networks: tuple) -> dict[str, Any]:
    """Convert the networks of a TensorFlow pickle to ours.

    Args:
        networks: The content of the pickle: a `TensorFlowNetwork` each for G, D and G_ema.

    Returns:
        The modules `G`, `D` and `G_ema`, on the CPU, in evaluation mode and without gradients;
        `training_set_kwargs` and `augment_pipe`, both None, because the pickle lacks them.

    Raises:
        ValueError: If these are no networks of StyleGAN2, or an option or a variable is unexpected;
            the message names it.
    """
    if not isinstance(networks, tuple) or len(networks) != 3:
        found = f"{len(networks)} objects" if isinstance(networks, tuple) else show(networks)
        raise InputError(f"TensorFlow pickle: must hold three networks, found {found}")
    kinds = {"G": GENERATOR, "D": DISCRIMINATOR, "G_ema": GENERATOR}
    data: dict[str, Any] = {}
    sharing = Sharing()
    for (key, kind), network in zip(kinds.items(), networks, strict=True):
        try:
            data[key] = _convert_network(network, kind, sharing)
        except ValueError as error:
            raise InputError(f"TensorFlow network {key}: {error}") from error
    return {**data, "training_set_kwargs": None, "augment_pipe": None}


def _convert_network(
    network: TensorFlowNetwork, kind: NetworkKind, sharing: Sharing
) -> torch.nn.Module:
    if not isinstance(network, TensorFlowNetwork):
        raise InputError(f"this is no network, but {show(network)}")
    variables = _all_variables(network)
    sharing.add_arrays(value for value in variables.values() if isinstance(value, np.ndarray))
    _check_generation(network, variables, kind)
    arguments = _constructor_arguments(network.static_kwargs, kind)
    variables, is_by_level = _name_by_resolution(variables, arguments["img_resolution"], kind)
    if is_by_level:
        arguments["architecture"] = "orig"
    with torch.device("meta"):  # needs neither memory nor random numbers; only filters are real
        net = kind.constructor(**arguments)
    state = _state_dict(net, variables, kind)
    check_image_size(net)
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)


def _all_variables(network: TensorFlowNetwork) -> dict[str, Any]:
    """Variables of a network and its components, by full name; of equal names the last counts."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    num_characters = [0]

    def visit(part: TensorFlowNetwork, path: str, depth: int) -> None:
        if not hasattr(part, "variables"):
            raise InputError(f"component {show(path)} has no state" if path else "has no state")
        if depth > MAX_DEPTH:
            raise InputError(f"components lie more than {MAX_DEPTH} levels deep")
        if id(part) in seen:
            raise InputError(f"component {show(path)} occurs twice, or inside of itself")
        seen.add(id(part))
        names = [*(name for name, _ in part.variables), *part.components]
        if len(found) + len(names) > MAX_VARIABLES:
            raise InputError(f"it has more than {MAX_VARIABLES} variables")
        # The name of a component is repeated in front of the names of all its parts.
        num_characters[0] += sum(len(path) + len(name) for name in names)
        if num_characters[0] > MAX_NAME_CHARACTERS:
            raise InputError("its variables have endless names")
        found.update((path + name, value) for name, value in part.variables)
        for name, component in part.components.items():
            visit(component, f"{path}{name}/", depth + 1)

    visit(network, "", 0)
    return found


def _check_generation(
    network: TensorFlowNetwork, variables: Iterable[str], kind: NetworkKind
) -> None:
    """Refuse networks from before StyleGAN2."""
    for name in (network.build_func_name, network.name):
        if name in OTHER_NETWORKS:
            raise InputError(f"{OTHER_NETWORKS[name]} pickles are not supported (this is {name})")
    if network.version < MIN_VERSION:
        raise InputError(
            f"version {show(network.version)} of the format is not supported; "
            f"StyleGAN2 has {MIN_VERSION} or more"
        )
    synthesis = [name for name in variables if name.startswith("synthesis/")]
    is_modulated = any(name.endswith("/mod_weight") for name in synthesis)
    if kind is GENERATOR and synthesis and not is_modulated:
        raise InputError("StyleGAN1 pickles are not supported (no layer has a 'mod_weight')")


def _constructor_arguments(static_kwargs: dict[str, Any], kind: NetworkKind) -> dict[str, Any]:
    known = {*kind.options, *kind.ignored_options, *kind.equal_options, *kind.fixed_options}
    unknown = static_kwargs.keys() - known
    if unknown:
        raise InputError(f"unknown options: {_list(sorted(unknown))}")
    _check_redundant_options(static_kwargs, kind)
    arguments: dict[str, Any] = {}
    for name, option in kind.options.items():
        value = plain(static_kwargs.get(name, option.default))
        if not option.kind.accepts(value):
            raise InputError(f"option {name!r} must be {option.kind.name}, found {show(value)}")
        value = option.if_none if value is None else value
        value = value * option.factor if option.factor != 1 else value
        targets = (option.targets,) if isinstance(option.targets, str) else option.targets
        for target in targets:
            group, _, argument = target.rpartition(".")
            (arguments.setdefault(group, {}) if group else arguments)[argument] = value
    return arguments


def _check_redundant_options(static_kwargs: dict[str, Any], kind: NetworkKind) -> None:
    """Refuse options with another value than the only supported one."""
    for name, other in kind.equal_options.items():
        expected = plain(static_kwargs.get(other, kind.options[other].default))
        if name in static_kwargs and not _is_same(plain(static_kwargs[name]), expected):
            raise InputError(
                f"option {name!r} is {show(plain(static_kwargs[name]))}, but {other!r} is "
                f"{show(expected)}: they must be equal, since the networks here are square"
            )
    for name, expected in kind.fixed_options.items():
        if name in static_kwargs and not _is_same(plain(static_kwargs[name]), expected):
            found = show(plain(static_kwargs[name]))
            raise InputError(f"option {name!r} must be {expected!r}, found {found}")


def _is_same(value: Any, expected: Any) -> bool:
    return value == expected and isinstance(value, bool) == isinstance(expected, bool)


def _name_by_resolution(
    variables: dict[str, Any], img_resolution: int, kind: NetworkKind
) -> tuple[dict[str, Any], bool]:
    """Give RGB layers that are named by level of detail their usual names.

    Networks for progressive growing have such layers: level n belongs to the resolution divided by
    2^n. A grown network uses only level 0, as the "orig" architecture does, so other levels are
    left out.

    Returns:
        All variables, and whether there are layers with such names.
    """
    variables = dict(variables)
    for name in {"lod", f"{kind.component}lod"} & variables.keys():  # levels that are still to grow
        if np.any(_as_array(name, variables.pop(name)) != 0):
            raise InputError(f"{name!r} is not 0: the network has not grown to its full resolution")

    resolutions = _resolutions(img_resolution)
    by_resolution = {r: f"{kind.component}{r}x{r}/{kind.rgb_layer}" for r in resolutions}
    by_level = {  # these layers belong to the generator or to its synthesis network
        f"{component}{kind.rgb_layer}_lod{level}": r
        for level, r in enumerate(reversed(resolutions))
        for component in ("", kind.component)
    }
    named, grown, is_by_level = {}, {}, False
    for name, value in variables.items():
        layer, _, array = name.rpartition("/")
        if layer not in by_level:
            named[name] = value
        elif by_level[layer] == img_resolution:
            grown[name] = f"{by_resolution[img_resolution]}/{array}"
        is_by_level = is_by_level or layer in by_level
    if not is_by_level:
        return variables, False

    for name, usual in grown.items():
        value = _as_array(name, variables[name])
        if usual in named and not np.array_equal(value, _as_array(usual, named[usual])):
            raise InputError(f"{show(name)} and {show(usual)} have different values")
        named[usual] = value
    unused = {by_resolution[r] for r in resolutions if r < img_resolution}
    return {name: x for name, x in named.items() if name.rpartition("/")[0] not in unused}, True


def _state_dict(net: Any, variables: dict[str, Any], kind: NetworkKind) -> dict[str, Tensor]:
    """A state for `net`: its own filters, and everything else from the variables."""
    names = _names(kind, net.img_resolution, _num_mapping_layers(net))
    filters: dict[str, Tensor] = {}
    wanted: dict[str, Tensor] = {}
    for ours, value in net.state_dict().items():
        (filters if ours.endswith("resample_filter") else wanted)[ours] = value

    known = dict.fromkeys(names[ours][0] for ours in wanted)
    missing = [name for name in known if name not in variables]
    unknown = [name for name in variables if name not in known]
    problems = [
        f"{what} variables ({len(some)}): {_list(some)}"
        for what, some in (("missing", missing), ("unknown", unknown))
        if some
    ]
    if problems:
        raise InputError("; ".join(problems))

    state = dict(filters)
    for ours, value in wanted.items():
        name, layout = names[ours]
        array = _as_array(name, variables[name])
        shape = layout.original_shape(value.shape)
        if array.shape != shape:
            raise InputError(
                f"variable {name!r} has the shape {list(array.shape)}, expected {list(shape)}"
            )
        state[ours] = layout.convert(array)
    return state


def _names(kind: NetworkKind, img_resolution: int, num_layers: int) -> Arrays:
    """All arrays that a network can have: our name, TensorFlow's name and the layout."""
    names: Arrays = {}
    for ours, theirs, arrays in _places(kind.layers, img_resolution, num_layers):
        for array, (name, layout) in arrays.items():
            names[f"{ours}.{array}"] = (f"{theirs}/{name}", layout)
    for ours, theirs, layout in _places(kind.arrays, img_resolution, num_layers):
        names[ours] = (theirs, layout)
    return names


def _places(
    table: dict[str, tuple[str, Any]], img_resolution: int, num_layers: int
) -> Iterator[tuple[str, str, Any]]:
    """The rows of a table, with numbers in place of braces."""
    per_layer = [{"i": i} for i in range(num_layers)]
    per_resolution = [
        {"r": r, "n0": 2 * idx - 1, "n1": 2 * idx}
        for idx, r in enumerate(_resolutions(img_resolution))
    ]
    for ours, (theirs, content) in table.items():
        places = per_resolution if "{r}" in ours else per_layer if "{i}" in ours else [{}]
        for place in places:
            yield ours.format(**place), theirs.format(**place), content


def _resolutions(img_resolution: int) -> list[int]:
    return [2**i for i in range(2, img_resolution.bit_length())]


def _num_mapping_layers(net: Any) -> int:
    return net.mapping.num_layers if hasattr(net, "mapping") else 0


def _as_array(name: str, value: Any) -> np.ndarray:
    """The value of a variable in float32."""
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic, float, int)) else None
    if array is None or array.dtype.kind not in "fiu" or array.dtype.hasobject:
        found = show(value) if array is None else f"an array of {show(str(array.dtype))}"
        raise InputError(f"variable {show(name)} must hold numbers, found {found}")
    with np.errstate(over="ignore"):  # too large for float32: infinity, as anywhere else
        return array.astype(np.float32, copy=False)


def _list(names: list[str]) -> str:
    """The first few names."""
    return ", ".join([show(name) for name in names[:3]] + ["..."] * (len(names) > 3))
