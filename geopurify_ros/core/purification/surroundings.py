"""How far the voxels of a map are from those that changed (METHODS 6.2): in steps of two voxels.

Steps are found in dense grids of cells of 2^3 voxels, one for each part of the map where something
changed: the cost follows what changed and not the size of the map.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import BLOCK_SHIFT, BlockIndex

CELL_SHIFT = 1
CELL_VOXELS = 1 << CELL_SHIFT
FAR = 255  # steps of what was not reached
_TILE_SHIFT = 7  # cells; seeds that are farther apart are looked at apart
_BLOCK_CELLS = 1 << (BLOCK_SHIFT - CELL_SHIFT)  # along an edge


def steps_from(
    seeds: Tensor,  # (M, 3) int64 voxels
    index: BlockIndex,
    coords: Tensor,  # (V, 3) int, the voxels of `index` in row order
    num_square: int,
    num_steps: int,  # at most 254
) -> Tensor:  # (V,) uint8
    """Steps to the nearest seed, FAR beyond `num_steps`.

    The first `num_square` steps go to all 26 cells around, so that a voxel which no axis tells
    further than 2 k voxels from a seed is within k steps. From there on they go to 6 cells only:
    what is within eight of the former and twelve of the latter is nearly a ball.
    """
    steps = torch.full((len(coords),), FAR, dtype=torch.uint8, device=coords.device)
    block_cells = index.block_coords() * _BLOCK_CELLS
    for cells in _by_tile(seeds >> CELL_SHIFT):
        low = cells.amin(dim=0) - num_steps
        size = cells.amax(dim=0) + num_steps + 1 - low
        grid = _grid(cells - low, size.tolist(), num_square, num_steps)
        touched = ((block_cells + _BLOCK_CELLS > low) & (block_cells < low + size)).all(dim=1)
        table = index.table[touched]
        rows = table[table >= 0].to(torch.int64)
        place = (coords[rows].to(torch.int64) >> CELL_SHIFT) - low
        inside = ((place >= 0) & (place < size)).all(dim=1)
        rows, place = rows[inside], place[inside]
        steps[rows] = torch.minimum(steps[rows], grid[place[:, 0], place[:, 1], place[:, 2]])
    return torch.where(steps > num_steps, FAR, steps)


def _by_tile(cells: Tensor) -> Iterator[Tensor]:  # (M, 3) -> (m, 3) each
    """The distinct cells, tile by tile."""
    cells = torch.unique(cells, dim=0)
    tiles, tile = torch.unique(cells >> _TILE_SHIFT, dim=0, return_inverse=True)
    for number in range(len(tiles)):
        yield cells[tile == number]


def _grid(cells: Tensor, size: list[int], num_square: int, num_steps: int) -> Tensor:  # uint8
    """Steps to the nearest of the cells, `num_steps` + 1 where it takes more."""
    near = torch.zeros(size, dtype=torch.uint8, device=cells.device)
    near[cells[:, 0], cells[:, 1], cells[:, 2]] = 1
    steps = 1 - near
    for step in range(num_steps):
        near = _around(near, step < num_square)
        steps += 1 - near
    return steps


def _around(near: Tensor, is_square: bool) -> Tensor:
    """What touches: 26 neighbours, or 6."""
    made = near
    for axis in range(3):
        seen = made if is_square else near
        last = seen.shape[axis] - 1
        made = seen.clone() if is_square or made is near else made
        made.narrow(axis, 1, last).bitwise_or_(seen.narrow(axis, 0, last))
        made.narrow(axis, 0, last).bitwise_or_(seen.narrow(axis, 1, last))
    return made
