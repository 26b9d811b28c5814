"""States that are incomplete, or would fill the memory, are refused in one line."""

import io
import pickle
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest
import torch
from click.testing import CliRunner

import train
from tests.network_files.programs import (
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    MARK,
    NONE,
    POP,
    REDUCE,
    TUPLE,
    get,
    number,
    numbers,
    put,
    text,
)
from tests.training.states import small_state
from training import checkpoint, state_contents

MAX_SECONDS = 5  # of the processor
MAX_BYTES = 200 << 20


def without(key: str) -> dict:
    state = small_state()
    del state[key]
    return state


NOT_A_NUMBER = float("nan")
CONTENTS = {
    **{f"no {key}": lambda key=key: without(key) for key in state_contents._PARTS},
    **{
        f"{key} of {value}": lambda key=key, value=value: small_state(**{key: value})
        for key in ("cur_nimg", "batch_idx", "tick", "stats_jsonl_bytes")
        for value in (-1, 2**60, "5", 1.5, None, True)
    },
    "total_sec of NaN": lambda: small_state(total_sec=NOT_A_NUMBER),
    "options without a batch": lambda: small_state(options={"cfg": "stylegan2"}),
    "options of another program": lambda: small_state(options={**OPTIONS, "x": 1}),
    "options that are a list": lambda: small_state(options=[1]),
    "training set without a path": lambda: small_state(training_set_kwargs={"resolution": 8}),
    "networks without D": lambda: small_state(networks={"G": {}, "G_ema": {}}),
    "networks of numbers": lambda: small_state(networks={"G": {"x": 1}, "D": {}, "G_ema": {}}),
    "optimizers that are tensors": lambda: small_state(optimizers={"Gmain": torch.ones(2)}),
    "optimizer without groups": lambda: small_state(optimizers={"Gmain": {"state": {}}}),
    "stats of texts": lambda: small_state(stats={"moments": {"x": ["1"] * 3}, "arrived": {}}),
    "no ranks at all": lambda: small_state(ranks=[]),
    "ranks without random numbers": lambda: small_state(ranks=[{"loss": {}}]),
    "random numbers that are texts": lambda: small_state(
        ranks=[{"loss": {}, "random": dict.fromkeys(("python", "numpy", "torch", "device"), "x")}]
    ),
    "latents of three dimensions": lambda: small_state(sheet_z=torch.zeros(1, 2, 3)),
    "best without a value": lambda: small_state(best={"value_name": "fid50k_full"}),
    "best of NaN": lambda: small_state(best={**BEST, "value": NOT_A_NUMBER}),
    "best with more parts": lambda: small_state(best={**BEST, "x": 1}),
    "best of texts": lambda: small_state(best={**BEST, "former": [["1", "2"]]}),
    "snapshots of texts": lambda: small_state(kept_kimg=["../x"]),
    "durations of texts": lambda: small_state(durations={"state": "1"}),
    "given that is a list": lambda: small_state(given=[1]),
    "watch without a history": lambda: small_state(watch={"said": {}}),
    "watch of other fields": lambda: small_state(watch=watch(dict(kimg=1.0, x=1.0))),
    "watch without images": lambda: small_state(watch=watch(dict(diversity=1.0))),
    "watch of texts": lambda: small_state(watch=watch(dict(kimg=1.0, diversity="1"))),
    "watch of NaN": lambda: small_state(watch=watch(dict(kimg=NOT_A_NUMBER))),
    "watch of a list": lambda: small_state(watch=watch([1.0])),
    "watch that has said texts": lambda: small_state(watch=watch(said={"disk": ["1", "2"]})),
    "watch that has said one number": lambda: small_state(watch=watch(said={"disk": [1.0]})),
    "watch that has found a number": lambda: small_state(watch=watch() | {"found": [1]}),
    "watch that has found no list": lambda: small_state(watch=watch() | {"found": 1}),
    "deep": lambda: small_state(x=nested(50)),
    "tensors that share numbers": lambda: small_state(
        x=[torch.zeros(1 << 16)[:] for _ in [0] * 3] + [SHARED[i:] for i in range(60)]
    ),
    "tensor of one number": lambda: small_state(x=torch.zeros(1).expand(1 << 40)),
    "sparse": lambda: small_state(x=torch.eye(3).to_sparse()),
    "meta": lambda: small_state(x=torch.empty(1 << 40, device="meta")),
    "another kind of dictionary": lambda: small_state(x=torch.Size([3])),
}
OPTIONS = small_state()["options"]
BEST = dict(value_name="fid50k_full", value=1.0, nimg=8, num_worse=0, former=[])
SHARED = torch.zeros(1 << 16)


def watch(*history: object, said: dict | None = None) -> dict:
    return {"history": list(history), "said": said or {}}


def nested(depth: int) -> list:
    return [nested(depth - 1)] if depth else []


def path_of(folder, data: object) -> object:
    path = folder / "training-state-000000016.pt"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        torch.save({**data, "version": checkpoint.VERSION}, path)
    return path


@pytest.mark.parametrize("key", CONTENTS)
def test_incomplete_and_wrong_states_are_refused_in_one_line(key, tmp_path):
    path = path_of(tmp_path, CONTENTS[key]())
    with pytest.raises(ValueError, match="the training state is damaged") as info:
        checkpoint.load(path)
    assert str(info.value).startswith(f"{path}: ") and "\n" not in str(info.value)


