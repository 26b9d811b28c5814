"""Write networks to a pickle or a safetensors file."""

import pickle
from pathlib import Path
from typing import Any

from dnnlib import util
from network_files import safetensors_file


def save_networks(path: Path, data: dict[str, Any]) -> None:
    """Write networks to a pickle or, if the path ends in .safetensors, to a safetensors file.

    Args:
        path: The file. Missing folders are made.
        data: Networks as `load_network_pkl` returns them.

    Raises:
        ValueError: If the networks do not fit into a safetensors file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with util.open_atomic(path) as f:
        if path.suffix == ".safetensors":
            safetensors_file.save(f, data)
        else:
            pickle.dump(data, f)
