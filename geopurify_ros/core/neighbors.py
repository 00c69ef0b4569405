"""The K nearest voxels of each voxel, from the lattice itself (METHODS 6.3, T1.5).

Offsets are sorted by (distance^2, x, y, z), so the first K occupied ones are the nearest and ties
are always broken the same way. A voxel is never its own neighbour. The search ends at MAX_RADIUS
voxels: isolated voxels get fewer neighbours rather than far ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.block_index import BLOCK_EDGE, BLOCK_SHIFT, BlockIndex, block_key

# One block: all that a search needs lies in the 27 blocks around the voxel. 0.4 m at 5 cm.
MAX_RADIUS = BLOCK_EDGE
_FIRST_RADIUS = 4  # voxels; holds K = 32 on nearly every surface, and few look-ups
_CHUNK = 8192  # rows at a time, so that the probes stay in the cache


@dataclass(frozen=True)
class NeighborGraph:
    """Neighbours of V voxels.

    Attributes:
        index: (V, K) int64 row numbers, nearest first; the voxel itself where there is none.
        mask: (V, K) bool, true for real neighbours.
    """

    index: Tensor
    mask: Tensor


def sorted_offsets(low: int, high: int) -> Tensor:  # (S, 3) int64
    """Lattice offsets with low < distance <= high, sorted by (distance^2, x, y, z)."""
    side = torch.arange(-high, high + 1)
    offsets = torch.cartesian_prod(side, side, side)  # lexicographic
    squared = (offsets**2).sum(dim=1)
    inside = (squared > low**2) & (squared <= high**2)
    offsets, squared = offsets[inside], squared[inside]
    return offsets[torch.argsort(squared, stable=True)]


def nearest_neighbors(
    index: BlockIndex,
    coords: Tensor,  # (V, 3) int64, the voxels of `index` in row order
    num_neighbors: int,  # K
) -> NeighborGraph:
    """Nearest neighbours of every voxel of a map."""
    around = _blocks_around(index, coords)
    found = torch.arange(len(coords), device=coords.device)[:, None].repeat(1, num_neighbors)
    count = torch.zeros(len(coords), dtype=torch.int64, device=coords.device)
    for low, high in ((0, _FIRST_RADIUS), (_FIRST_RADIUS, MAX_RADIUS)):
        offsets = sorted_offsets(low, high).to(coords.device)
        unfinished = torch.nonzero(count < num_neighbors).squeeze(1)
        for rows in unfinished.split(_CHUNK):
            hits = _probe(index, coords[rows], around, rows, offsets)
            _append_hits(hits, rows, found, count)
    mask = torch.arange(num_neighbors, device=coords.device) < count[:, None]
    return NeighborGraph(found, mask)


@dataclass(frozen=True)
class _Around:
    """Table row of the 27 blocks around each block; the last row of `table` is empty."""

    block: Tensor  # (V,) block of each voxel
    blocks: Tensor  # (B, 27)
    table: Tensor  # (B + 1, 512) int32


def _blocks_around(index: BlockIndex, coords: Tensor) -> _Around:
    block_coords = coords >> BLOCK_SHIFT
    block = index.find_blocks(block_key(block_coords))
    own = torch.zeros((index.num_blocks, 3), dtype=torch.int64, device=coords.device)
    own[block] = block_coords
    side = torch.arange(-1, 2, device=coords.device)
    around = index.find_blocks(block_key(own[:, None] + torch.cartesian_prod(side, side, side)))
    empty = index.table.new_full((1, index.table.shape[1]), -1)
    blocks = torch.where(around >= 0, around, index.num_blocks)
    return _Around(block, blocks, torch.cat((index.table, empty)))


def _probe(
    index: BlockIndex, coords: Tensor, around: _Around, rows: Tensor, offsets: Tensor
) -> Tensor:  # (R, S) int32
    """Row number at each offset from each voxel, -1 where there is none."""
    # one axis at a time: (R, S, 3) would be three times the memory traffic
    local = (coords & (BLOCK_EDGE - 1)).to(torch.int32)
    offset = offsets.to(torch.int32)
    near = cell = None
    for axis in range(3):
        moved = local[:, axis, None] + offset[:, axis]
        step = (moved >> BLOCK_SHIFT) + 1
        inner = moved & (BLOCK_EDGE - 1)
        near = step if near is None else near * 3 + step
        cell = inner if cell is None else (cell << BLOCK_SHIFT) | inner
    blocks = around.blocks[around.block[rows]]
    block = torch.gather(blocks, 1, near.to(torch.int64))
    return around.table.view(-1)[block.mul_(BLOCK_EDGE**3).add_(cell)]


def _append_hits(hits: Tensor, rows: Tensor, found: Tensor, count: Tensor) -> None:
    """Write the first hits of each row behind those it has; updates `found` and `count`."""
    num_neighbors = found.shape[1]
    occupied = hits >= 0
    place = torch.cumsum(occupied, dim=1, dtype=torch.int32) + count[rows, None].to(torch.int32)
    keep = occupied & (place <= num_neighbors)
    row, column = torch.nonzero(keep, as_tuple=True)
    target = rows[row] * num_neighbors + place[row, column] - 1
    found.view(-1)[target] = hits[row, column].to(torch.int64)
    count[rows] = place[:, -1].clamp_max(num_neighbors).to(torch.int64)
