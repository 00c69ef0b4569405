"""Connected pieces of some voxels of a map, and a place inside one."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import relative_key
from geopurify_ros.core.mapping.scatter import sort_keys

_COLUMNS = ((0, 1), (1, -1), (1, 0), (1, 1))  # (x, y) steps to what sorts behind a voxel


def connected_pieces(coords: Tensor) -> Tensor:
    """Which piece each voxel belongs to; voxels that touch, be it at a corner, are one piece.

    60,000 voxels of a surface take 0.03 s of one thread.

    Args:
        coords: (N, 3) int32 or int64, distinct voxels, all |coordinates| < 2^20.

    Returns:
        (N,) int64, 0 .. P - 1: pieces in descending order of size, equals by their first row.
    """
    if len(coords) == 0:
        return torch.zeros(0, dtype=torch.int64, device=coords.device)
    order, low, high = _touching(coords)
    root = torch.empty_like(order)
    root[order] = _roots(len(coords), low, high)
    return _by_size(root)


def inside_position(coords: Tensor, score: Tensor) -> int:
    """The voxel of the highest score among those with as many neighbours as most have.

    A place to go to: a lone spike at the rim or a thin bridge has few neighbours.

    Args:
        coords: (N, 3) int32 or int64, at least one: the distinct voxels of one piece.
        score: (N,) float; not-a-number is lowest.

    Returns:
        Its row. It has at least the median number of neighbours (of 26); ties by the first row.
    """
    order, low, high = _touching(coords)
    num_neighbors = torch.empty_like(order)
    num_neighbors[order] = torch.bincount(torch.cat((low, high)), minlength=len(coords))
    inside = torch.nonzero(num_neighbors >= num_neighbors.median()).squeeze(1)
    inside_score = score[inside]
    inside_score = inside_score.masked_fill(inside_score.isnan(), -torch.inf)
    return int(inside[inside_score == inside_score.max()][0])


def _touching(coords: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (N,), (E,), (E,) int64
    """The rows in the order of their keys, and each touching pair once: low < high of that order.

    Thirteen of the 26 neighbours sort behind a voxel: the next one in z, and four columns of
    three. The voxels of a column are next to each other in that order.
    """
    # They span 2^21 - 2 at most, so that a step over the edge meets no other voxel's key.
    keys, order = sort_keys(relative_key(coords.to(torch.int64)))
    above = torch.nonzero(keys[1:] - keys[:-1] == 1).squeeze(1)
    low, high = [above], [above + 1]
    for x, y in _COLUMNS:
        bottom = keys + ((x << 42) + (y << 21) - 1)
        first = torch.searchsorted(keys, bottom)
        end = torch.searchsorted(keys, bottom + 2, right=True)
        for step in range(3):
            found = torch.nonzero(first + step < end).squeeze(1)
            low.append(found)
            high.append(first[found] + step)
    return order, torch.cat(low), torch.cat(high)


def _roots(num_nodes: int, low: Tensor, high: Tensor) -> Tensor:  # (num_nodes,) int64
    """The smallest node of the piece of each node, from the pairs that touch, (E,) each.

    Roots hang themselves under their smallest neighbour, trees are flattened, and pairs within a
    tree fall away. Only a root below all its neighbours stays, so few rounds are needed.
    """
    parent = torch.arange(num_nodes, device=low.device)
    while len(low):
        parent.scatter_reduce_(0, high, low, "amin")
        parent = _flattened(parent)
        one, other = parent[low], parent[high]
        apart = one != other
        one, other = one[apart], other[apart]
        low, high = torch.minimum(one, other), torch.maximum(one, other)
    return parent


def _flattened(parent: Tensor) -> Tensor:  # (V,) int64 -> (V,) int64
    """The root of each node; every jump halves the way."""
    while True:
        grandparent = parent[parent]
        if torch.equal(grandparent, parent):
            return parent
        parent = grandparent


def _by_size(root: Tensor) -> Tensor:  # (N,) int64, 0 .. N - 1 -> (N,) int64, 0 .. P - 1
    """Numbers of the pieces, the largest first, equals by their first row."""
    num_rows = len(root)
    rows = torch.arange(num_rows, device=root.device)
    size = torch.bincount(root, minlength=num_rows)
    first = torch.full_like(root, num_rows).scatter_reduce_(0, root, rows, "amin")
    pieces = torch.nonzero(size).squeeze(1)
    rank = torch.argsort((num_rows - size[pieces]) * num_rows + first[pieces])
    number = torch.empty_like(root)
    number[pieces[rank]] = rows[: len(pieces)]
    return number[root]
