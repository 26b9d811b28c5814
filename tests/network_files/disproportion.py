"""Small files that ask for much time or memory: what `test_disproportion` lets the loader read.

Each file is made when it is asked for. Other tests can take the files from here, too.
"""

import copy
import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import safetensors.torch
import torch

from network_files import safetensors_file
from network_files.tensorflow_object import TensorFlowNetwork
from tests.network_files import seeds
from tests.network_files.pickles import tensorflow_dumps
from tests.network_files.programs import (
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    MARK,
    NONE,
    POP,
    REDUCE,
    TUPLE,
    array,
    binary,
    call,
    dtype,
    four_numbers,
    get,
    name,
    number,
    numbers,
    program,
    put,
    storage_data,
    text,
)
from tests.network_files.seeds import record
from torch_utils import layers
from training import networks_stylegan2, networks_stylegan3

NUM_REPEATS = 70_000
NEW_NETWORK = name("dnnlib.tflib.network", "Network") + EMPTY_TUPLE + b"\x81"
REBUILD_TENSOR = name("torch._utils", "_rebuild_tensor_v2")
BYTE = b"K\x01"
BYTES = 500_000


def tensorflow_state(**more: bytes) -> bytes:
    """The state of a network that has no variables."""
    fields = {
        "version": number(5),
        "name": text("G"),
        "static_kwargs": EMPTY_DICT,
        "components": EMPTY_DICT,
        "build_module_src": text(""),
        "build_func_name": text("G_main"),
        "variables": EMPTY_LIST,
        **more,
    }
    items = b"".join(text(key) + value for key, value in fields.items())
    return EMPTY_DICT + MARK + items + b"u"


def keys(num: int) -> bytes:
    """A dictionary of so many keys."""
    return EMPTY_DICT + MARK + b"".join(text(f"{i:x}") + NONE for i in range(num)) + b"u"


def builds(state: bytes, num: int = NUM_REPEATS) -> bytes:
    """Give a network the same state over and over."""
    return program(NEW_NETWORK, state, put(0), POP, (get(0) + BUILD) * num)


def calls(function: bytes, args: bytes, num: int = NUM_REPEATS) -> bytes:
    """Call a function with the same arguments over and over; each result is dropped."""
    return program(function, put(0), args, put(1), (get(0) + get(1) + REDUCE + POP) * num, NONE)


def ignored_arguments(num: int = 90_000) -> bytes:
    """Arguments of a tensor's function, with many more than it looks at."""
    storage = call(name("torch.storage", "_load_from_bytes"), binary(four_numbers()))
    four = storage + number(0) + numbers(4) + numbers(1)
    return MARK + four + NONE * num + TUPLE


def nested_arguments() -> bytes:
    """The same, as an argument of the function for other kinds of tensors."""
    return MARK + REBUILD_TENSOR + NONE + ignored_arguments() + NONE + TUPLE


def ones(num: int) -> bytes:
    return MARK + BYTE * num + TUPLE


def tensor_of_dimensions(num: int) -> bytes:
    storage = call(name("torch.storage", "_load_from_bytes"), binary(four_numbers()))
    shape = storage + number(0) + ones(num) + ones(num) + b"\x89" + NONE
    return MARK + shape + TUPLE


def array_of_dimensions(num: int) -> bytes:
    state = MARK + number(1) + ones(num) + dtype("u1") + b"\x89" + binary(b"x") + TUPLE
    empty = call(
        name("numpy._core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"),
        numbers(0),
        binary(b"b"),
    )
    return program(empty, state, put(0), POP, (get(0) + BUILD) * NUM_REPEATS)


def bytes_array(num: int = BYTES) -> bytes:
    return array(dtype("u1"), (num,), binary(bytes(num)))


