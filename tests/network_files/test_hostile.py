"""Files that try to run code, to change the process or to use it up are refused in one line."""

import io
import json
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

import gen_images
import legacy
import train
from network_files import own_classes, safetensors_file, unpickler
from tests.network_files import seeds
from tests.network_files.programs import (
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    MARK,
    NONE,
    POP,
    REDUCE,
    START,
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
    tensor,
    text,
)
from tests.network_files.seeds import record
from torch_utils import layers
from training import networks_stylegan3

MAX_SECONDS = 2
CANARY = own_classes.PROJECT_DIR / "canary-of-a-hostile-network"
SHELL = f"touch {CANARY}"
PYTHON = f"open({str(CANARY)!r}, 'w').close()"


def laughs() -> bytes:
    """A tuple of two equal tuples of two equal tuples, and so on: 2^60 parts."""
    return EMPTY_TUPLE + b"".join(put(10**6 + i) + get(10**6 + i) + b"\x86" for i in range(60))


def file_with(G_ema: object, **data) -> bytes:
    return pickle.dumps({"G_ema": G_ema, **data}, protocol=3)  # without frames, for replacements


def with_state(**state) -> bytes:
    net = record()
    net.meta["state"].update(state)
    return file_with(net)


def with_options(module: torch.nn.Module | None = None, **kwargs) -> bytes:
    net = record(module)
    net.meta["state"]["_init_kwargs"] = {**net.meta["state"]["_init_kwargs"], **kwargs}
    return file_with(net)


def alias_free() -> torch.nn.Module:
    return seeds.networks()["G_ema"]


