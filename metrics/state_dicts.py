"""Check state dicts of `torch.save` before PyTorch reads them: see `torch_utils.state_file`."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from dnnlib import moved
from dnnlib.errors import InputError
from torch_utils import state_file
from torch_utils.state_file import is_old_format as is_old_format

__getattr__ = moved.names_of(__name__)
MAX_INSTRUCTIONS = 300_000  # InceptionV3 has 20 000
MAX_NAMES = 3  # parameters that an error message lists


def check(path: Path) -> None:
    """Refuse a file that needs more time or memory than a state dict of its size.

    Args:
        path: A file of `torch.save`, an archive or in the old format.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, compressed, or holds something else.
    """
    content = state_file.outline(path, MAX_INSTRUCTIONS)
    # Containers in containers could have items without end.
    kinds = (Tensor, int, float, str, type(None))
    if not isinstance(content, dict) or not all(isinstance(v, kinds) for v in content.values()):
        raise InputError("it holds more than tensors by name, which is what a state dict is")


def list_names(what: str, unsorted: Iterable[str]) -> list[str]:
    """Part of a message, such as `lacks a, b`: the first names; nothing if there are none."""
    names = sorted(unsorted)
    if not names:
        return []
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [f"{what} {', '.join(names[:MAX_NAMES])}{more}"]