def sharing_network(num_floats: int, num_names: int = 4) -> seeds.Persistent:
    """A generator some of whose layers are the same numbers.

    Its mapping network has layers of equal size, whose weights are one tensor in the file.
    """
    size = int((num_floats) ** 0.5)
    kwargs = {"num_layers": num_names, "layer_features": size}
    sizes = {**seeds.SIZES, **seeds.SMALL, "img_resolution": 4}
    net = networks_stylegan2.Generator(z_dim=size, w_dim=size, mapping_kwargs=kwargs, **sizes)
    weight = torch.nn.Parameter(torch.zeros(size, size))
    mapping = net.mapping
    for i in range(num_names):
        getattr(mapping, f"fc{i}").weight = weight
    return net


def one_record_of_many_names(num_floats: int = 1 << 20, num_names: int = 16) -> bytes:
    """The same network under many names."""
    net = sharing_network(num_floats)
    others = {f"n{i}": net for i in range(num_names - 1)}
    return seeds.dumps({"G_ema": net, **others})


def many_records_of_one_tensor(num_floats: int = 1 << 20, num_records: int = 16) -> bytes:
    """Networks that are different but for their numbers."""
    net = sharing_network(num_floats)
    records = []
    for _ in range(num_records):
        meta = net.__reduce_ex__(4)[1][0]
        records.append(seeds.Persistent(**{**meta, "state": dict(meta["state"])}))
    return seeds.dumps({"G_ema": records[0], **{f"n{i}": r for i, r in enumerate(records[1:])}})


def tensorflow_network(
    resolution: int, is_sharing: bool, **options
) -> tuple[TensorFlowNetwork, ...]:
    """Networks of the TensorFlow version; arrays of equal shape can be one array."""
    from network_files import tensorflow, tensorflow_tables

    arrays: dict[tuple, np.ndarray] = {}
    networks = []
    for kind in (tensorflow_tables.GENERATOR, tensorflow_tables.DISCRIMINATOR):
        static = {"resolution": resolution, **options}
        if kind is tensorflow_tables.DISCRIMINATOR:
            static = {k: v for k, v in static.items() if k in kind.options}
        net = TensorFlowNetwork()
        arguments = tensorflow._constructor_arguments(static, kind)
        with torch.device("meta"):
            module = kind.constructor(**arguments)
        names = tensorflow._names(kind, resolution, tensorflow._num_mapping_layers(module))
        variables = {}
        for ours, value in module.state_dict().items():
            if not ours.endswith("resample_filter"):
                theirs, layout = names[ours]
                shape = layout.original_shape(value.shape)
                key = shape if is_sharing else (kind.component, theirs)
                variables[theirs] = arrays.setdefault(key, np.zeros(shape, np.float32))
        state = dict(
            version=5,
            name="G",
            static_kwargs=static,
            components={},
            build_module_src="",
            build_func_name="G_main",
            variables=list(variables.items()),
        )
        net.__setstate__(state)
        networks.append(net)
    G, D = networks
    return G, D, G if is_sharing else copy.deepcopy(G)


def tensorflow_sharing() -> bytes:
    """Networks of many layers of equal size, which are one array."""
    options = {"fmap_base": 16384, "fmap_max": 512, "mapping_layers": 8, "use_noise": False}
    return tensorflow_dumps(tensorflow_network(64, True, **options))


LARGE = dict(img_resolution=65536, channel_base=1 << 16, channel_max=1, use_noise=False)


def large_generator() -> torch.nn.Module:
    """A network of a thousand numbers for images of 65536x65536 pixels, 17 GB each."""
    with torch.device("meta"):
        net = networks_stylegan2.Generator(
            z_dim=1, w_dim=1, c_dim=0, img_channels=1, mapping_kwargs={"num_layers": 1}, **LARGE
        )
    return zeros(net)


def large_alias_free(**kwargs) -> torch.nn.Module:
    options = dict(img_resolution=64, channel_base=128, channel_max=2, img_channels=1)
    with torch.device("meta"):
        net = networks_stylegan3.Generator(
            z_dim=1, w_dim=1, c_dim=0, mapping_kwargs={"num_layers": 1}, **{**options, **kwargs}
        )
    return zeros(net)


