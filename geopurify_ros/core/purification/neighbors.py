"""The K nearest voxels of each voxel, from the lattice itself (METHODS 6.3, T1.5).

Offsets are sorted by distance and an offset comes beside its opposite, so the first K occupied
ones are the nearest and ties are always broken the same way. A voxel is never its own neighbour.
The search ends at MAX_RADIUS voxels: isolated voxels get fewer neighbours rather than far ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import BLOCK_EDGE, BLOCK_SHIFT, BlockIndex, block_key

# One block: all that a search needs lies in the 27 blocks around the voxel. 0.4 m at 5 cm.
MAX_RADIUS = BLOCK_EDGE
_FIRST_RADIUS = 4  # voxels; holds K = 32 on nearly every surface, and few look-ups
_CUBE_EDGE = 3 * BLOCK_EDGE  # a block with its neighbours, as one dense cube of rows
_BLOCKS_AT_ONCE = 32  # cubes of 55 kB, so that the probes stay in the cache


@dataclass(frozen=True)
class NeighborGraph:
    """Neighbours of V voxels.

    Attributes:
        index: (V, K) int64 row numbers, nearest first; the voxel itself where there is none.
        mask: (V, K) bool, true for real neighbours.
    """

    index: Tensor
    mask: Tensor


def sorted_offsets(radius: int) -> Tensor:  # (S, 3) int64
    """Lattice offsets with 0 < distance <= radius, sorted by distance^2, then pair by pair.

    A pair is an offset and its opposite; pairs come in the order x, y, z of their first. K ends
    somewhere inside a shell, and a shell sorted by x, y, z alone would leave all it can on the
    low side: over many rounds of pooling every value would wander 10 voxels along an axis.
    """
    side = torch.arange(-radius, radius + 1)
    offsets = torch.cartesian_prod(side, side, side)  # lexicographic
    number = torch.arange(len(offsets))
    pair = torch.minimum(number, number.flip(0))  # the opposite is as far from the other end
    squared = (offsets**2).sum(dim=1)
    order = torch.argsort(squared * len(offsets) + pair, stable=True)
    inside = (squared > 0) & (squared <= radius**2)
    return offsets[order[inside[order]]]


def nearest_neighbors(
    index: BlockIndex,
    coords: Tensor,  # (V, 3) int64, the voxels of `index` in row order
    num_neighbors: int,  # K
) -> NeighborGraph:
    """Nearest neighbours of every voxel of a map."""
    device = coords.device
    found = torch.arange(len(coords), device=device)[:, None].repeat(1, num_neighbors)
    count = torch.full((len(coords),), num_neighbors, dtype=torch.int64, device=device)
    near, far = (_steps(radius).to(device) for radius in (_FIRST_RADIUS, MAX_RADIUS))
    for rows, cubes, center in _by_block(index, coords):
        missing = _search(cubes, center, near, rows, found)
        left = _search(cubes, center[missing], far, rows[missing], found)
        _search_isolated(cubes, center[missing][left], far, rows[missing][left], found, count)
    mask = torch.arange(num_neighbors, device=device) < count[:, None]
    return NeighborGraph(found, mask)


def _steps(radius: int) -> Tensor:  # (S,) int32
    """The sorted offsets as steps inside a flattened cube."""
    x, y, z = sorted_offsets(radius).unbind(dim=1)
    return ((x * _CUBE_EDGE + y) * _CUBE_EDGE + z).to(torch.int32)


def _by_block(
    index: BlockIndex, coords: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Some blocks at a time: rows (R,), flattened cubes, place of each row in them (R,) int32."""
    block_coords = coords >> BLOCK_SHIFT
    block = index.find_blocks(block_key(block_coords))
    order = torch.argsort(block, stable=True)
    ends = torch.cumsum(torch.bincount(block, minlength=index.num_blocks), dim=0)
    around = _blocks_around(index, block, block_coords)
    table = torch.cat((index.table, index.table.new_full((1, index.table.shape[1]), -1)))
    inner = (coords & (BLOCK_EDGE - 1)) + BLOCK_EDGE
    center = (inner[:, 0] * _CUBE_EDGE + inner[:, 1]) * _CUBE_EDGE + inner[:, 2]
    start = 0
    for first in range(0, index.num_blocks, _BLOCKS_AT_ONCE):
        blocks = slice(first, first + _BLOCKS_AT_ONCE)
        stop = int(ends[blocks][-1])
        rows = order[start:stop]
        start = stop
        cubes = table[around[blocks]].view(-1, 3, 3, 3, *3 * (BLOCK_EDGE,))
        cubes = cubes.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1)
        place = (block[rows] - first) * _CUBE_EDGE**3 + center[rows]
        yield rows, cubes, place.to(torch.int32)


def _blocks_around(
    index: BlockIndex, block: Tensor, block_coords: Tensor
) -> Tensor:  # (B, 27) int64
    """The 27 blocks around each block, num_blocks where there is none."""
    own = torch.zeros((index.num_blocks, 3), dtype=torch.int64, device=block.device)
    own[block] = block_coords
    side = torch.arange(-1, 2, device=block.device)
    keys = block_key(own[:, None] + torch.cartesian_prod(side, side, side))
    around = index.find_blocks(keys)
    return torch.where(around >= 0, around, index.num_blocks)


def _probe(cubes: Tensor, center: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Row at each step from each centre (R, S), -1 where empty, and the running count of rows."""
    place = (center[:, None] + steps).view(-1)
    hits = cubes.index_select(0, place).view(len(center), len(steps))
    return hits, torch.cumsum(hits >= 0, dim=1, dtype=torch.int32)


def _search(
    cubes: Tensor, center: Tensor, steps: Tensor, rows: Tensor, found: Tensor
) -> Tensor:  # (M,) int64
    """Fill the rows that have K neighbours within the steps; returns which have not."""
    num_neighbors = found.shape[1]
    hits, rank = _probe(cubes, center, steps)
    complete = rank[:, -1] >= num_neighbors
    if not bool(complete.all()):
        hits, rank = hits[complete], rank[complete]
    # K hits per row, in order: no positions need be computed
    nearest = hits[(hits >= 0) & (rank <= num_neighbors)].view(-1, num_neighbors)
    found[rows[complete]] = nearest.to(torch.int64)
    return torch.nonzero(~complete).squeeze(1)


def _search_isolated(
    cubes: Tensor, center: Tensor, steps: Tensor, rows: Tensor, found: Tensor, count: Tensor
) -> None:
    """Fill rows with fewer than K neighbours in reach; what is left stays the row itself."""
    hits, rank = _probe(cubes, center, steps)
    row, column = torch.nonzero(hits >= 0, as_tuple=True)
    found[rows[row], rank[row, column].to(torch.int64) - 1] = hits[row, column].to(torch.int64)
    count[rows] = rank[:, -1].to(torch.int64)