CODE = {
    "os.system": program(call(name("os", "system"), text(SHELL))),
    "posix.system": program(call(name("posix", "system"), text(SHELL))),
    "nt.system": program(call(name("nt", "system"), text(SHELL))),
    "Popen": program(call(name("subprocess", "Popen"), text(SHELL), number(-1), NONE, NONE)),
    "eval": program(call(name("builtins", "eval"), text(PYTHON))),
    "exec": program(call(name("builtins", "exec"), text(PYTHON))),
    "exec of Python 2": b"\x80\x02c__builtin__\nexec\n" + text(PYTHON) + b"\x85R.",
    "compile": program(call(name("builtins", "compile"), text(PYTHON), text("x"), text("exec"))),
    "open": program(call(name("builtins", "open"), text(str(CANARY)), text("w"))),
    "getattr": program(call(name("builtins", "getattr"), name("os", "path"), text("os"))),
    "getattr of a class": program(
        call(name("builtins", "getattr"), name("dnnlib", "EasyDict"), text("__init__"))
    ),
    "setattr": program(
        call(name("builtins", "setattr"), name("dnnlib", "EasyDict"), text("x"), number(1))
    ),
    "__import__": program(call(name("builtins", "__import__"), text("antigravity"))),
    "import_module": program(call(name("importlib", "import_module"), text("this"))),
    "partial": program(call(name("functools", "partial"), name("os", "system"), text(SHELL))),
    "reduce": program(call(name("functools", "reduce"), name("os", "system"), text("ab"))),
    "attrgetter": program(call(name("operator", "attrgetter"), text("system"))),
    "methodcaller": program(call(name("operator", "methodcaller"), text("system"), text(SHELL))),
    "map": program(call(name("builtins", "map"), name("os", "system"), EMPTY_LIST)),
    "_reconstructor": program(
        call(name("copyreg", "_reconstructor"), name("subprocess", "Popen"), NONE, NONE)
    ),
    "add_extension": program(
        call(name("copyreg", "add_extension"), text("os"), text("system"), number(1))
    ),
    "marshal": program(call(name("marshal", "loads"), binary(b"N"))),
    "pickle.loads": program(call(name("pickle", "loads"), binary(pickle.dumps(1)))),
    "torch.load": program(call(name("torch", "load"), text("x.pt"))),
    "numpy.load": program(call(name("numpy", "load"), text("x.npy"))),
    "torch.hub": program(call(name("torch.hub", "load"), text("a/b"), text("c"))),
    "construct by name": program(
        call(name("dnnlib.util", "call_func_by_name"), text("os.system"), text(SHELL))
    ),
    "open_url": program(call(name("dnnlib.util", "open_url"), text("http://localhost:9/x"))),
    "dotted name": program(name("dnnlib.util", "EasyDict.__init__.__globals__")),
    "dotted name of an allowed one": program(name("dnnlib", "EasyDict.__class__.__subclasses__")),
    "module": program(name("sys", "modules")),
    "our module": program(name("training.training_loop", "Trainer")),
    "a class of ours": program(
        name("training.networks_stylegan2", "Generator"), EMPTY_TUPLE, b"\x81"
    ),
    "unpickler": program(name("network_files.unpickler", "_ALLOWED")),
    "names of several lines": program(name("os\nsystem\x1b[2J", "x" * 100_000)),
    "INST": program(MARK, text(SHELL), b"ios\nsystem\n"),
    "OBJ": program(MARK, name("os", "system"), text(SHELL), b"o"),
    "NEWOBJ": program(name("subprocess", "Popen"), text(SHELL), b"\x85", b"\x81"),
}
INSTRUCTIONS = {
    "EXT1": program(b"\x82\x01"),
    "EXT2": program(b"\x83\x01\x00"),
    "EXT4": program(b"\x84\x01\x00\x00\x00"),
    "PERSID": START + b"Pos\n.",
    "BINPERSID": program(text("os"), b"Q"),
    "INST of an allowed class": START + b"(idnnlib\nEasyDict\n.",
    "OBJ of an allowed class": program(MARK, name("dnnlib", "EasyDict"), b"o"),
    "NEWOBJ with arguments": program(name("dnnlib", "EasyDict"), EMPTY_DICT, b"\x85\x81"),
    "NEWOBJ of a function": program(name("torch", "device"), EMPTY_TUPLE, b"\x81"),
    "NEWOBJ_EX": program(name("dnnlib", "EasyDict"), EMPTY_TUPLE, EMPTY_DICT, b"\x92"),
    "call of a class": program(call(name("dnnlib", "EasyDict"), EMPTY_DICT)),
    "call of a number": program(call(number(1))),
    "call of a placeholder": program(call(name("numpy", "ndarray"))),
    "out-of-band buffer": program(b"\x97"),
    "BUILD of a class": program(name("dnnlib", "EasyDict"), EMPTY_DICT, BUILD),
    "BUILD of a function": program(
        name("torch._utils", "_rebuild_parameter"),
        EMPTY_DICT,
        text("__code__"),
        NONE,
        b"s",
        BUILD,
    ),
    "BUILD of an EasyDict": program(
        name("dnnlib", "EasyDict"), EMPTY_TUPLE, b"\x81", NONE, EMPTY_DICT, b"\x86", BUILD
    ),
    "BUILD of a dtype of torch": program(name("torch", "float32"), EMPTY_DICT, BUILD),
    "BUILD of a tensor": program(tensor(four_numbers(), 0, (4,), (1,)), EMPTY_DICT, BUILD),
    "BUILD of a record": program(b"", pickle.dumps(record(), 4)[2:-1], EMPTY_DICT, BUILD),
    "BUILD of an array": program(array(dtype("u1"), (1,), binary(b"x")), EMPTY_DICT, BUILD),
    "SETITEM of a class": program(name("dnnlib", "EasyDict"), text("x"), NONE, b"s"),
    "SETITEM of a tensor": program(
        tensor(four_numbers(), 0, (4,), (1,)), number(0), number(7), b"s"
    ),
    "SETITEM of an array": program(
        array(dtype("u1"), (1,), binary(b"x")), number(0), number(7), b"s"
    ),
    "SETITEM of a list": program(EMPTY_LIST, number(0), b"a", number(0), number(7), b"s"),
    "APPEND of an item": program(
        name("dnnlib", "EasyDict"),
        EMPTY_TUPLE,
        b"\x81",
        text("append"),
        name("torch", "device"),
        b"s",
        text("cuda"),
        b"a",
    ),
    "ADDITEMS of a list": program(EMPTY_LIST, MARK, NONE, b"\x90"),
    "empty stack": program(b"0"),
    "no such instruction": program(b"\xff"),
    "protocol 200": b"\x80\xc8.",
}
TENSORS = {
    "size": tensor(four_numbers(), 0, (5,), (1,)),
    "offset": tensor(four_numbers(), 4, (1,), (1,)),
    "stride": tensor(four_numbers(), 0, (2,), (4,)),
    "giant size": tensor(four_numbers(), 0, (1 << 40,), (1,)),
    "giant size from one number": tensor(four_numbers(), 0, (1 << 40,), (0,)),
    "giant size in small dimensions": tensor(four_numbers(), 0, (1 << 10,) * 4, (0,) * 4),
    "beyond 64 bits": tensor(four_numbers(), 0, (1 << 70,), (0,)),
    "negative size": tensor(four_numbers(), 0, (-1,), (1,)),
    "negative stride": tensor(four_numbers(), 3, (4,), (-1,)),
    "negative offset": tensor(four_numbers(), -1, (4,), (1,)),
    "fewer strides": tensor(four_numbers(), 0, (2, 2), (1,)),
    "truncated": tensor(four_numbers()[:-1], 0, (4,), (1,)),
    "too long": tensor(four_numbers() + b"x", 0, (4,), (1,)),
    "pickle in place of a storage": tensor(CODE["os.system"], 0, (4,), (1,)),
    "pickle in place of the facts": tensor(
        four_numbers()[:31] + CODE["os.system"] + four_numbers()[31:], 0, (4,), (1,)
    ),
    "storage of another class": tensor(
        four_numbers().replace(b"ctorch\nFloatStorage", b"cos\nsystem"), 0, (4,), (1,)
    ),
    "source of a container": tensor(
        # PyTorch would compare the source of such a class, and write a patch.
        four_numbers().replace(b"\x07\x00\x00\x00storage", b"\x06\x00\x00\x00module"),
        0,
        (4,),
        (1,),
    ),
    "uninitialised memory": tensor(
        # Without keys PyTorch reads no numbers, and leaves what was in the memory.
        four_numbers()[: four_numbers().rindex(b"\x80\x02]")] + b"\x80\x02].",
        0,
        (4,),
        (1,),
    ),
    "zip": tensor(storage_data(torch.ones(4)), 0, (4,), (1,)),
    "offset that is no number": call(
        name("torch._utils", "_rebuild_tensor_v2"), NONE, NONE, NONE, NONE, NONE, NONE
    ),
    "type that is a function": call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("torch", "device"),
        NONE,
        text("cpu") + b"\x85",
        NONE,
    ),
    "parameter of a text": call(
        name("torch._utils", "_rebuild_parameter"), text("x"), b"\x88", EMPTY_DICT
    ),
    "device by number": call(name("torch", "device"), number(0)),
    "array of objects": array(dtype("O8"), (1,), EMPTY_LIST + NONE + b"a"),
    "array of a structure": array(dtype("i4,i4"), (1,), binary(bytes(8))),
    "array of subarrays": array(dtype("(99999999,9)f4"), (1,), binary(bytes(8))),
    "array of nothing": array(dtype("V8"), (1,), binary(bytes(8))),
    "array without a type": array(NONE, (1,), binary(bytes(8))),
    "array of another size": array(dtype("f8"), (1 << 40,), binary(bytes(8))),
    "array beyond 64 bits": array(dtype("f8"), (1 << 40, 1 << 40), binary(bytes(8))),
    "array of a negative size": array(dtype("f8"), (-1,), binary(bytes(8))),
    "array with a list of bytes": array(dtype("u1"), (1,), EMPTY_LIST),
    "state of a dtype": dtype("f8") + numbers(3, 0) + BUILD,
    "fields of a dtype": dtype("f8") + number(3) + text("o") + b"\x86" + BUILD,
    "array from a text": call(
        name("numpy._core.numeric", "_frombuffer"), text("x"), dtype("f8"), numbers(1), text("C")
    ),
}
SELF = EMPTY_DICT + put(0) + text("x") + get(0) + b"s"


