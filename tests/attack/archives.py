"""Hostile archives and headers: ZIP, `torch.save`, TorchScript, NPZ, safetensors, and others."""

import bz2
import functools
import gzip
import io
import json
import lzma
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import torch

from tests.attack.payloads import (
    MARK_PATH,
    PRECIOUS_PATH,
    PYTHON,
    SHELL,
    TEXT,
)
from tests.attack.pickled import CALL_0, Evil
from tests.network_files import seeds
from tests.network_files.test_hostile import (
    EMPTY_DICT,
    EMPTY_LIST,
    MARK,
    binary,
    call,
    dtype,
    header,
    laughs,
    name,
    number,
    numbers,
    program,
    safetensors_with,
    text,
)

BOMB_BYTES = 2 << 30  # that 2 MB of an archive become
TORCH_MEMBERS = {"version": b"3\n", "byteorder": b"little", ".format_version": b"1"}


def zipped(
    members: dict[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A ZIP archive."""
    buffer = io.BytesIO()
    pairs = members.items() if isinstance(members, dict) else members
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for member, data in pairs:
            archive.writestr(zipfile.ZipInfo(member), data, compression)
    return buffer.getvalue()


@functools.cache
def _deflated_zeros(num_bytes: int) -> tuple[bytes, int]:
    """So many zeros, compressed, and their checksum; whole megabytes."""
    zeros, checksum = bytes(1 << 20), 0
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(zeros) + compressor.flush(zlib.Z_FULL_FLUSH)
    for _ in range(num_bytes >> 20):
        checksum = zlib.crc32(zeros, checksum)
    return block * (num_bytes >> 20) + compressor.flush(), checksum


def bomb(member: str, num_bytes: int = BOMB_BYTES) -> bytes:
    """A ZIP archive whose member, zeros, is far larger than the archive."""
    content, checksum = _deflated_zeros(num_bytes)
    members = {f"archive/{key}": data for key, data in TORCH_MEMBERS.items()}
    data = zipped({**members, member: content})
    method, sizes = struct.pack("<H", zipfile.ZIP_DEFLATED), struct.pack("<I", num_bytes)
    facts = struct.pack("<I", checksum)
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data = patched(data, signature, offset, method)
        data = patched(data, signature, offset + 6, facts)
        data = patched(data, signature, offset + 14, sizes)
    return data


def torch_zip(data_pkl: bytes, **members: bytes) -> bytes:
    """What `torch.save` writes, with another pickle in it."""
    content = {"data.pkl": data_pkl, **TORCH_MEMBERS, **members}
    return zipped({f"archive/{key}": value for key, value in content.items()})


def saved(content: object, **kwargs) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def storage(num: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """A storage in a `torch.save` archive, by its persistent id."""
    parts = text("storage"), name("torch", kind), text(key), text("cpu"), number(num)
    return MARK + b"".join(parts) + b"t" + b"Q"


def torch_tensor(num: int, size: tuple, stride: tuple, offset: int = 0) -> bytes:
    """A tensor in a `torch.save` archive."""
    args = storage(num), number(offset), numbers(*size), numbers(*stride), b"\x89"
    ordered = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), *args, ordered)


def state_zip(**changes: bytes) -> bytes:
    """A training state by its keys only, with these instructions as values."""
    fields = {"version": number(1), "cur_nimg": number(1), "launch_id": b"N"}
    fields |= dict.fromkeys(("options", "training_set_kwargs", "networks"), EMPTY_DICT)
    items = b"".join(text(key) + value for key, value in {**fields, **changes}.items())
    return torch_zip(program(EMPTY_DICT, MARK, items, b"u"), **{"data/0": bytes(16)})


def symlinks() -> bytes:
    """An archive with a link to the home folder, and a file below the link."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("archive/data")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../../home")
        for name, content in {"data/canary": b"x", "data.pkl": CALL_0}.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return buffer.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """An archive with other bytes in the last header of a kind."""
    start = data.rindex(signature) + offset
    return data[:start] + value + data[start + len(value) :]


def tar_with(*members: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            archive.addfile(tarfile.TarInfo(member))
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_header(shape: str, descr: str = "'<f4'") -> bytes:
    """An array file of NumPy that claims a shape."""
    facts = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(facts)) + facts


@functools.cache
def scripted(kind: str) -> bytes:
    """A TorchScript file that acts when it is loaded, or called."""
    buffer = io.BytesIO()
    torch.jit.save(SCRIPTS[kind](), buffer)
    return buffer.getvalue()


class _Module(torch.nn.Module):
    """Takes what a detector takes."""

    def __init__(self) -> None:
        super().__init__()
        self.path, self.mark, self.line = PRECIOUS_PATH, MARK_PATH, TEXT


class Harmless(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        return img.flatten(1)[:, :4].to(torch.float32)


class Overwrites(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        x = torch.from_file(self.path, shared=True, size=4)
        x.fill_(7.0)
        return img.flatten(1)[:, :4].to(torch.float32) + x  # else nothing of it would be done


class Creates(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        x = torch.from_file(self.mark, shared=True, size=4)
        return x + img.flatten(1)[:, :4].to(torch.float32)


class Saves(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        torch.save(img, self.mark)
        return img.flatten(1)[:, :4].to(torch.float32)


class Prints(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        print(self.line)
        return img.flatten(1)[:, :4].to(torch.float32)


class Hangs(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        x = img.to(torch.float32)
        while bool((x == x).all()):
            x = x * 0
        return x


class Allocates(_Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        return torch.ones([1 << 30, 16])


class _Stateful(_Module):
    """Runs `__setstate__` of a subclass when the file is loaded."""

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    def forward(self, img: torch.Tensor, return_features: bool = False):
        return img


class ActsWhenLoaded(_Stateful):
    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path = self.mark = self.line = state[0]
        self.training = state[1]
        x = torch.from_file(state[0], shared=True, size=4)
        x.fill_(7.0)


class HangsWhenLoaded(_Stateful):
    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path = self.mark = self.line = state[0]
        self.training = state[1]
        n = 1
        while n > 0:
            n = 1 + n % 1000


SCRIPTS: dict[str, Callable[[], torch.nn.Module]] = {
    key: functools.partial(lambda cls: torch.jit.script(cls()), cls)
    for key, cls in {
        "harmless": Harmless,
        "overwrites a file": Overwrites,
        "creates a file": Creates,
        "saves a file": Saves,
        "prints": Prints,
        "hangs": Hangs,
        "allocates": Allocates,
        "overwrites when it is loaded": ActsWhenLoaded,
        "hangs when it is loaded": HangsWhenLoaded,
    }.items()
}


class Torchscript:
    """Pickles as bytes that TorchScript loads, as published detectors do."""

    def __reduce__(self):
        return torch.jit.load, (io.BytesIO(scripted("overwrites a file")),)


def legacy_torch(content: object) -> bytes:
    """What PyTorch wrote before 1.6."""
    return saved(content, _use_new_zipfile_serialization=False)


ARCHIVES = {
    "bomb, pickle": lambda: bomb("archive/data.pkl"),
    "bomb, numbers": lambda: bomb("archive/data/0"),
    "bomb, constants": lambda: bomb("archive/constants.pkl"),
    "bomb, version": lambda: bomb("archive/version"),
    "bomb, array": lambda: bomb("w.npy"),
    "code in torch.save": lambda: saved({"G_ema": Evil(os.system, SHELL)}),
    "code in torch.save, eval": lambda: saved({"version": Evil(eval, PYTHON)}),
    "code in torch.save, legacy": lambda: legacy_torch({"G_ema": Evil(os.system, SHELL)}),
    "code in torch.save, protocol 0": lambda: torch_zip(CALL_0),
    "code in torch.save, no version": lambda: zipped({"a/data.pkl": CALL_0}),
    "code in torch.save, other folder": lambda: zipped({"../a/data.pkl": CALL_0}),
    "code in torch.save, twice the pickle": lambda: zipped(
        [("a/data.pkl", saved({})), ("a/data.pkl", CALL_0), ("a/version", b"3\n")]
    ),
    "code in constants": lambda: zipped({"a/constants.pkl": CALL_0, "a/data.pkl": CALL_0}),
    "code in a source of TorchScript": lambda: zipped(
        {
            "a/constants.pkl": program(b")"),
            "a/data.pkl": CALL_0,
            "a/code/__torch__.py": f"import os\n{PYTHON}\n".encode(),
            "a/version": b"6\n",
        }
    ),
    "ZIP in a ZIP": lambda: zipped({"a.zip": zipped({"b.zip": zipped({"data.pkl": CALL_0})})}),
    "pickle behind a ZIP": lambda: zipped({"x": b"x"}) + CALL_0,
    "pickle before a ZIP": lambda: CALL_0 + torch_zip(CALL_0),
    "sound pickle before a ZIP of code": lambda: seeds.dumps({}) + torch_zip(CALL_0),
    "path upwards": lambda: zipped({f"../{MARK_PATH}": b"x", "a/data.pkl": CALL_0}),
    "absolute path": lambda: zipped({"/tmp/attack-canary": b"x", "a/data.pkl": CALL_0}),
    "link": symlinks,
    "names with line ends": lambda: zipped({f"a{TEXT}/data.pkl": CALL_0, f"a{TEXT}/version": b"3"}),
    "damaged member with line ends": lambda: zipped(
        {f"a/x{TEXT}": b"original", "a/data.pkl": program(EMPTY_DICT), "a/version": b"3\n"}
    ).replace(b"original", b"replaced", 1),
    "damaged checksum": lambda: torch_zip(program(EMPTY_DICT)).replace(b"little", b"lithle", 1),
    "60 000 members": lambda: zipped({f"a/{i}": b"" for i in range(60_000)}),
    "60 000 members of one name": lambda: zipped([("a/data.pkl", b"")] * 60_000),
    "name of 65 kB": lambda: zipped({"x" * 65_000 + "/data.pkl": CALL_0}),
    "nothing but the end": lambda: b"PK\x05\x06" + bytes(18),
    "nothing but the beginning": lambda: b"PK\x03\x04" + bytes(60),
    "size of 2^32": lambda: patched(
        torch_zip(program(EMPTY_DICT)), b"PK\x01\x02", 20, b"\xfe\xff\xff\xff" * 2
    ),
    "size of ZIP64 without ZIP64": lambda: patched(
        torch_zip(program(EMPTY_DICT)), b"PK\x01\x02", 20, b"\xff" * 8
    ),
    "offset beyond the end": lambda: patched(
        torch_zip(program(EMPTY_DICT)), b"PK\x01\x02", 42, b"\xf0\xff\xff\x7f"
    ),
    "number of members": lambda: patched(
        torch_zip(program(EMPTY_DICT)), b"PK\x05\x06", 8, b"\xff" * 4
    ),
    "offset of the directory": lambda: patched(
        torch_zip(program(EMPTY_DICT)), b"PK\x05\x06", 16, b"\xf0\xff\xff\x7f"
    ),
    "encrypted": lambda: patched(torch_zip(program(EMPTY_DICT)), b"PK\x01\x02", 8, b"\x01\x00"),
    "unknown compression": lambda: patched(
        torch_zip(program(EMPTY_DICT)), b"PK\x01\x02", 10, b"\x63\x00"
    ),
    "empty pickle": lambda: torch_zip(b""),
    "pickle of a text": lambda: torch_zip(program(text(TEXT))),
    "big-endian": lambda: torch_zip(program(EMPTY_DICT), byteorder=b"big"),
    "unknown order of bytes": lambda: torch_zip(program(EMPTY_DICT), byteorder=TEXT.encode()),
    "version of a million digits": lambda: torch_zip(program(EMPTY_DICT), version=b"9" * 1_000_000),
    "giant storage": lambda: torch_zip(program(EMPTY_DICT, text("x"), storage(1 << 40), b"s")),
    "storage without numbers": lambda: torch_zip(
        program(EMPTY_DICT, text("x"), torch_tensor(4, (4,), (1,)), b"s")
    ),
    "storage with a path": lambda: torch_zip(
        program(EMPTY_DICT, text("x"), storage(4, key=f"../../{PRECIOUS_PATH}"), b"s")
    ),
    "storage of another type": lambda: torch_zip(
        program(EMPTY_DICT, text("x"), storage(4, kind="QInt8Storage"), b"s")
    ),
    "sparse tensor": lambda: saved({"x": torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,))}),
    "sparse tensor with wrong indices": lambda: saved(
        {"x": torch.sparse_coo_tensor([[1 << 41]], [1.0], (1 << 40,), check_invariants=False)}
    ),
    "tensor of nothing, expanded": lambda: saved({"x": torch.zeros(1).expand(1 << 20, 1 << 20)}),
    "module": lambda: saved(torch.nn.Linear(2, 2)),
    "network": lambda: saved({"G_ema": seeds.generator()}),
    "gzip of code": lambda: gzip.compress(CALL_0, mtime=0),
    "gzip bomb": lambda: gzip.compress(bytes(64 << 20), 9, mtime=0),
    "bzip2 of code": lambda: bz2.compress(CALL_0),
    "xz of code": lambda: lzma.compress(CALL_0),
    "tar with a path upwards": lambda: tar_with("../../home/canary", "/tmp/attack-canary"),
}
STATES = {
    "no keys but the version": lambda: torch_zip(
        program(EMPTY_DICT, text("version"), number(1), b"s")
    ),
    "all keys empty": state_zip,
    "list": lambda: torch_zip(program(EMPTY_LIST)),
    "version with line ends": lambda: state_zip(version=text(TEXT)),
    "version of 10 MB": lambda: state_zip(version=text("9" * (10 << 20))),
    "version of a million bits": lambda: saved({"version": 1 << 1_000_000}),
    "options with line ends": lambda: state_zip(options=EMPTY_DICT + text(TEXT) + b"Ns"),
    "options that are a text": lambda: state_zip(options=text(TEXT)),
    "options of the operating system": lambda: saved(
        {
            "version": 1,
            "cur_nimg": 1,
            "launch_id": None,
            "networks": {},
            "options": {"outdir": "/tmp", "data": TEXT, "cfg": TEXT, "resume": PRECIOUS_PATH},
            "training_set_kwargs": {"class_name": "os.system", "path": TEXT, "use_labels": False},
        }
    ),
    "path of zeros without end": lambda: saved(
        {"version": 1, "options": {}, "training_set_kwargs": {"path": "/dev/zero", "use_labels": 1}}
    ),
    "billion laughs": lambda: state_zip(options=laughs()),
    "billion laughs as the version": lambda: state_zip(version=laughs()),
    "deep dictionary": lambda: state_zip(
        options=(EMPTY_DICT + text("a")) * 100_000 + b"N" + b"s" * 100_000
    ),
    "key of nested tuples": lambda: state_zip(
        options=EMPTY_DICT + b")" + b"\x85" * 100_000 + b"Ns"
    ),
    "giant tensor": lambda: state_zip(networks=torch_tensor(4, (1 << 40,), (1,))),
    "giant tensor of zero strides": lambda: state_zip(
        networks=torch_tensor(4, (1 << 20, 1 << 20), (0, 0))
    ),
    "tensor of 90 000 dimensions": lambda: state_zip(
        networks=torch_tensor(4, (1,) * 90_000, (1,) * 90_000)
    ),
    "negative offset": lambda: state_zip(networks=torch_tensor(4, (4,), (1,), -4)),
    "numbers without end": lambda: saved(
        {"version": 1, "cur_nimg": 10**300, "options": {"kimg": 10**300}, "networks": {}}
    ),
    "bytearray of a giant size": lambda: state_zip(
        options=call(name("builtins", "bytearray"), number(8 << 30))
    ),
    "zeros of a giant size": lambda: state_zip(
        options=call(name("torch", "zeros"), number(8 << 30))
    ),
    "tensor on another device": lambda: state_zip(
        options=call(
            name("torch._utils", "_rebuild_meta_tensor_no_storage"),
            name("torch", "float32"),
            numbers(1 << 40),
            numbers(1),
            b"\x89",
        )
    ),
}


def feature_state(**changes: bytes) -> bytes:
    """The dictionary of a feature cache, as versions up to now wrote it, with other values."""
    zeros = call(
        name("numpy._core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"),
        numbers(0),
        binary(b"b"),
    )
    fields = {
        "capture_all": b"\x88",
        "capture_mean_cov": b"\x89",
        "max_items": b"N",
        "num_items": number(8),
        "num_features": number(24),
        "all_features": EMPTY_LIST,
        "raw_mean": zeros,
        "raw_cov": zeros,
    }
    items = b"".join(text(key) + value for key, value in {**fields, **changes}.items())
    return program(EMPTY_DICT, MARK, items, b"u")


def raw_array(shape: bytes, code: str = "f8") -> bytes:
    """An array that NumPy's own function makes of a shape."""
    function = name("numpy._core.multiarray", "_reconstruct")
    return call(function, name("numpy", "ndarray"), shape, text(code))


def object_array(num: int, content: bytes) -> bytes:
    """An array of Python's objects, by way of NumPy's own `__setstate__`."""
    kind = dtype("O8") + MARK + number(3) + text("|") + b"NNN" + number(-1) * 2 + number(63) + b"tb"
    return (
        raw_array(numbers(0)) + MARK + number(1) + numbers(num) + kind + b"\x89" + content + b"tb"
    )


FEATURES = {
    "array of 10^9 numbers": lambda: feature_state(raw_mean=raw_array(numbers(500_000_000))),
    "array of 10^18 numbers": lambda: feature_state(raw_mean=raw_array(numbers(10**17))),
    "array of objects": lambda: feature_state(raw_mean=object_array(1, EMPTY_LIST + b"Na")),
    "array of objects that are not there": lambda: feature_state(
        raw_mean=object_array(100_000, EMPTY_LIST)
    ),
    "array of objects from bytes": lambda: feature_state(
        raw_mean=object_array(1, binary(bytes(8)))
    ),
    "array of pointers": lambda: feature_state(
        raw_mean=call(
            name("numpy._core.numeric", "_frombuffer"),
            binary(b"\x41" * 8),
            dtype("O8"),
            numbers(1),
            text("C"),
        )
    ),
    "scalar of a pickle": lambda: feature_state(
        raw_mean=call(name("numpy._core.multiarray", "scalar"), dtype("O8"), binary(CALL_0))
    ),
    "methods of an EasyDict": lambda: program(
        name("dnnlib.util", "EasyDict"),
        b")",
        b"\x81",
        EMPTY_DICT + text("get") + name("numpy", "dtype") + b"s",
        b"b",
    ),
    "class of an EasyDict": lambda: program(
        name("dnnlib.util", "EasyDict"), EMPTY_DICT + text("get") + b"Ns", b"b"
    ),
    "number of images of 10^18": lambda: feature_state(num_items=number(10**18)),
    "number of images that is a text": lambda: feature_state(num_items=text(TEXT)),
    "features that are a text": lambda: feature_state(all_features=text(TEXT)),
    "no fields": lambda: program(EMPTY_DICT),
    "deep list of features": lambda: feature_state(
        all_features=EMPTY_LIST * 100_000 + b"a" * 99_999
    ),
    "objects in an NPZ": lambda: npz(w=np.array([Evil(os.system, SHELL)], dtype=object)),
    "giant shape in an NPY": lambda: zipped({"w.npy": npy_header("(1099511627776,)")}),
    "encrypted NPY": lambda: patched(
        npz(w=np.ones([1, 6, 8], dtype=np.float32)), b"PK\x01\x02", 8, b"\x01\x00"
    ),
    "unknown compression of an NPY": lambda: patched(
        npz(w=np.ones([1, 6, 8], dtype=np.float32)), b"PK\x01\x02", 10, b"\x63\x00"
    ),
    "objects in an NPY": lambda: zipped({"w.npy": npy_header("(1,)", "'|O'") + CALL_0}),
    "code in the header of an NPY": lambda: zipped(
        {"w.npy": npy_header(f"({PYTHON},)"), "spectrum.npy": npy_header(PYTHON)}
    ),
    "deep header of an NPY": lambda: zipped({"w.npy": npy_header("(" * 30_000)}),
    "bare NPY of objects": lambda: npy_header("(1,)", "'|O'") + CALL_0,
    "spectrum of a giant shape": lambda: zipped(
        {"spectrum.npy": npy_header("(1048576, 1048576)"), "image_size.npy": npy_header("()")}
    ),
    "spectrum of a giant image": lambda: npz(spectrum=np.ones([16, 16]), image_size=10**18),
    "spectrum of an image without pixels": lambda: npz(spectrum=np.ones([16, 16]), image_size=0),
    "spectrum of an infinite image": lambda: npz(spectrum=np.ones([16, 16]), image_size=np.inf),
    "spectrum that is a text": lambda: npz(spectrum=np.array(TEXT), image_size=np.array(TEXT)),
    "styles that are texts": lambda: npz(w=np.array([[TEXT]])),
    "styles of zero size": lambda: npz(w=np.zeros([0, 10**9, 10**9], dtype=np.float32)),
}


def safetensors_description(**changes) -> bytes:
    own = {"version": 1, "networks": {"G_ema": {"class": "os.system"}}}
    return safetensors_with(json.dumps({**own, **changes}))


HEADERS = {
    "safetensors of 2^63 bytes": lambda: (1 << 63).to_bytes(8, "little") + b"{}",
    "safetensors of a header of 100 MB": lambda: (100_000_000).to_bytes(8, "little") + b"{" * 1000,
    "safetensors of deep JSON": lambda: header('{"a":' * 100_000 + "1" + "}" * 100_000),
    "safetensors of deep lists": lambda: header('{"a":' + "[" * 100_000),
    "safetensors of a long number": lambda: header('{"a":' + "9" * 1_000_000 + "}"),
    "safetensors of names with line ends": lambda: header(json.dumps({TEXT: {"dtype": TEXT}})),
    "safetensors of 90 000 dimensions": lambda: header(
        json.dumps({"x": {"dtype": "U8", "shape": [1] * 90_000, "data_offsets": [0, 1]}}), b"x"
    ),
    "safetensors of shapes that overflow": lambda: header(
        json.dumps({"x": {"dtype": "U8", "shape": [1 << 62] * 4, "data_offsets": [0, 1]}}), b"x"
    ),
    "safetensors of zero size": lambda: header(
        json.dumps({"x": {"dtype": "U8", "shape": [0, 1 << 62], "data_offsets": [0, 0]}})
    ),
    "safetensors of 90 000 tensors": lambda: header(
        json.dumps(
            {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(90_000)}
        )
    ),
    "safetensors whose class has line ends": lambda: safetensors_with(**{"class": TEXT}),
    "safetensors whose class runs commands": lambda: safetensors_with(
        **{"class": "os.system", "init_args": [SHELL], "init_kwargs": {}}
    ),
    "safetensors whose class is a trap": lambda: safetensors_with(**{"class": "attack_trap.run"}),
    "safetensors of options with line ends": lambda: safetensors_with(init_kwargs={TEXT: TEXT}),
    "safetensors of 65536": lambda: safetensors_with(
        init_kwargs={
            "z_dim": 2,
            "c_dim": 0,
            "w_dim": 2,
            "img_resolution": 65536,
            "img_channels": 1,
            "channel_base": 65536,
            "channel_max": 1,
            "mapping_kwargs": {"num_layers": 1},
        },
        init_args=[],
    ),
    "safetensors of 10^9 channels": lambda: safetensors_with(
        init_args=[512, 0, 512, 1024, 10**9], init_kwargs={}
    ),
    "safetensors of networks with line ends": lambda: safetensors_description(
        networks={TEXT: {"class": TEXT}}
    ),
    "safetensors of a dataset with line ends": lambda: safetensors_description(
        training_set_kwargs={"class_name": TEXT, "path": TEXT}
    ),
    "web page": b"<!DOCTYPE html><script>alert(1)</script>" + TEXT.encode(),
    "XML of a billion laughs": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "&a;&a;">]><x/>',
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "program of Linux": b"\x7fELF\x02\x01\x01" + bytes(57),
    "Python": f"#!/usr/bin/env python\n{PYTHON}\n".encode(),
    "shell": f"#!/bin/sh\n{SHELL}\n".encode(),
    "YAML": f"!!python/object/apply:os.system ['{SHELL}']\n".encode(),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "PNG of 2^31 pixels": (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02" + bytes(7)
    ),
    "empty": b"",
    "one byte": b"\x80",
    "a megabyte of zeros": bytes(1 << 20),
    "a megabyte of ones": b"\xff" * (1 << 20),
    "magic number of old PyTorch": lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + CALL_0,
    "old PyTorch": lambda: legacy_torch({"x": torch.ones(4)}),
    "old PyTorch of a giant storage": lambda: legacy_torch({"x": torch.ones(4)}).replace(
        b"K\x04Ntq", b"J\xff\xff\xff\x7fNtq"
    ),
    "old PyTorch in a tar": lambda: tar_with("sys_info", "storages", "tensors", "pickle"),
}
TORCHSCRIPT = {
    **{f"that {key}": functools.partial(scripted, key) for key in SCRIPTS},
    "in a pickle": lambda: pickle.dumps(
        Evil(torch.jit.load, io.BytesIO(scripted("overwrites a file"))), 4
    ),
    "cut in half": lambda: scripted("harmless")[: len(scripted("harmless")) // 2],
    "under another name": lambda: scripted("overwrites a file").replace(
        b"constants.pkl", b"constant5.pkl"
    ),
}


def groups() -> dict[str, dict[str, bytes | Callable[[], bytes]]]:
    """All of them, by mechanism."""
    return {
        "archive": ARCHIVES,
        "state": STATES,
        "features": FEATURES,
        "header": HEADERS,
        "torchscript": TORCHSCRIPT,
    }
