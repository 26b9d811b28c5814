"""Chooses what a block of the tiled kernel of `upfirdn2d.cu` computes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

MAX_THREADS = 256  # of a block
MAX_SHARED_BYTES = 28 * 1024  # of a block, so that several fit on a multiprocessor
MAX_WIDTH = 136
MAX_CHANNELS = 64  # of a block, a limit of CUDA
# Channels of a block in channels-last layout. The most that fit are used, since they are neighbours
# in memory; with 0, neighbouring threads have neighbouring columns in this layout, too.
PACKED_CHANNELS = (32, 16, 8, 4, 0)
PATCH_WIDTH = 2  # outputs of a thread in a row
# Estimates: instructions of a thread for a pair of inputs that it stages, and for its patch of
# outputs; instructions that take as long as to move a sector of 32 bytes to or from the L2 cache.
PAIR_COST, PATCH_COST, SECTOR_COST = 15, 400, 195


class Filters(NamedTuple):
    """Factors and taps along both axes, and whether the filter is separable."""

    up: int
    down: int
    taps: int
    is_separable: bool

    def num_inputs(self, outputs: int) -> int:
        """The inputs in a row that so many outputs need, the first of which starts at an input."""
        return ((outputs - 1) * self.down + self.taps - 1) // self.up + 1

    @property
    def unit_width(self) -> int:
        """Outputs of a thread in a row, the most in any step."""
        return 4 * self.up if self.is_separable else PATCH_WIDTH

    @property
    def patch_height(self) -> int:
        """Outputs of a thread in a column."""
        return 8 // self.down

    @property
    def batch(self) -> int:
        """Rows of inputs that a thread reads at a time."""
        return 4 // self.up


@dataclass(frozen=True)
class Tile:
    """What a block computes.

    Attributes:
        filters: The call.
        width, height: Of the outputs.
        channels: Planes.
        is_packed: Whether neighbouring threads have neighbouring channels, as in memory. Otherwise
            they have neighbouring columns.
    """

    filters: Filters
    width: int
    height: int
    channels: int
    is_packed: bool

    @cached_property
    def patches(self) -> tuple[int, int]:
        """Along x and y; each is computed by a thread."""
        return self.width // PATCH_WIDTH, self.height // self.filters.patch_height

    @cached_property
    def block(self) -> tuple[int, int, int]:
        """Number of threads; neighbours come first."""
        return (self.channels, *self.patches) if self.is_packed else (*self.patches, self.channels)

    @cached_property
    def in_height(self) -> int:
        """Rows of inputs."""
        return self.filters.num_inputs(self.height)

    @cached_property
    def in_pairs(self) -> int:
        """Pairs of columns of inputs, which a thread stages together."""
        return -(-self.filters.num_inputs(self.width) // 2)

    @cached_property
    def in_teams(self) -> int:
        """Teams of threads that each stage a row of inputs of a plane."""
        return max(1, math.prod(self.patches) // self.in_pairs)

    @cached_property
    def in_batches(self) -> int:
        """Batches of rows for each team."""
        return -(-self.in_height // (self.in_teams * self.filters.batch))

    @cached_property
    def in_pitch(self) -> int:
        """Floats between rows of inputs (of all packed channels)."""
        return 2 * self.in_pairs if self.is_packed else _pitch(2 * self.in_pairs)

    @cached_property
    def in_plane(self) -> int:
        """Floats between planes of inputs."""
        return self.in_teams * self.in_batches * self.filters.batch * self.in_pitch

    @cached_property
    def row_teams(self) -> int:
        """Teams of threads that each filter a piece of every row."""
        return max(1, math.prod(self.patches) // self.in_height)

    @cached_property
    def out_pitch(self) -> int:
        """Floats between rows that have been filtered along x; 0 if there are none."""
        if not self.filters.is_separable:
            return 0
        return self.width if self.is_packed else _pitch(self.width)

    @cached_property
    def out_plane(self) -> int:
        """Floats between planes of such rows."""
        return self.in_height * self.out_pitch

    @cached_property
    def shared_bytes(self) -> int:
        """Dynamic shared memory."""
        return 4 * self.channels * (self.in_plane + self.out_plane)

    def count(self, width: int, height: int) -> tuple[int, int]:
        """Number of tiles along x and y for an image of outputs."""
        return -(-width // self.width), -(-height // self.height)

    @cached_property
    def num_threads(self) -> int:
        """Threads of all warps."""
        return -(-math.prod(self.block) // 32) * 32

    def cost(self, item_size: int) -> float:
        """Instructions of all threads."""
        passes = -(-self.in_pairs // math.prod(self.patches))  # several if threads are too few
        num_pairs = passes * self.in_batches * self.filters.batch
        sectors = self._sectors(2 * self.in_pairs, self.in_height, item_size)
        sectors += self._sectors(self.width, self.height, item_size)
        return self.num_threads * (num_pairs * PAIR_COST + PATCH_COST) + sectors * SECTOR_COST

    def _sectors(self, width: int, height: int, item_size: int) -> float:
        """Sectors of an image that begins anywhere."""
        if self.is_packed:
            return width * height * max(1, self.channels * item_size / 32)
        return self.channels * height * (width * item_size / 32 + 1)


def best_tile(
    filters: Filters, outputs: tuple[int, int], channels: int, item_size: int, is_last: bool
) -> Tile:
    """The tile with the fewest instructions for all blocks.

    Args:
        filters: The call.
        outputs: Width and height.
        channels: Planes that are evenly spaced.
        item_size: Bytes of an input.
        is_last: Whether the layout is channels last.
    """
    for packed in PACKED_CHANNELS if is_last else (0,):
        if packed < 2 * channels:
            tiles = list(_tiles(filters, outputs, packed, channels))
            if tiles:
                break
    else:
        raise AssertionError(f"no tile for {filters}")

    def cost(tile: Tile) -> float:
        blocks = math.prod(tile.count(*outputs)) * -(-channels // tile.channels)
        return blocks * tile.cost(item_size)

    return min(tiles, key=cost)


def _tiles(
    filters: Filters, outputs: tuple[int, int], packed: int, channels: int
) -> Iterator[Tile]:
    """All tiles that fit, with `packed` channels or, if that is 0, as many as there is room for."""
    max_threads = MAX_THREADS // max(packed, 1)
    for width in _even_sizes(outputs[0], filters.unit_width, MAX_WIDTH):
        max_strips = max_threads * PATCH_WIDTH // width
        unit = filters.patch_height
        for height in _even_sizes(outputs[1], unit, max_strips * unit):
            tile = Tile(filters, width, height, max(packed, 1), packed > 0)
            if tile.shared_bytes > MAX_SHARED_BYTES:
                continue
            if not packed:
                most = min(max_threads // math.prod(tile.patches), channels, MAX_CHANNELS)
                most = min(most, MAX_SHARED_BYTES // tile.shared_bytes)
                tile = Tile(filters, width, height, most, is_packed=False)
            yield tile


def _even_sizes(total: int, unit: int, most: int) -> list[int]:
    """Multiples of `unit`, at most `most`, that split `total` evenly, from the largest on."""
    sizes = {-(-total // (count * unit)) * unit for count in range(1, total // unit + 2)}
    return sorted((size for size in sizes if size <= most), reverse=True)


def _pitch(width: int) -> int:
    """Floats between rows: threads that read 16 bytes of one row each meet different banks."""
    return 4 * (-(-width // 4) | 1)