def self_containing_network() -> bytes:
    net = record()
    net.meta["state"]["_modules"] = OrderedDict(a=net)  # a cycle through a REDUCE has no pickle
    return self_referring(net.meta)


def self_referring(meta: dict) -> bytes:
    """A record whose `_modules` are filled with the record after it has been made."""
    state = EMPTY_DICT + MARK + text("_parameters") + EMPTY_DICT + text("_buffers") + EMPTY_DICT
    state += text("_modules") + EMPTY_DICT + put(7) + b"u"
    fields = text("type") + text("class") + text("version") + number(6)
    fields += text("module_src") + text(meta["module_src"]) + text("class_name")
    fields += text(meta["class_name"]) + text("state") + state
    record = call(
        name("torch_utils.persistence", "_reconstruct_persistent_obj"),
        EMPTY_DICT + MARK + fields + b"u",
    )
    modules = get(7) + text("a") + get(8) + b"s" + text("b") + get(8) + b"s" + POP
    return program(EMPTY_DICT, text("G_ema"), record, put(8), modules, b"s")


def diamonds(depth: int = 16, num: int = 3) -> bytes:
    """Each module has the next one several times."""
    inner = record(layers.FullyConnectedLayer(1, 1))
    for _ in range(depth):
        outer = record(layers.FullyConnectedLayer(1, 1))
        outer.meta["state"]["_modules"] = OrderedDict((f"m{i}", inner) for i in range(num))
        inner = outer
    return file_with(inner)