@torch.no_grad()
def zeros(net: torch.nn.Module) -> torch.nn.Module:
    """A network from the meta device, with numbers."""
    net.to_empty(device="cpu")
    for value in net.state_dict().values():
        value.zero_()
    return net


def safetensors_of(**networks: torch.nn.Module) -> bytes:
    buffer = io.BytesIO()
    safetensors_file.save(buffer, networks)
    return buffer.getvalue()


def large_tensorflow() -> bytes:
    sizes = dict(fmap_base=1 << 17, fmap_max=1, num_channels=1, latent_size=1, dlatent_size=1)
    return tensorflow_dumps(tensorflow_network(65536, False, use_noise=False, **sizes))


def branches(inner: seeds.Persistent, num: int = 900) -> bytes:
    """A network that has the same module many times, under many names."""
    outer = record(layers.FullyConnectedLayer(1, 1))
    outer.meta["state"]["_modules"] = OrderedDict((f"m{i}", inner) for i in range(num))
    return pickle.dumps({"G_ema": outer}, protocol=3)


def long_class_name() -> bytes:
    return branches(record(layers.FullyConnectedLayer(1, 1), class_name="x" * 1_000_000))


def empty_names() -> bytes:
    """Many names without parameters, in many modules of many networks."""
    inner = record(layers.FullyConnectedLayer(1, 1))
    names = {f"p{i}": None for i in range(9_900)}
    inner.meta["state"]["_parameters"] = inner.meta["state"]["_buffers"] = names
    outers = []
    for _ in range(15):
        outer = record(layers.FullyConnectedLayer(1, 1))
        outer.meta["state"]["_modules"] = OrderedDict((f"m{i}", inner) for i in range(900))
        outers.append(outer)
    return pickle.dumps({"G_ema": outers[0], **{f"n{i}": x for i, x in enumerate(outers)}}, 3)


def with_dataset(value: bytes) -> bytes:
    """A file with an option of its dataset that is many times the same."""
    return program(EMPTY_DICT, text("training_set_kwargs"), EMPTY_DICT, text("class_name"), value,
                   b"s", b"s")  # fmt: skip


def many_times(value: bytes, num: int = 60_000) -> bytes:
    return EMPTY_LIST + MARK + value + put(0) + get(0) * (num - 1) + b"e"


def long_component_names(num: int = 40_000) -> bytes:
    """Variables behind the long name of a component, which would be in front of each name."""
    pairs = EMPTY_LIST + MARK + b"".join(text(f"{i:x}") + NONE + b"\x86" for i in range(num)) + b"e"
    inner = NEW_NETWORK + tensorflow_state(variables=pairs) + BUILD
    components = EMPTY_DICT + text("x" * BYTES) + inner + b"s"
    outer = NEW_NETWORK + tensorflow_state(components=components) + BUILD
    return program(outer, put(0), get(0), get(0), b"\x87")


def networks_with(net: torch.nn.Module, num: int = 16, **kwargs) -> bytes:
    """Many networks that say that they were constructed with other options."""
    records = {}
    for i in range(num - 1):
        one = record(net)
        one.meta["state"]["_init_kwargs"] = {**one.meta["state"]["_init_kwargs"], **kwargs}
        one.meta["class_name"] = "Generator"
        records[f"n{i}"] = one
    return pickle.dumps({"G_ema": records["n0"], **records}, protocol=3)


def safetensors_networks_with(**kwargs) -> bytes:
    data = seeds.all_seeds()["safetensors"]
    tensors = safetensors.torch.load(data)
    description = safetensors_file._description(data)
    network = copy.deepcopy(description["networks"]["G_ema"])
    network["class"] = "training.networks_stylegan3.Generator"
    network["init_kwargs"] = {**FILTERS, **kwargs}
    network["init_args"] = [1, 0, 1, 64, 1]
    description["networks"] = {"G_ema": network, **{f"n{i}": network for i in range(15)}}
    return safetensors.torch.save(tensors, {"stylegan3": json.dumps(description)})


FILTERS = dict(filter_size=128, use_radial_filters=True, num_layers=32, channel_base=1 << 15)


