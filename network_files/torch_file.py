"""Explain files of PyTorch that are no network pickles."""

import re
import zipfile
from pathlib import Path
from typing import BinaryIO

from dnnlib import moved
from dnnlib.util import is_url
from torch_utils import state_file

__getattr__ = moved.names_of(__name__)

# Keys of a training state in its pickle.
STATE_KEYS = (b"training_set_kwargs", b"launch_id", b"cur_nimg")
MAX_INDEX_BYTES = 16 << 20  # of the pickle in an archive, which excludes tensors

SNAPSHOT = re.compile(r"network-snapshot-(\d+)\.pkl")
WAY_OUT = (
    "not a network pickle; take the network's .pkl or .safetensors (train.py writes "
    "network-snapshot-*.pkl)"
)


def explain(f: BinaryIO, head: bytes, name: str) -> str | None:
    """Say what a file is, and which file to use instead; `None` if PyTorch did not write it.

    Args:
        f: The file, seekable; its position changes.
        head: The first bytes of the file.
        name: Path or URL of the file.
    """
    if state_file.is_old_format(head):
        return f"this is a torch.save file in the format before PyTorch 1.6, {WAY_OUT}"
    if not head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(f) as archive:
            members = {member.rpartition("/")[2]: member for member in archive.namelist()}
            if "constants.pkl" in members:
                return f"this is a TorchScript file, {WAY_OUT}"
            if "data.pkl" not in members:
                return None
            with archive.open(members["data.pkl"]) as index:
                is_state = _is_state(index.read(MAX_INDEX_BYTES))
    except Exception:  # damaged bytes can make the reader raise anything
        return None
    return _explain_state(name) if is_state else f"this is a torch.save file, {WAY_OUT}"


def _is_state(index: bytes) -> bool:
    return all(key in index for key in STATE_KEYS)


def _explain_state(name: str) -> str:
    what = "this is the state of a training run, which train.py --resume continues"
    snapshot = _snapshot_beside(name)
    if snapshot is not None:
        return f"{what}; the network is in {snapshot}"
    return f"{what}; networks are in the run's network-snapshot-*.pkl, but there is none beside it"


def _snapshot_beside(name: str) -> Path | None:
    """The last network that a run saved before a state, or else its first network."""
    path = Path(name)
    if is_url(name) or not path.is_file():
        return None
    matches = [(SNAPSHOT.fullmatch(other.name), other) for other in path.parent.iterdir()]
    kimg = {int(match[1]): other for match, other in matches if match}
    state = re.match(r"training-state-(\d+)", path.name)
    earlier = [k for k in kimg if state is None or k <= int(state[1]) // 1000]
    return kimg[max(earlier) if earlier else min(kimg)] if kimg else None
