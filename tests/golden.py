"""Reference numbers: loading `tests/data`, the deterministic weight fill, and the error measure."""

import json
import zlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

DATA_DIR = Path(__file__).parent / "data"


@cache
def load_json(name: str):
    """Parse `tests/data/<name>` (which may hold NaN and Infinity tokens)."""
    return json.loads((DATA_DIR / name).read_text())


@cache
def load(name: str) -> dict[str, SimpleNamespace]:
    """Load `tests/data/<name>`: case -> namespace of `meta` and `arrays`, a dict of arrays."""
    with np.load(DATA_DIR / name) as npz:
        cases = {
            case: SimpleNamespace(meta=meta, arrays={})
            for case, meta in json.loads(str(npz["meta"])).items()
        }
        for key in npz.files:
            if key != "meta":
                case, _, array = key.rpartition("/")
                cases[case].arrays[array] = npz[key]
    return cases


def case_names(name: str, prefix: str = "") -> list[str]:
    """Names of the cases in `tests/data/<name>` that start with `prefix`, to parametrize over."""
    return [case for case in load(name) if case.startswith(prefix)]


def tensor(case: SimpleNamespace, key: str, requires_grad: bool = False) -> torch.Tensor | None:
    """The array `key` of a case as a fresh tensor, `None` if the case was recorded without it."""
    if key not in case.arrays:
        return None
    return torch.from_numpy(np.array(case.arrays[key])).requires_grad_(requires_grad)


def scaled_error(got: torch.Tensor, ref: np.ndarray) -> float:
    """`max|got - ref| / max|ref|`; plain `max|got|` where the reference is all zeros."""
    got = got.detach().cpu().double().numpy()
    assert got.shape == ref.shape, f"shape {got.shape}, expected {ref.shape}"
    if ref.size == 0:
        return 0.0
    scale = np.abs(ref).max()
    return float(np.abs(got - ref.astype(np.float64)).max() / (scale if scale > 0 else 1.0))


@torch.no_grad()
def fill_weights(module: torch.nn.Module, mapping_lr_multiplier: float = 0.01) -> torch.nn.Module:
    """Overwrite every parameter and buffer with values that depend on its name alone."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        filled = _fill_value(module, name, tuple(value.shape), mapping_lr_multiplier)
        if filled is not None:
            value.copy_(torch.from_numpy(np.asarray(filled, dtype=np.float32)))
    return module


def _fill_value(module, name: str, shape: tuple[int, ...], lr_multiplier: float):
    rng = np.random.RandomState(zlib.crc32(name.encode("utf-8")))
    *path, last = name.split(".")
    if last == "phases":
        return rng.rand(*shape) - 0.5
    v = np.float32(rng.randn(*shape))
    in_mapping_fc = len(path) >= 2 and path[-2] == "mapping" and path[-1].startswith("fc")
    unscaled = np.float32(1 / lr_multiplier) if in_mapping_fc else np.float32(1)
    tenth = np.float32(0.1) * v
    match last:
        case "weight":
            return tenth if name.endswith("input.affine.weight") else v * unscaled
        case "bias":
            if name.endswith("input.affine.bias"):
                return np.float32([1, 0, 0, 0]) + tenth
            return np.float32(1) + tenth if name.endswith("affine.bias") else tenth * unscaled
        case "magnitude_ema":
            return np.exp(tenth)
        case "w_avg":
            return tenth
        case "freqs":
            return v * np.float32(0.25 * module.synthesis.input.bandwidth)
        case "const" | "noise_const":
            return v
        case "noise_strength":
            return np.float32(0.1) * np.abs(v)
        case "up_filter" | "down_filter" | "resample_filter" | "transform":
            return None
    raise AssertionError(f"no fill rule for {name}")
