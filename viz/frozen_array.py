"""Arrays as values: they compare and hash by their content, so that views can hold them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FrozenArray:
    """An array that does not change.

    Attributes:
        dtype: Name of the type, such as `float32`.
        shape: Sizes of the axes.
        data: The values in C order.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: np.ndarray) -> "FrozenArray":
        """Copy an array."""
        return cls(array.dtype.name, array.shape, array.tobytes())

    def array(self) -> np.ndarray:
        """The values, which cannot be written."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)
