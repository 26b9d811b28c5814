"""Adapts source text from old pickles to the libraries that are installed.

Pickles of forks of StyleGAN2-ADA and StyleGAN3 carry source written for the NumPy, SciPy and
setuptools of 2020 to 2022. Names that these libraries have removed since are replaced by their
meaning. A name that still exists is not replaced, so that sources that work do not change. Lines
keep their numbers. PyTorch needs no rules: `symeig`, `lstsq` and `solve` raise errors that name
their successors, and the layout that `rfft` returned cannot be restored by replacing names.
"""

import importlib
import re
import warnings

PYTHON_TYPES = ("bool", "complex", "float", "int", "object")
NUMPY_NAMES = {"Inf": "inf", "NaN": "nan", "product": "prod"}  # old -> new
WINDOWS = ("blackman", "gaussian", "hamming", "hann", "kaiser")


def modernise(text: str) -> str:
    """Replace the names that the installed libraries lack."""
    for replace in (_numpy_types, _numpy_names, _windows, _imported_windows, _versions):
        text = replace(text)
    return text


def _numpy_types(text: str) -> str:
    """`np.int` is `int`: the aliases were removed in NumPy 1.24.

    Typical are `np.int(np.log2(size))` for resolutions and `astype(np.float)` for filters.
    """

    def replace(match: re.Match) -> str:
        return match[0] if _has("numpy", match[1]) else match[1]

    return re.sub(rf"(?<![\w.])(?:np|numpy)\.({'|'.join(PYTHON_TYPES)})\b", replace, text)


def _numpy_names(text: str) -> str:
    """`np.Inf`, `np.NaN`, `np.product` are `inf`, `nan`, `prod`: removed in NumPy 2.0.

    Typical are `-np.Inf` in attention masks and `np.product(shape[1:])` for the fan-in.
    """

    def replace(match: re.Match) -> str:
        return match[0] if _has("numpy", match[2]) else f"{match[1]}.{NUMPY_NAMES[match[2]]}"

    return re.sub(rf"(?<![\w.])(np|numpy)\.({'|'.join(NUMPY_NAMES)})\b", replace, text)


def _windows(text: str) -> str:
    """`scipy.signal.gaussian(...)` moved to `scipy.signal.windows`, for good in SciPy 1.13.

    Layers that design their own blur or low-pass filters begin with a window.
    """

    def replace(match: re.Match) -> str:
        return match[0] if _has("scipy.signal", match[2]) else f"{match[1]}.windows.{match[2]}"

    packages = r"scipy\.signal|signal" if "from scipy import signal" in text else r"scipy\.signal"
    return re.sub(rf"(?<![\w.])({packages})\.({'|'.join(WINDOWS)})(?=\()", replace, text)


def _imported_windows(text: str) -> str:
    """The same for `from scipy.signal import gaussian`, where nothing else is imported with it."""

    def replace(match: re.Match) -> str:
        names = [name.split()[0] for name in match[1].split(",")]
        if all(_has("scipy.signal", name) for name in names):
            return match[0]
        return f"from scipy.signal.windows import {match[1]}"

    window = rf"(?:{'|'.join(WINDOWS)})\b(?: as \w+)?"
    pattern = rf"\bfrom scipy\.signal import ({window}(?:, *{window})*)(?=[ \t]*(?:#.*)?$)"
    return re.sub(pattern, replace, text, flags=re.MULTILINE)


def _versions(text: str) -> str:
    """`parse_version` and `LooseVersion` are PyTorch's own class, which compares in the same way.

    Sources ask for the version of PyTorch with them, to choose between its interfaces.
    setuptools 82 removed `pkg_resources`, Python 3.12 `distutils`.
    """

    def replace(match: re.Match) -> str:
        module, name, alias = match.groups()
        if _has(module, name):
            return match[0]
        return f"from torch.torch_version import TorchVersion as {alias or name}"

    pattern = (
        r"\bfrom (pkg_resources|distutils\.version) import (parse_version|LooseVersion)"
        r"(?: as (\w+))?(?=[ \t]*(?:#.*)?$)"
    )
    return re.sub(pattern, replace, text, flags=re.MULTILINE)


def _has(module_name: str, name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that will be removed
        try:
            return hasattr(importlib.import_module(module_name), name)
        except ImportError:
            return False
