"""Which implementation of an op is used: the kernels of the device, or the reference."""

import contextlib
from collections.abc import Iterator

_is_reference_forced = False


@contextlib.contextmanager
def force_reference(force: bool = True) -> Iterator[None]:
    """Use the reference implementations of all ops inside, to compare with them.

    Args:
        force: False makes the context do nothing.
    """
    global _is_reference_forced
    before = _is_reference_forced
    _is_reference_forced = before or force
    try:
        yield
    finally:
        _is_reference_forced = before


def wants_reference(op: str, impl: str) -> bool:
    """Whether to use the reference, for the argument `impl` of an op.

    Raises:
        ValueError: If `impl` is neither `"cuda"`, the best kernel there is, nor `"ref"`.
    """
    if impl not in ("cuda", "ref"):
        raise ValueError(f'{op}: `impl` must be "cuda" or "ref", got {impl!r}')
    return impl == "ref" or _is_reference_forced