def many_names() -> bytes:
    """The same long dictionary of parameters in many modules."""
    shared = {f"p{i}": None for i in range(50_000)}
    inner = record(layers.FullyConnectedLayer(1, 1))
    inner.meta["state"]["_parameters"] = shared
    outer = record(layers.FullyConnectedLayer(1, 1))
    outer.meta["state"]["_modules"] = OrderedDict((f"m{i}", inner) for i in range(900))
    return file_with(outer)


def long_source() -> bytes:
    """The same long source, with ends of lines to be replaced, in many modules."""
    inner = record(layers.FullyConnectedLayer(1, 1), module_src="\r\n" * 1_000_000)
    inner.meta["state"]["_parameters"] = {}
    outer = record(layers.FullyConnectedLayer(1, 1))
    outer.meta["state"]["_modules"] = OrderedDict((f"m{i}", inner) for i in range(900))
    return file_with(outer)


def shared_tensors() -> bytes:
    """A network of 400 GB whose parameters are all the same numbers."""
    net = record(layers.FullyConnectedLayer(1 << 16, 1 << 8, bias=False))
    one = net.meta["state"]["_parameters"]["weight"]
    outer = record(layers.FullyConnectedLayer(1, 1))
    outer.meta["state"]["_parameters"] = {f"p{i}": one for i in range(6000)}
    return file_with(outer)


def copied(function: bytes, data: bytes, num: int = 20_000) -> bytes:
    """Call a function over and over with the same data, and keep the results."""
    once = get(1) + get(0) + b"\x85" + REDUCE
    return program(data, put(0), function, put(1), EMPTY_LIST, MARK, once * num, b"e")


def deep(inner: bytes, num: int = 100_000) -> bytes:
    return inner * num


def filter_size_by_position() -> bytes:
    """The constructor would multiply the last argument, a list, by 2^31."""
    args = (1, False, False, False, 1, 1, 4, 4, 4, 4, 1, 1, 1, 1)
    net = record(networks_stylegan3.SynthesisLayer(*args))
    net.meta["state"]["_init_args"] = (*args[:8], 2.0**-14, *args[9:], 3, [1] * 1000, 1 << 16)
    return file_with(net)


