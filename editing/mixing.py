"""Style mixing: some layers of an image take the style of another one.

Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks",
Sec. 3.1 and Fig. 3.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dnnlib.errors import InputError
from torch_utils.networks import Generator

Part = Literal["coarse", "middle", "fine"]
PARTS: tuple[Part, ...] = ("coarse", "middle", "fine")


def layers_of(part: Part | Sequence[int], G: Generator) -> list[int]:
    """The layers that a name or a list of numbers means.

    The names are thirds of the layers: pose and shape, features, colours.

    Raises:
        InputError: If a layer does not exist.
    """
    num = G.num_ws
    if isinstance(part, str):
        third = PARTS.index(part)
        return list(range(num * third // 3, num * (third + 1) // 3))
    for layer in part:
        if not 0 <= layer < num:
            raise InputError(f"layer {layer} does not exist: choose from 0 to {num - 1}")
    return list(dict.fromkeys(part))


def mix(row_ws: Tensor, col_ws: Tensor, layers: Sequence[int]) -> Tensor:
    """Give some layers of each row the styles of each column.

    Args:
        row_ws: Styles of the rows, `[R, num_ws, w_dim]`.
        col_ws: Styles of the columns, `[C, num_ws, w_dim]`.
        layers: Layers that take the style of the column.

    Returns:
        Styles `[R, C, num_ws, w_dim]`.
    """
    mixed = row_ws[:, None].repeat(1, len(col_ws), 1, 1)
    idx = torch.as_tensor(layers, device=mixed.device, dtype=torch.long)
    mixed[:, :, idx] = col_ws[None, :, idx].to(mixed)
    return mixed
