"""Pickles as other versions of the networks' source would have written them."""

import io
import pickle
from collections.abc import Callable
from typing import Any

from network_files.tensorflow_object import TensorFlowNetwork
from torch_utils import persistence

OTHER_SOURCE = "raise RuntimeError('the source inside the pickle was executed')\n"


def dumps(
    data: Any, source: str = OTHER_SOURCE, edit: Callable[[dict], None] = lambda meta: None
) -> bytes:
    """Pickle `data` with another source in its persistent objects.

    Args:
        data: What to pickle.
        source: What takes the place of the networks' source.
        edit: Changes the description of each persistent object, see `torch_utils.persistence`.
    """
    buffer = io.BytesIO()
    _ForeignPickler(buffer, source, edit).dump(data)
    return buffer.getvalue()


class _ForeignPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, source: str, edit: Callable[[dict], None]) -> None:
        super().__init__(file, protocol=4)
        self.source = source
        self.edit = edit

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) or not persistence.is_persistent(obj):
            return NotImplemented
        reconstruct, (meta,), _ = obj.__reduce_ex__(4)
        meta = {**meta, "module_src": self.source, "state": dict(meta["state"])}
        self.edit(meta)
        return reconstruct, (meta,)


def tensorflow_dumps(networks: tuple[TensorFlowNetwork, ...]) -> bytes:
    """Pickle networks under the name that TensorFlow's versions gave to their class."""
    ours = b"cnetwork_files.tensorflow_object\nTensorFlowNetwork\n"
    return pickle.dumps(networks, protocol=3).replace(ours, b"cdnnlib.tflib.network\nNetwork\n")