MEGABYTE = binary(bytes(1 << 20))
BOMBS = {
    "memo index": lambda: program(NONE, put(0xFFFFFFFF)),
    "BINBYTES8 length": lambda: START + b"\x8e" + struct.pack("<Q", 1 << 40),
    "BINUNICODE8 length": lambda: START + b"\x8d" + struct.pack("<Q", 1 << 40),
    "BYTEARRAY8 length": lambda: START + b"\x96" + struct.pack("<Q", 1 << 40),
    "BYTEARRAY8 length in memory": lambda: START + b"\x96" + struct.pack("<Q", 400 << 20),
    "BINBYTES length": lambda: START + b"B\xff\xff\xff\xff",
    "LONG4 length": lambda: START + b"\x8b\xff\xff\xff\x7f",
    "FRAME length": lambda: START + b"\x95" + struct.pack("<Q", 1 << 40),
    "number of digits": lambda: START + b"I" + b"9" * 1_000_000 + b"\n.",
    "billion laughs": lambda: program(EMPTY_DICT, text("G_ema"), laughs(), b"s"),
    "billion laughs as a key": lambda: program(EMPTY_DICT, laughs(), NONE, b"s"),
    "billion laughs as keys": lambda: program(EMPTY_DICT, MARK, laughs(), NONE, b"u"),
    "billion laughs in a set": lambda: program(b"\x8f", MARK, laughs(), b"\x90"),
    "billion laughs in a frozenset": lambda: program(MARK, laughs(), b"\x91"),
    "billion laughs in a set of protocol 2": lambda: program(
        call(name("builtins", "set"), EMPTY_LIST + laughs() + b"a")
    ),
    "billion laughs in an OrderedDict": lambda: program(
        call(name("collections", "OrderedDict"), EMPTY_LIST + laughs() + NONE + b"\x86a")
    ),
    "billion laughs as a version": lambda: file_with(record(version="HERE")).replace(
        text("HERE"), laughs()
    ),
    "billion laughs as a shape": lambda: program(
        tensor(four_numbers(), 0, (4,), (1,)).replace(numbers(4), laughs(), 1)
    ),
    "billion laughs as options": lambda: with_options(z_dim="HERE").replace(text("HERE"), laughs()),
    "billion laughs as the dataset": lambda: program(
        EMPTY_DICT, text("training_set_kwargs"), laughs(), b"s"
    ),
    "deep tuple as a key": lambda: program(EMPTY_DICT, EMPTY_TUPLE, deep(b"\x85"), NONE, b"s"),
    "deep list": lambda: program(EMPTY_DICT, text("a"), deep(EMPTY_LIST), deep(b"a", 99_999), b"s"),
    "dictionary that contains itself": lambda: program(SELF),
    "options that contain themselves": lambda: with_options(z_dim="HERE").replace(
        text("HERE"), EMPTY_LIST + put(10**6) + get(10**6) + b"a"
    ),
    "numbers of equal hash": lambda: program(
        EMPTY_DICT, MARK, *(number(i * (2**61 - 1)) + NONE for i in range(1, 60_000)), b"u"
    ),
    "copies of bytes": lambda: copied(name("builtins", "bytearray"), MEGABYTE),
    "copies of a text": lambda: program(
        text("x" * (1 << 20)) + put(0) + name("_codecs", "encode") + put(1) + EMPTY_LIST + MARK,
        (get(1) + get(0) + text("latin1") + b"\x86" + REDUCE) * 20_000 + b"e",
    ),
    "copies of a storage": lambda: copied(
        name("torch.storage", "_load_from_bytes"),
        binary(storage_data(torch.ones(1 << 18), _use_new_zipfile_serialization=False)),
    ),
    "copies of a set": lambda: copied(
        name("builtins", "set"), EMPTY_LIST + MARK + b"".join(map(number, range(100_000))) + b"e"
    ),
    "copies of a size": lambda: copied(name("torch", "Size"), numbers(*range(100_000))),
    "copies of an array": lambda: program(
        array(dtype("u1"), (1 << 20,), MEGABYTE + put(0)) + POP + EMPTY_LIST + MARK,
        array(dtype("u1"), (1 << 20,), get(0)) * 5_000 + b"e",
    ),
    "many small sets": lambda: program(EMPTY_LIST, MARK, b"\x8f" * 4_000_000, b"e"),
    "many marks": lambda: program(MARK * 10_000_000),
    "record in itself": self_containing_network,
    "diamonds": diamonds,
    "many names": many_names,
    "long source": long_source,
    "shared tensors": shared_tensors,
    "many networks": lambda: pickle.dumps(dict.fromkeys(map(str, range(5000)), record()), 4),
    "long names": lambda: file_with(record(class_name="x" * 10_000_000)),
    "long names of modules": lambda: with_state(
        _modules=OrderedDict({"x" * 1_000_000: record(layers.FullyConnectedLayer(1, 1))})
    ),
    "same options in many fields": lambda: pickle.dumps(
        {"G_ema": record(), **dict.fromkeys(map(str, range(2000)), (1,) * 50_000)}, 4
    ),
}
OPTIONS = {
    "img_resolution": lambda: with_options(img_resolution=1 << 40),
    "resolution beyond 64 bits": lambda: with_options(img_resolution=1 << 400),
    "img_channels": lambda: with_options(img_channels=1 << 31),
    "num_layers": lambda: with_options(mapping_kwargs={"num_layers": 10**9}),
    "num_layers in StyleGAN3": lambda: with_options(alias_free(), num_layers=10**9),
    "a hundred layers": lambda: with_options(alias_free(), num_layers=100),
    "w_dim": lambda: with_options(w_dim=1 << 30),
    "c_dim": lambda: with_options(c_dim=1 << 30),
    "infinite": lambda: with_options(channel_base=float("inf")),
    "not a number": lambda: with_options(alias_free(), first_cutoff=float("nan")),
    "complex": lambda: with_options(z_dim=1j),
    "filter_size": lambda: with_options(alias_free(), filter_size=1 << 20),
    "filter_size and upsampling": lambda: with_options(
        alias_free(), filter_size=1000, lrelu_upsampling=1 << 16
    ),
    "radial filters": lambda: with_options(
        alias_free(), filter_size=1000, use_radial_filters=True, num_layers=32
    ),
    "many large radial filters": lambda: with_options(
        alias_free(), filter_size=256, use_radial_filters=True, num_layers=32, channel_base=1 << 15
    ),
    "filter of texts": lambda: with_options(
        alias_free(), filter_size="x" * 1000, lrelu_upsampling=1 << 16
    ),
    "filter of lists": lambda: with_options(
        alias_free(), filter_size=[1] * 1000, lrelu_upsampling=1 << 16
    ),
    "tiny cutoff": lambda: with_options(alias_free(), first_stopband=1e-300, first_cutoff=1e-300),
    "filter_size by position": filter_size_by_position,
    "resample_filter": lambda: with_options(resample_filter=list(range(90_000))),
    "array": lambda: with_options(alias_free(), num_layers=np.array([10**10])),
    "text": lambda: with_options(img_resolution="x" * 1_000_000),
    "list": lambda: with_options(img_resolution=[16] * 10),
    "nested": lambda: with_options(z_dim={"a": [{"b": 1}]}),
    "class_name": lambda: with_options(class_name="os.system", func_name="os.system"),
    "options of options": lambda: with_options(synthesis_kwargs={"synthesis_kwargs": 1}),
    "no options": lambda: with_state(_init_kwargs=None),
    "number of options": lambda: with_options(**{f"k{i}": 0 for i in range(1000)}),
    "device": lambda: with_options(z_dim=torch.device("cuda")),
    "tensor": lambda: with_options(z_dim=torch.ones(1)),
    "activation": lambda: with_options(activation="__class__"),
    "training": lambda: with_state(training=torch.ones(2)),
    "tiny lr_multiplier": lambda: with_options(mapping_kwargs={"lr_multiplier": 1e-320}),
}
EFFECT = f"import os\nos.system({SHELL!r})\n{PYTHON}\nclass Generator: pass\n"


