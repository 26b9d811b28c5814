"""Write networks to a pickle or a safetensors file."""

import pickle
from pathlib import Path
from typing import Any

from dnnlib import util
from dnnlib.errors import InputError
from network_files import safetensors_file
from network_files.half_weights import Rounding
from network_files.safetensors_file import StoredType


def save_networks(
    path: Path, data: dict[str, Any], store_as: StoredType = "float32"
) -> Rounding | None:
    """Write networks to a pickle or, if the path ends in .safetensors, to a safetensors file.

    Args:
        path: The file. Missing folders are made.
        data: Networks as `load_network_pkl` returns them.
        store_as: Type of the weights in a safetensors file; they are float32 when loaded.

    Returns:
        What rounding to float16 did; `None` for float32.

    Raises:
        ValueError: If the networks do not fit into a safetensors file, or a pickle is to hold
            float16.
    """
    if store_as != "float32" and path.suffix != ".safetensors":
        raise InputError(f"{path}: only .safetensors files hold weights as {store_as}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with util.open_atomic(path) as f:
        if path.suffix == ".safetensors":
            return safetensors_file.save(f, data, store_as)
        pickle.dump(data, f)
        return None
