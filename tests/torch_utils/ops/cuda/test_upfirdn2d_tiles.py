"""The tiles of upfirdn2d's blocks: what the kernel and CUDA require of them."""

import math

import pytest

from torch_utils.ops.cuda import upfirdn2d_tiles
from torch_utils.ops.cuda.upfirdn2d_tiles import Filters, best_tile

FACTORS = [(1, 1), (2, 1), (1, 2)]
FILTERS = [Filters(up, down, n, is_separable=False) for up, down in FACTORS for n in range(1, 9)]
FILTERS += [Filters(up, down, n, True) for up, down in FACTORS[1:] for n in range(1, 33)]
SIZES = [(1, 1), (5, 3), (17, 16), (65, 64), (257, 257), (1, 3000), (3000, 2)]


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 40, 8192])
def test_tiles_fit(channels, is_last):
    for filters in FILTERS:
        for outputs in SIZES:
            tile = best_tile(filters, outputs, channels, 2, is_last)
            assert math.prod(tile.block) <= 256
            assert tile.block[2] <= 64
            assert tile.shared_bytes <= upfirdn2d_tiles.MAX_SHARED_BYTES
            assert tile.width % filters.unit_width == tile.height % filters.patch_height == 0


@pytest.mark.parametrize("is_last", [False, True])
def test_all_inputs_of_a_tile_are_staged(is_last):
    for filters in FILTERS:
        for outputs in SIZES:
            tile = best_tile(filters, outputs, 40, 2, is_last)
            num_rows = tile.in_teams * tile.in_batches * filters.batch
            assert num_rows >= tile.in_height
            assert 2 * tile.in_pairs >= filters.num_inputs(tile.width)
            assert tile.in_pitch >= 2 * tile.in_pairs
            assert tile.in_plane == num_rows * tile.in_pitch


@pytest.mark.parametrize("filters", FILTERS[3::8], ids=str)
def test_rows_read_16_bytes_at_a_time_meet_different_banks(filters):
    tile = best_tile(filters, (128, 128), 8, 4, is_last=False)
    assert len({row * tile.in_pitch // 4 % 8 for row in range(8)}) == 8


def test_tiles_split_an_image_evenly():
    """A tile of 128 columns would leave one column of 257 for a third tile."""
    tile = best_tile(Filters(1, 1, 4, is_separable=False), (257, 257), 64, 2, is_last=False)
    across, down = tile.count(257, 257)
    assert across * tile.width * down * tile.height < 1.1 * 257 * 257