def changed(edit) -> bytes:
    net = record()
    edit(net.meta["state"])
    return file_with(net)


def first_part(state: dict) -> dict:
    return state["_modules"]["mapping"].__reduce_ex__(4)[1][0]["state"]


LOOKALIKES = {
    "source with an effect": lambda: file_with(record(module_src=EFFECT, class_name="Other")),
    "source with an effect and our name": lambda: with_options(z_dim=3).replace(
        b"persistent_class", b"persistent_klass"
    ),
    "source that is no text": lambda: file_with(record(module_src=b"x")),
    "version": lambda: file_with(record(version=7)),
    "type": lambda: file_with(record(type="function")),
    "imported function": lambda: file_with(record(class_name="bias_act")),
    "imported module": lambda: file_with(record(class_name="persistence")),
    "imported class": lambda: file_with(record(class_name="Tensor")),
    "imported class of a path": lambda: file_with(record(class_name="Path")),
    "base class": lambda: file_with(record(class_name="MappedGenerator")),
    "plain class of ours": lambda: file_with(
        record(alias_free(), class_name="Signal", module_src=source_of("networks_stylegan3"))
    ),
    "dotted class": lambda: file_with(record(class_name="Generator.__init__")),
    "special class": lambda: file_with(record(class_name="__builtins__")),
    "class of several lines": lambda: file_with(record(class_name="a\nb\x1b[1m\u202e")),
    "no state": lambda: file_with(record(state=[])),
    "empty state": lambda: file_with(record(state={})),
    "another shape": lambda: changed(
        lambda s: (
            s["_modules"]["synthesis"]
            .b4.__dict__["_parameters"]
            .update(const=torch.nn.Parameter(torch.ones(1)))
        )
    ),
    "a tensor more": lambda: changed(lambda s: s["_buffers"].update(extra=torch.ones(1))),
    "a module more": lambda: changed(
        lambda s: s["_modules"].update(extra=record(layers.FullyConnectedLayer(1, 1)))
    ),
    "a module less": lambda: changed(lambda s: s["_modules"].pop("mapping")),
    "a module that is a text": lambda: changed(lambda s: s["_modules"].update(mapping="x")),
    "a parameter that is an array": lambda: changed(
        lambda s: s["_parameters"].update(x=np.ones(3))
    ),
    "names with dots": lambda: changed(
        lambda s: s["_buffers"].update({"mapping.w_avg": torch.zeros(2)})
    ),
    "modules that are no dictionary": lambda: with_state(_modules=[]),
    "a hook": lambda: with_state(_forward_hooks=OrderedDict({1: os.system})),
    "forward as an attribute": lambda: with_state(forward=os.system),
    "another network as generator": lambda: file_with(record(seeds.networks()["D"])),
    "layer as generator": lambda: file_with(record(layers.FullyConnectedLayer(1, 1))),
    "augmentation as generator": lambda: file_with(record(seeds.networks()["augment_pipe"])),
    "generator as discriminator": lambda: file_with(record(), D=record()),
    "no generator": lambda: pickle.dumps({"D\n\x1b": 1}, 4),
    "class of the dataset": lambda: file_with(
        record(), training_set_kwargs={"class_name": "os.system", "command": SHELL}
    ),
    "class of the dataset in our package": lambda: file_with(
        record(), training_set_kwargs={"class_name": "training.preflight.Path", "path": "x"}
    ),
    "function in place of options": lambda: pickle.dumps(
        {"G_ema": record(), "training_set_kwargs": {"x": torch.device("cpu"), "y": record()}}, 4
    ),
}


