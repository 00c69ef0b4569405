"""What lies around voxels: blocks with a margin as dense cubes of row numbers, a few at a time.

A look-up is a step inside a cube that is in the cache: no search, no hash (METHODS 6.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import (
    BLOCK_CELLS,
    BLOCK_EDGE,
    BLOCK_SHIFT,
    BlockIndex,
    block_key,
)

_CELLS_AT_ONCE = 1 << 17  # half a megabyte of row numbers


@dataclass(frozen=True)
class Cubes:
    """Some blocks and the R voxels in them that were asked for.

    Attributes:
        numbers: (R,) int64, which of the voxels asked for, block by block.
        rows: (N,) int32, the cubes one after the other: row of each cell, -1 where it is empty.
        place: (R,) int32, where in `rows` each voxel lies.
    """

    numbers: Tensor
    rows: Tensor
    place: Tensor

    def at(self, steps: Tensor) -> Tensor:  # (S,) int32 -> (R, S) int32
        """Row at each step from each voxel, -1 where there is none."""
        places = (self.place[:, None] + steps).view(-1)
        return self.rows.index_select(0, places).view(len(self.place), len(steps))


def steps_of(offsets: Tensor, margin: int) -> Tensor:  # (S, 3) int64 -> (S,) int32
    """Lattice offsets as steps inside flattened cubes of this margin."""
    return _flat(offsets, margin).to(torch.int32)


def _flat(coords: Tensor, margin: int) -> Tensor:  # (..., 3) -> (...)
    edge = BLOCK_EDGE + 2 * margin
    x, y, z = coords.unbind(dim=-1)
    return (x * edge + y) * edge + z


def cubes_around(
    index: BlockIndex,
    coords: Tensor,  # (R, 3) int64, voxels of `index`, distinct
    margin: int,  # voxels, 0 .. BLOCK_EDGE
) -> Iterator[Cubes]:
    """The blocks that hold the voxels, with `margin` voxels around them."""
    block = index.find_blocks(block_key(coords >> BLOCK_SHIFT))
    order = torch.argsort(block, stable=True)
    count = torch.bincount(block, minlength=index.num_blocks)
    count = count[count > 0]
    ends = torch.cumsum(count, dim=0)
    near, table = _blocks_near(index, coords[order[ends - count]] >> BLOCK_SHIFT)
    part, cell = (t.to(coords.device) for t in _cells_of_cube(margin))
    center = _flat((coords & (BLOCK_EDGE - 1)) + margin, margin)
    number = torch.repeat_interleave(torch.arange(len(count), device=coords.device), count)
    size, stops, start = max(1, _CELLS_AT_ONCE // len(cell)), ends.tolist(), 0
    for first in range(0, len(stops), size):
        stop = stops[min(first + size, len(stops)) - 1]
        numbers = order[start:stop]
        place = (number[start:stop] - first) * len(cell) + center[numbers]
        start = stop
        cells = near[first : first + size].index_select(1, part) + cell
        yield Cubes(numbers, table.index_select(0, cells.view(-1)), place.to(torch.int32))


def _blocks_near(
    index: BlockIndex, blocks: Tensor  # (B, 3) int64
) -> tuple[Tensor, Tensor]:  # (B, 27) int32, (N,) int32
    """First cell of each of the 27 blocks in a table of those that are needed, and the table.

    Its last block is the empty one, which stands where the map has none.
    """
    side = torch.arange(-1, 2, device=blocks.device)
    found = index.find_blocks(block_key(blocks[:, None] + torch.cartesian_prod(side, side, side)))
    needed = torch.unique(found)
    needed = needed[needed >= 0]
    number = torch.where(found >= 0, torch.searchsorted(needed, found), len(needed))
    empty = index.table.new_full((1, BLOCK_CELLS), -1)
    table = torch.cat((index.table.index_select(0, needed), empty))
    return (number * BLOCK_CELLS).to(torch.int32), table.view(-1)


def _cells_of_cube(margin: int) -> tuple[Tensor, Tensor]:  # (edge^3,) int64, (edge^3,) int32
    """In which of the 27 blocks each cell of a cube lies, and its number in there."""
    side = torch.arange(-margin, BLOCK_EDGE + margin)
    cells = torch.cartesian_prod(side, side, side)
    x, y, z = ((cells >> BLOCK_SHIFT) + 1).unbind(dim=1)
    inside = cells & (BLOCK_EDGE - 1)
    cell = (inside[:, 0] * BLOCK_EDGE + inside[:, 1]) * BLOCK_EDGE + inside[:, 2]
    return (x * 3 + y) * 3 + z, cell.to(torch.int32)
