"""The K nearest voxels of each voxel, from the lattice itself (METHODS 6.3, T1.5).

Offsets are sorted by distance and an offset comes beside its opposite, so the first K occupied
ones are the nearest and ties are always broken the same way. A voxel is never its own neighbour.
The search ends at MAX_RADIUS voxels: isolated voxels get fewer neighbours rather than far ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import BLOCK_EDGE, BlockIndex
from geopurify_ros.core.purification.cubes import Cubes, cubes_around, steps_of

# One block: all that a search needs lies in the 27 blocks around the voxel. 0.4 m at 5 cm.
MAX_RADIUS = BLOCK_EDGE
# Voxels squared. The first holds K = 32 on nearly every surface, and needs few look-ups; who is
# left over asks again, farther away.
_REACHES = (10, 25, MAX_RADIUS**2)


@dataclass(frozen=True)
class NeighborGraph:
    """Neighbours of V voxels, or of R of them.

    Attributes:
        index: (V, K) int32 row numbers, nearest first; the voxel itself where there is none.
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
    rows: Tensor | None = None,  # (R,) int64, distinct
) -> NeighborGraph:  # (V, K), or (R, K)
    """Nearest neighbours of every voxel of a map, or of some; only their blocks are visited."""
    device = coords.device
    wanted = coords if rows is None else coords[rows]
    own = torch.arange(len(coords), device=device) if rows is None else rows
    found = own.to(torch.int32)[:, None].repeat(1, num_neighbors)
    count = torch.full((len(wanted),), num_neighbors, device=device)
    left = torch.arange(len(wanted), device=device)
    offsets = sorted_offsets(MAX_RADIUS).to(device)
    squared = (offsets**2).sum(dim=1)
    for reach in _REACHES:
        near = offsets[squared <= reach]
        margin = int(near.abs().max())
        missing = [left[:0]]
        for cubes in cubes_around(index, wanted[left], margin):
            numbers = left[cubes.numbers]
            missing.append(_search(cubes, steps_of(near, margin), numbers, found, count))
        left = torch.cat(missing)
    mask = torch.arange(num_neighbors, device=device) < count[:, None]
    return NeighborGraph(found, mask)


def _search(
    cubes: Cubes, steps: Tensor, numbers: Tensor, found: Tensor, count: Tensor
) -> Tensor:  # (M,) int64
    """Fill K neighbours within the steps, or those there are; the numbers that had fewer."""
    num_neighbors = found.shape[1]
    around = cubes.at(steps)
    hit = around >= 0
    number = hit.sum(dim=1)
    hits = around.masked_select(hit)  # voxel after voxel, nearest first
    first = torch.cumsum(number, dim=0) - number
    rank = torch.arange(num_neighbors, device=found.device)
    complete = number >= num_neighbors
    enough = torch.nonzero(complete).squeeze(1)
    places = (first[enough, None] + rank).view(-1)
    found[numbers[enough]] = hits.index_select(0, places).view(-1, num_neighbors)
    few = torch.nonzero(~complete).squeeze(1)
    _fill_few(hits, first[few], number[few], numbers[few], found)
    count[numbers[few]] = number[few]
    count[numbers[enough]] = num_neighbors
    return numbers[few]


def _fill_few(
    hits: Tensor, first: Tensor, number: Tensor, numbers: Tensor, found: Tensor
) -> None:
    """Rows with fewer than K neighbours in reach; what is left stays the row itself."""
    row, rank = torch.nonzero(
        torch.arange(found.shape[1], device=found.device) < number[:, None], as_tuple=True
    )
    found[numbers[row], rank] = hits[first[row] + rank]