def source_of(module: str) -> str:
    return (own_classes.PROJECT_DIR / "training" / f"{module}.py").read_text(encoding="utf-8")


def safetensors_with(description: object = None, tensors: dict | None = None, **network) -> bytes:
    """A safetensors file, with other facts about its network."""
    data = seeds.all_seeds()["safetensors"]
    own = safetensors.torch.load(data)
    own_description = safetensors_file._description(data)
    own_description["networks"]["G_ema"].update(network)
    description = own_description if description is None else description
    metadata = {
        "stylegan3": description if isinstance(description, str) else json.dumps(description)
    }
    return safetensors.torch.save(own if tensors is None else tensors, metadata)


def header(text: str, data: bytes = b"") -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(8, "little") + raw + data


def safetensors_tensors(**changes) -> bytes:
    tensors = safetensors.torch.load(seeds.all_seeds()["safetensors"])
    tensors = {**tensors, **changes}
    return safetensors_with(tensors={k: v for k, v in tensors.items() if v is not None})


WEIGHT = "G_ema.mapping.fc0.weight"
EMPTY_ENTRY = '"dtype":"U8","shape":[1],"data_offsets":[0,1]'
SAFETENSORS = {
    "os.system": lambda: safetensors_with(**{"class": "os.system"}),
    "imported class": lambda: safetensors_with(**{"class": "training.preflight.Path"}),
    "module that is not imported": lambda: safetensors_with(**{"class": "training.ada.Path"}),
    "class in a class": lambda: safetensors_with(
        **{"class": "training.networks_stylegan2.Generator.__init__"}
    ),
    "relative path": lambda: safetensors_with(**{"class": "training...os.system"}),
    "base class": lambda: safetensors_with(
        **{"class": "training.networks_stylegan2.MappedGenerator"}
    ),
    "class that is a list": lambda: safetensors_with(**{"class": ["x"]}),
    "unknown options": lambda: safetensors_with(init_kwargs={"class_name": "os.system"}),
    "options that are a list": lambda: safetensors_with(init_kwargs=[1]),
    "arguments that are a number": lambda: safetensors_with(init_args=5),
    "not a number": lambda: safetensors_with(init_args=[float("nan")] * 5),
    "giant numbers": lambda: safetensors_with(init_args=[10**9, 0, 10**9, 4, 3]),
    "no JSON": lambda: safetensors_with("{"),
    "number as JSON": lambda: safetensors_with("1"),
    "deep JSON": lambda: safetensors_with("[" * 100_000),
    "long number": lambda: safetensors_with('{"version": ' + "9" * 100_000 + "}"),
    "version": lambda: safetensors_with({"version": 2, "networks": {}}),
    "no networks": lambda: safetensors_with({"version": 1, "networks": {}}, {}),
    "many networks": lambda: safetensors_with(
        {"version": 1, "networks": {f"n{i}": {} for i in range(100_000)}}
    ),
    "networks that are a list": lambda: safetensors_with({"version": 1, "networks": []}),
    "network that is a number": lambda: safetensors_with({"version": 1, "networks": {"G_ema": 1}}),
    "class of the dataset": lambda: safetensors_with(
        {
            **safetensors_file._description(seeds.all_seeds()["safetensors"]),
            "training_set_kwargs": {"class_name": "os.system"},
        }
    ),
    "wrong shape": lambda: safetensors_tensors(**{WEIGHT: torch.ones(1)}),
    "missing tensor": lambda: safetensors_tensors(**{WEIGHT: None}),
    "unknown tensor": lambda: safetensors_tensors(**{"G_ema.x": torch.ones(1)}),
    "tensor of no network": lambda: safetensors_tensors(x=torch.ones(1)),
    "integers": lambda: safetensors_tensors(**{WEIGHT: torch.ones(2, 2, dtype=torch.int32)}),
    "no metadata": lambda: safetensors.torch.save({"x": torch.ones(1)}),
    "giant header": lambda: (99_999_999).to_bytes(8, "little") + b"{}",
    "giant tensor": lambda: header(
        '{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'
    ),
    "duplicate names": lambda: header(f'{{"x":{{{EMPTY_ENTRY}}},"x":{{{EMPTY_ENTRY}}}}}', b"x"),
    "overlapping tensors": lambda: header(f'{{"x":{{{EMPTY_ENTRY}}},"y":{{{EMPTY_ENTRY}}}}}', b"x"),
    "lines in a name": lambda: safetensors_tensors(**{"a\nb\x1b": torch.ones(1)}),
    "header that is no JSON": lambda: header("{" * 1000),
    "header that is a list": lambda: header("{}")[:8] + b"[]",
}


