"""The plain ways of doing what the core does fast: what `geopurify bench` compares against."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.mapping import fusion
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.fusion import FramePoints
from geopurify_ros.core.mapping.scatter import scatter_mean
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.neighbors import MAX_RADIUS, NeighborGraph

_HALF_STEP = 2**-11  # relative rounding of half precision


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
    return scatter_mean(per_pixel, group, num_voxels)


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


class PlainMap:
    """A map as one would write it first: whole float32 tensors, a row per voxel."""

    def __init__(self, num_rows: int, feature_dim: int, device: torch.device) -> None:
        """Room for `num_rows` voxels."""
        self.features = torch.zeros((num_rows, feature_dim), device=device)
        self.color_normal = torch.zeros((num_rows, 6), device=device)
        # one each, both means are updated alike
        self.weight = torch.zeros((2, num_rows), device=device)

    def integrate(
        self, index: BlockIndex, points: FramePoints, grid: Tensor, size: tuple[int, ...]
    ) -> None:
        """Fold the pixels of a frame in; rows are those of `index`."""
        coords, group = torch.unique(points.coords, dim=0, return_inverse=True)
        mean = plain_feature_mean(points, grid, size, group, len(coords))
        count = torch.bincount(group).float()
        color_normal = scatter_mean(points.color_normal, group, len(coords))
        rows = index.lookup(coords)
        plain_update(self.features, self.weight[0], rows, mean, count)
        plain_update(self.color_normal, self.weight[1], rows, color_normal, count)


def same_map(voxel_map: VoxelMap, plain: PlainMap) -> bool:
    """Whether both hold the same, up to the half precision of the stored features."""
    rows = slice(0, len(voxel_map))
    largest = float(plain.features[rows].abs().max())
    error = float((voxel_map.features() - plain.features[rows]).abs().max())
    return (
        torch.equal(voxel_map.weights(), plain.weight[0, rows])
        and torch.allclose(voxel_map.colors(), plain.color_normal[rows, :3], atol=1e-2)
        and error <= 3 * _HALF_STEP * largest
    )