def test_the_small_state_is_complete(tmp_path):
    assert checkpoint.load(path_of(tmp_path, small_state()))["tick"] == 0
    full = small_state(watch=watch(dict(kimg=1.0, diversity=None), said={"disk": [1.5, 2.0]}))
    assert checkpoint.load(path_of(tmp_path, full))["watch"] == full["watch"]
    full["watch"]["found"] = ["scores"]  # newer than the rest
    assert checkpoint.load(path_of(tmp_path, full))["watch"] == full["watch"]


def test_the_state_before_an_incomplete_one_is_taken(tmp_path):
    older = checkpoint.save(tmp_path, small_state(), 8, keep=2)
    path_of(tmp_path, without("networks"))
    with pytest.warns(UserWarning, match=r"it lacks 'networks'\); trying the one before"):
        assert checkpoint.load_newest(tmp_path)[0] == older


def test_train_refuses_an_incomplete_state_in_one_line(tmp_path):
    path = path_of(tmp_path, without("training_set_kwargs"))
    result = CliRunner().invoke(train.main, [f"--resume={path}", "--dry-run"])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert "it lacks 'training_set_kwargs'" in line


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch", 0), ("gpus", 0), ("tick", -4), ("keep_states", 0), ("p", 2), ("metrics", ("x",))],
)
def test_train_refuses_a_state_with_options_that_it_would_not_take(option, value, tmp_path):
    path = path_of(tmp_path, small_state(options={**OPTIONS, option: value}))
    result = CliRunner().invoke(train.main, [f"--resume={path}", "--dry-run"])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert f"{path}: the training state is damaged" in line
    assert f"--{option.replace('_', '-')}: " in line


def archive(pickled: bytes, compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """A file as `torch.save` writes it, with any pickle in it."""
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", compression) as z:
        z.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for name, data in {"version": b"3\n", "byteorder": b"little", **members}.items():
            z.writestr(f"archive/{name}", data)
    return f.getvalue()


def overlapping(num: int = 2000, size: int = 1 << 20) -> bytes:
    """Many parts of an archive that are the same bytes."""
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps({}, 2))
        z.writestr("archive/data/0", bytes(size))
        first = z.getinfo("archive/data/0")
        for i in range(1, num):
            other = zipfile.ZipInfo(f"archive/data/{i}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(other, field, getattr(first, field))
            z.filelist.append(other)
        z._didModify = True
    return f.getvalue()


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


KEYS = EMPTY_DICT + MARK + b"".join(text(f"{i:x}") + NONE for i in range(45_000)) + b"u"
DICT = glob("collections", "OrderedDict")
PAIRS = EMPTY_LIST + MARK + b"".join(text(f"{i:x}") + NONE + b"\x86" for i in range(45_000)) + b"e"
GIANT = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")


def giant_storage() -> bytes:
    pid = MARK + text("storage") + glob("torch", "FloatStorage") + text("0") + text("cpu")
    storage = pid + GIANT + TUPLE + b"Q"
    args = MARK + storage + number(0) + numbers(4) + numbers(1) + b"\x89" + NONE + TUPLE
    return glob("torch._utils", "_rebuild_tensor_v2") + args + REDUCE


BOMBS = {
    "bytearray": lambda: archive(glob("builtins", "bytearray") + GIANT + b"\x85" + REDUCE),
    "tensor": lambda: archive(glob("torch", "FloatTensor") + GIANT + b"\x85" + REDUCE),
    "storage of another size": lambda: archive(giant_storage(), **{"data/0": bytes(16)}),
    "storage that is not there": lambda: archive(giant_storage()),
    "repeated states": lambda: archive(
        DICT + b")" + REDUCE + KEYS + put(0) + POP + (get(0) + BUILD) * 70_000
    ),
    "repeated dictionaries": lambda: archive(
        PAIRS + put(0) + DICT + put(1) + (get(1) + get(0) + b"\x85" + REDUCE + POP) * 50_000
    ),
    "key that is never hashed": lambda: archive(
        EMPTY_DICT
        + b")"
        + b"".join(put(10 + i) + get(10 + i) + b"\x86" for i in range(60))
        + NONE
        + b"s"
    ),
    "compressed": lambda: archive(EMPTY_DICT, zipfile.ZIP_DEFLATED, **{"data/0": bytes(400 << 20)}),
    "overlapping": overlapping,
    "no description": lambda: archive(b"}").replace(b"data.pkl", b"data.pkx"),
    "code": lambda: archive(glob("os", "getcwd") + b")" + REDUCE),
}


@pytest.mark.parametrize("key", BOMBS)
def test_states_that_ask_for_much_are_refused_at_once(key, tmp_path):
    path = path_of(tmp_path, BOMBS[key]())
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(ValueError, match="the training state is damaged") as info:
            checkpoint.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < MAX_SECONDS
    assert peak < MAX_BYTES
    assert "\n" not in str(info.value) and str(info.value).isprintable()


def test_attributes_of_dictionaries_are_no_damage(tmp_path):
    weights = OrderedDict(weight=torch.zeros(2))
    weights._metadata = OrderedDict(version=1)  # as `state_dict` of a module has it
    state = small_state(networks=dict.fromkeys(("G", "D", "G_ema"), weights))
    assert checkpoint.load(path_of(tmp_path, state))["networks"]["G"].keys() == {"weight"}
