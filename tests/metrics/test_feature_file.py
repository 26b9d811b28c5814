"""Feature statistics as files: exact, free of code, and refused when they claim what is not so."""

import io
import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from metrics import feature_file
from metrics.feature_stats import FeatureStats

KINDS = {
    "all": dict(capture_all=True),
    "moments": dict(capture_mean_cov=True),
    "both": dict(capture_all=True, capture_mean_cov=True, max_items=9),
    "neither": dict(),
}


def collect(num: int = 3, **kwargs) -> FeatureStats:
    stats = FeatureStats(**kwargs)
    rng = np.random.default_rng(0)
    for _ in range(num):
        stats.append(rng.normal(size=[4, 5]).astype(np.float32))
    return stats


def content(stats: FeatureStats, **more) -> bytes:
    f = io.BytesIO()
    feature_file.write(f, stats.state_dict(), more)
    return f.getvalue()


@pytest.mark.parametrize("num", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_come_back_bit_for_bit_and_go_on(kind, num, tmp_path):
    stats = collect(num, **KINDS[kind])
    stats.save(tmp_path / "x.safetensors", note="text")
    got = FeatureStats.load(tmp_path / "x.safetensors")
    assert feature_file.read(tmp_path / "x.safetensors")["more"] == {"note": "text"}
    for one in (stats, got):
        one.append(torch.ones(2, 5))
    expected, state = stats.state_dict(), got.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        if key == "all_features":
            assert [a.tobytes() for a in state[key]] == [a.tobytes() for a in value]
            assert [a.shape for a in state[key]] == [a.shape for a in value]
        elif isinstance(value, np.ndarray):
            assert (state[key].dtype, state[key].shape) == (value.dtype, value.shape)
            assert state[key].tobytes() == value.tobytes()
        else:
            assert state[key] == value and type(state[key]) is type(value)


def test_the_format_is_what_the_library_writes(tmp_path):
    data = content(collect(**KINDS["both"]), dataset_files="x")
    arrays = safetensors.numpy.load(data)
    assert {name: array.shape for name, array in arrays.items()} == {
        "raw_mean": (5,),
        "raw_cov": (5, 5),
        "all_features": (9, 5),
    }


def changed(kind: str = "both", arrays: dict | None = None, **fields) -> bytes:
    """A file that claims something else."""
    data = content(collect(**KINDS[kind]))
    size = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + size])["__metadata__"][feature_file.METADATA_KEY]
    own = json.loads(text)
    own.update(fields)
    own = {key: value for key, value in own.items() if value != "missing"}
    tensors = {**safetensors.numpy.load(data), **(arrays or {})}
    tensors = {key: value for key, value in tensors.items() if value is not None}
    return safetensors.numpy.save(tensors, {feature_file.METADATA_KEY: json.dumps(own)})


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


GIANT = '{"all_features":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'
DAMAGED = {
    "nothing": lambda: b"",
    "a pickle": lambda: b"\x80\x04]\x94.",
    "half": lambda: content(collect(**KINDS["both"]))[:-7],
    "a giant header": lambda: (99_999_999).to_bytes(8, "little") + b"{}",
    "a giant array": lambda: header(GIANT),
    "another safetensors file": lambda: safetensors.numpy.save({"x": np.ones(3)}),
    "no JSON": lambda: safetensors.numpy.save({}, {feature_file.METADATA_KEY: "{"}),
    "a list": lambda: safetensors.numpy.save({}, {feature_file.METADATA_KEY: "[]"}),
    "deep JSON": lambda: safetensors.numpy.save({}, {feature_file.METADATA_KEY: "[" * 10**5}),
    "version": lambda: changed(version=2),
    **{
        f"{key} of {value!r}": lambda key=key, value=value: changed(**{key: value})
        for key in ("num_items", "max_items", "num_features")
        for value in (10**18, -1, "5", 1.5, float("nan"), True, [5], "missing")
    },
    "num_items of moments": lambda: changed("moments", num_items=10**18),
    "num_features of nothing": lambda: changed("neither", num_features=10**12),
    "fewer items": lambda: changed(num_items=8),
    "no flag": lambda: changed(capture_all="missing"),
    "a flag that is a number": lambda: changed(capture_mean_cov=1),
    "giant chunks": lambda: changed(chunks=[10**18]),
    "negative chunks": lambda: changed(chunks=[10, -1]),
    "other chunks": lambda: changed(chunks=[4]),
    "chunks of texts": lambda: changed(chunks=["x"] * 9),
    "not a number": lambda: changed(arrays={"raw_mean": np.full(5, np.nan)}),
    "infinite features": lambda: changed(
        arrays={"all_features": np.full([9, 5], np.inf, np.float32)}
    ),
    "a mean of another size": lambda: changed(arrays={"raw_mean": np.ones(4)}),
    "a covariance of another size": lambda: changed(arrays={"raw_cov": np.ones([5, 4])}),
    "a covariance of one dimension": lambda: changed(arrays={"raw_cov": np.ones(25)}),
    "features of another size": lambda: changed(
        arrays={"all_features": np.ones([9, 4], np.float32)}
    ),
    "features of another type": lambda: changed(arrays={"all_features": np.ones([9, 5])}),
    "no features": lambda: changed(arrays={"all_features": None}),
    "an array more": lambda: changed(arrays={"x": np.ones(3)}),
    "an array whose name ends the line": lambda: changed(arrays={"\nx\x1b[2J": np.ones(3)}),
    "a type that ends the line": lambda: header(GIANT.replace("F32", r"\nx\u001b[2J")),
    "a type without end": lambda: header(GIANT.replace("F32", "F" * 100_000)),
}


@pytest.mark.parametrize("key", DAMAGED)
def test_damaged_files_are_refused_in_one_line(key, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(DAMAGED[key]())
    with pytest.raises(ValueError, match="holds no feature statistics: ") as info:
        FeatureStats.load(path)
    assert len(str(info.value)) < 1000 and str(info.value).isprintable()


def test_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        FeatureStats.load(tmp_path / "x.safetensors")
