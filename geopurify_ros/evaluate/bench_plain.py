"""The plain ways of doing what the core does fast: what `geopurify bench` compares against."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core import fusion
from geopurify_ros.core.fusion import FramePoints
from geopurify_ros.core.neighbors import MAX_RADIUS, NeighborGraph


def plain_groups(points: FramePoints) -> Tensor:  # (N,) int64
    """Row of each point among the distinct voxels, sorted as fuse_frame sorts them."""
    inverse: Tensor = torch.unique(points.coords, dim=0, return_inverse=True)[1]
    return inverse


def plain_feature_mean(
    points: FramePoints, grid: Tensor, size: tuple[int, ...], group: Tensor, num_voxels: int
) -> Tensor:  # (M, D)
    """What one would write first: a feature per pixel, added up per voxel."""
    grid_size = (grid.shape[1], grid.shape[2])
    cells = fusion.feature_cell(points.pixel_index, (size[0], size[1]), grid_size)
    per_pixel = grid.flatten(1).T.contiguous()[cells]
    total = torch.zeros((num_voxels, grid.shape[0])).index_add_(0, group, per_pixel)
    return total / torch.bincount(group, minlength=num_voxels)[:, None]


def plain_update(
    stored: Tensor, weight: Tensor, rows: Tensor, mean: Tensor, count: Tensor
) -> None:
    """Weighted mean into one float32 tensor."""
    total = weight[rows] + count
    stored[rows] = (stored[rows] * weight[rows, None] + mean * count[:, None]) / total[:, None]
    weight[rows] = total


def plain_neighbours(coords: Tensor, num_neighbors: int) -> Tensor:  # (V, K) squared distances
    """Squared distances of the nearest voxels by brute force."""
    points = coords.float()
    rows = []
    for part in torch.split(points, 2048):
        nearest = torch.cdist(part, points).topk(num_neighbors + 1, largest=False).values
        rows.append(nearest[:, 1:].square().round())
    return torch.cat(rows)


def same_distances(coords: Tensor, graph: NeighborGraph, expected: Tensor) -> bool:
    """Whether all neighbours within reach are as near as brute force finds them."""
    found = (coords[graph.index] - coords[:, None]).square().sum(dim=2)
    within = expected <= MAX_RADIUS**2
    return bool((graph.mask == within).all() and (found[within] == expected[within]).all())