def cases() -> list:
    """Every hostile file, made when its test runs."""
    groups = {
        "code": CODE,
        "instruction": INSTRUCTIONS,
        "tensor": {
            key: program(EMPTY_DICT, text("G_ema"), value, b"s") for key, value in TENSORS.items()
        },
        "bomb": BOMBS,
        "option": OPTIONS,
        "lookalike": LOOKALIKES,
        "safetensors": SAFETENSORS,
    }
    return [
        pytest.param(data, id=f"{group}: {key}")
        for group, files in groups.items()
        for key, data in files.items()
    ]


@pytest.mark.parametrize("data", cases())
def test_hostile_files_are_refused_and_do_nothing(victim, data):
    report = victim.load(data() if callable(data) else data)
    assert report.outcome == "refused", report
    assert report.complaint(MAX_SECONDS) is None
    assert not CANARY.exists()


@pytest.mark.slow
def test_the_process_notices_what_a_file_does(victim, monkeypatch):
    monkeypatch.setenv(legacy.UNTRUSTED_VARIABLE, "1")
    trusting = type(victim)(timeout_sec=2)
    try:
        report = trusting.load(program(call(name("os", "system"), text("true"))))
        assert "os.system" in report.complaint(MAX_SECONDS)
        code = f"open({os.devnull!r}, 'w'); import antigravity_is_not_there"
        report = trusting.load(program(call(name("builtins", "exec"), text(code))))
        assert "exec" in report.complaint(MAX_SECONDS)
        assert "open" in report.complaint(MAX_SECONDS)
        args = name("dnnlib", "EasyDict"), text("x"), number(1)
        report = trusting.load(program(call(name("builtins", "setattr"), *args)))
        assert "names" in report.damage
        report = trusting.load(program(call(name("builtins", "eval"), text("sum(range(10**11))"))))
        assert report.outcome == "died" and "most recent call first" in report.message
    finally:
        trusting.close()


@pytest.mark.parametrize("key", CODE)
def test_code_is_reported_as_what_it_asks_for(key):
    with pytest.raises(ValueError, match=r"it asks for|it has the instruction") as info:
        legacy.load_network_pkl(io.BytesIO(CODE[key]))
    assert "\n" not in str(info.value)


def test_bytes_at_random_are_refused(victim):
    rng = np.random.default_rng(0)
    for _ in range(300):
        report = victim.load(START + rng.bytes(int(rng.integers(1, 60))))
        assert report.outcome == "refused", report
        assert report.complaint(MAX_SECONDS) is None


def test_instructions_at_random_are_refused(victim):
    rng = np.random.default_rng(1)
    atoms = [
        *(bytes([code]) for code in range(256)),
        *(name(*key) for key in unpickler.NetworkUnpickler.allowed),
        *(number(value) for value in (0, 1, -1, 1 << 70)),
        *(text(value) for value in ("", "cpu", "f4", "append", "state")),
        numbers(1, 2),
        binary(b"x"),
    ]
    for _ in range(500):
        parts = rng.choice(len(atoms), int(rng.integers(2, 30)))
        report = victim.load(program(*(atoms[i] for i in parts)))
        assert report.outcome == "refused", report
        assert report.complaint(MAX_SECONDS) is None


SETTINGS = ["--gpus=1", "--batch=4", "--gamma=1", "--device=cpu"]
COMMANDS = {
    "legacy": (legacy.main, ["--source=FILE", "--dest=out/b.pkl"], "--source"),
    "gen_images": (gen_images.main, ["--network=FILE", "--seeds=0", "--outdir=out"], "--network"),
    "train": (
        train.main,
        ["--resume=FILE", "--data=DATA", "--outdir=out", "--cfg=stylegan2", *SETTINGS],
        "--resume",
    ),
}


@pytest.mark.parametrize("key", COMMANDS)
def test_commands_refuse_hostile_files_in_one_line(key, tmp_path, monkeypatch):
    command, args, option = COMMANDS[key]
    file = tmp_path / "hostile.pkl"
    file.write_bytes(CODE["os.system"])
    dataset = Path(__file__).parent.parent / "data/datasets/dataset_small_rgb.zip"
    monkeypatch.chdir(tmp_path)
    args = [arg.replace("FILE", str(file)).replace("DATA", str(dataset)) for arg in args]
    result = CliRunner().invoke(command, args)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith(f"Error: {option}: {file}: it asks for os.system")
    assert not CANARY.exists()
    assert not (tmp_path / "out" / "b.pkl").exists()
