"""Style mixing."""

import numpy as np
import pytest
import torch

from dnnlib.errors import InputError
from editing import mixing
from tests.small_networks import stylegan2, stylegan3


@pytest.mark.parametrize("G", [stylegan2(), stylegan3()], ids=["stylegan2", "t"])
def test_named_parts_are_all_layers_in_order(G):
    parts = [mixing.layers_of(part, G) for part in mixing.PARTS]
    assert [layer for part in parts for layer in part] == list(range(G.num_ws))
    assert min(map(len, parts)) >= G.num_ws // 3


def test_layers_that_do_not_exist_are_refused():
    G = stylegan2()
    assert mixing.layers_of([2, 0, 2], G) == [2, 0]
    with pytest.raises(
        InputError, match=f"layer 9 does not exist: choose from 0 to {G.num_ws - 1}"
    ):
        mixing.layers_of([0, 9], G)


def test_rows_keep_the_layers_that_columns_do_not_give():
    rng = np.random.RandomState(0)
    rows, cols = (torch.from_numpy(rng.randn(num, 5, 4)) for num in (2, 3))
    mixed = mixing.mix(rows, cols, [1, 4])
    assert mixed.shape == (2, 3, 5, 4)
    for r in range(2):
        for c in range(3):
            for layer in range(5):
                expected = cols[c] if layer in (1, 4) else rows[r]
                assert torch.equal(mixed[r, c, layer], expected[layer])