def loads_of_storages() -> bytes:
    """The same small storage read over and over."""
    data = storage_data(torch.ones(1), _use_new_zipfile_serialization=False)
    return calls(name("torch.storage", "_load_from_bytes"), binary(data) + b"\x85")


FILES: dict[str, Callable[[], bytes]] = {
    "states of many keys": lambda: builds(keys(45_000)),
    "complete states of many keys": lambda: builds(
        tensorflow_state(**{f"{i:x}": NONE for i in range(45_000)})
    ),
    "states of many options": lambda: builds(tensorflow_state(static_kwargs=keys(45_000))),
    "states with an array": lambda: builds(tensorflow_state(version=bytes_array())),
    "options that are an array": lambda: program(
        NEW_NETWORK,
        tensorflow_state(static_kwargs=EMPTY_DICT + text("resolution") + bytes_array() + b"s"),
        BUILD + put(0) + get(0) + get(0) + b"\x87",
    ),
    "ignored arguments": lambda: calls(REBUILD_TENSOR, ignored_arguments()),
    "ignored arguments of a parameter": lambda: calls(
        name("torch._utils", "_rebuild_parameter"),
        MARK
        + call(REBUILD_TENSOR, ignored_arguments(0)[1:-1], b"\x89", NONE)
        + b"\x89" * 90_000
        + TUPLE,
    ),
    "ignored arguments inside of an argument": lambda: calls(
        name("torch._tensor", "_rebuild_from_type_v2"), nested_arguments()
    ),
    "many dimensions": lambda: calls(REBUILD_TENSOR, tensor_of_dimensions(90_000), 1),
    "many dimensions many times": lambda: calls(REBUILD_TENSOR, tensor_of_dimensions(90_000)),
    "many dimensions of an array": lambda: array_of_dimensions(90_000),
    "sixty-five dimensions": lambda: calls(REBUILD_TENSOR, tensor_of_dimensions(65), 1),
    "many dimensions of a size": lambda: calls(name("torch", "Size"), ones(90_000) + b"\x85"),
    "the same storage many times": loads_of_storages,
    "long name of a class": long_class_name,
    "empty names": empty_names,
    "class of the dataset that is a list": lambda: with_dataset(many_times(text("x" * BYTES))),
    "same long text in the options": lambda: program(
        EMPTY_DICT, text("notes"), many_times(text("x" * BYTES)), b"s"
    ),
    "long names of components": long_component_names,
    "many networks of large filters": lambda: networks_with(large_alias_free(), **FILTERS),
    "many safetensors networks of large filters": safetensors_networks_with,
    "many networks of many options": lambda: networks_with(
        seeds.generator(), resample_filter=[1] * 90_000
    ),
    "images of 4 gigapixels": lambda: seeds.dumps({"G_ema": large_generator()}),
    "images of 4 gigapixels in a discriminator": lambda: seeds.dumps(
        {"G_ema": seeds.generator(), "D": large_discriminator()}
    ),
    "images of 4 gigapixels in safetensors": lambda: safetensors_of(G_ema=large_generator()),
    "images of 4 gigapixels from TensorFlow": large_tensorflow,
    "wide margins": lambda: seeds.dumps({"G_ema": large_alias_free(margin_size=30_000)}),
    "upsampling": lambda: seeds.dumps(
        {"G_ema": large_alias_free(filter_size=1, lrelu_upsampling=256)}
    ),
}


def large_discriminator() -> torch.nn.Module:
    options = {key: value for key, value in LARGE.items() if key != "use_noise"}
    with torch.device("meta"):
        net = networks_stylegan2.Discriminator(c_dim=0, img_channels=1, **options)
    return zeros(net)


# Files of some megabytes, most of them one tensor.
SHARING: dict[str, Callable[[], bytes]] = {
    "one record of many names": one_record_of_many_names,
    "many records of one tensor": many_records_of_one_tensor,
    "TensorFlow layers that share arrays": tensorflow_sharing,
}
