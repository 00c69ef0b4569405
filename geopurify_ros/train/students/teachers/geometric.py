"""Teacher `geometric` (METHODS 6.4): local shape, colour and segments; no weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.purification.embedding import lab_from_rgb
from geopurify_ros.core.purification.neighbors import MAX_RADIUS, NeighborGraph, nearest_neighbors
from geopurify_ros.core.purification.scene import VoxelScene, height_m
from geopurify_ros.core.purification.sparse_conv import kernel_offsets

_RADII_M = (0.05, 0.10, 0.20, 0.40)
_COLOR_RADIUS_M = 0.08
_ROWS_AT_ONCE = 512
_SEGMENT_DIM = 32


@dataclass(frozen=True)
class GeometricTeacher:
    """Similar inside a surface, different across its edges.

    Attributes:
        max_angle_deg: between normals of neighbours of one segment.
        max_color_lab: their distance in Lab.
        max_plane_m: distance of a neighbour from the plane, or half a voxel if that is more.
        min_voxels: smaller segments become part of their neighbours.
    """

    max_angle_deg: float = 15.0
    max_color_lab: float = 12.0
    max_plane_m: float = 0.015
    min_voxels: int = 30
    id: str = "geometric-1"

    @torch.inference_mode()
    def features(self, scene: VoxelScene) -> Tensor:  # (V, 24 + 5 + 6 + 32) float32 unit norm
        """Whitened blocks side by side."""
        lab = lab_from_rgb(scene.color)
        up = scene.up.to(scene.normal)
        upright = (scene.normal @ up).abs()
        blocks = (
            (_whitened(shape_features(scene)), 1.0),
            (_whitened(torch.stack((upright, height_m(scene)), dim=1)), 1.0),
            (scene.normal, 0.5),
            (_whitened(torch.cat((lab, ball_mean(scene, lab, _COLOR_RADIUS_M)), dim=1)), 1.0),
            (segment_codes(self.segments(scene)), 1.0),
        )
        return normalize(torch.cat([weight * block for block, weight in blocks], dim=1), dim=1)

    def segments(self, scene: VoxelScene) -> Tensor:  # (V,) int64
        """Segment of each voxel, numbered from 0 in the order of their first voxels."""
        edges = self._edges(scene)
        label = connected_components(edges, len(scene))
        size = torch.bincount(label, minlength=len(scene))
        label = torch.where(size[label] >= self.min_voxels, label, -1)
        label = _from_nearest(label, nearest_neighbors(scene.index, scene.coords, 26))
        _, numbered = torch.unique(label, return_inverse=True)
        return torch.as_tensor(numbered)

    def _edges(self, scene: VoxelScene) -> Tensor:  # (2, E) int64
        """Pairs of touching voxels that belong to one surface."""
        lab, found = lab_from_rgb(scene.color), []
        least_cosine = torch.cos(torch.deg2rad(torch.tensor(self.max_angle_deg))).item()
        limit = max(self.max_plane_m / scene.voxel_size_m, 0.5)
        for offset in kernel_offsets(3)[14:].to(scene.coords.device):  # each pair once
            other = scene.index.lookup(scene.coords + offset)
            here = torch.nonzero(other >= 0).squeeze(1)
            other = other[here]
            normal, step = scene.normal[here], offset.to(scene.normal)
            good = (normal * scene.normal[other]).sum(dim=1) > least_cosine
            good &= (lab[here] - lab[other]).norm(dim=1) < self.max_color_lab
            good &= (normal @ step).abs() < limit
            found.append(torch.stack((here[good], other[good])))
        return torch.cat(found, dim=1)


def ball(radius_m: float, voxel_size_m: float) -> Tensor:  # (S, 3) int64
    """Offsets within a radius, nearest first, the centre included; at most MAX_RADIUS voxels."""
    radius = min(radius_m / voxel_size_m, float(MAX_RADIUS)) + 1e-6
    side = torch.arange(-int(radius), int(radius) + 1)
    offsets = torch.cartesian_prod(side, side, side)
    squared = (offsets**2).sum(dim=1)
    order = torch.argsort(squared, stable=True)
    return offsets[order[squared[order] <= radius**2]]


def shape_features(scene: VoxelScene) -> Tensor:  # (V, 24) float32
    """Linearity, planarity, scattering, variation, verticality, eigen-entropy at 4 radii."""
    offsets = ball(max(_RADII_M), scene.voxel_size_m).to(scene.coords.device)
    sizes = [len(ball(radius, scene.voxel_size_m)) for radius in _RADII_M]
    x = offsets.to(torch.float32)
    second = (x[:, :, None] * x[:, None, :]).reshape(-1, 9)
    monomials = torch.cat((torch.ones_like(x[:, :1]), x, second), dim=1)  # (S, 13)
    up, parts = scene.up.to(torch.float32).to(x.device), []
    for start in range(0, len(scene), _ROWS_AT_ONCE):
        here = scene.coords[start : start + _ROWS_AT_ONCE]
        occupied = (scene.index.lookup(here[:, None] + offsets) >= 0).to(torch.float32)
        moments = [occupied[:, :size] @ monomials[:size] for size in sizes]
        parts.append(torch.cat([_shape_of(one, up) for one in moments], dim=1))
    return torch.cat(parts)


def _shape_of(moments: Tensor, up: Tensor) -> Tensor:  # (R, 13) -> (R, 6)
    count = moments[:, :1]
    mean = moments[:, 1:4] / count
    covariance = (moments[:, 4:] / count).view(-1, 3, 3) - mean[:, :, None] * mean[:, None, :]
    values, vectors = torch.linalg.eigh(covariance)
    small, middle, large = values.clamp_min(0.0).unbind(dim=1)
    large = large.clamp_min(1e-9)
    total = small + middle + large
    share = torch.stack((small, middle, large), dim=1) / total[:, None]
    return torch.stack((
        (large - middle) / large, (middle - small) / large, small / large, small / total,
        1.0 - (vectors[:, :, 0] @ up).abs(), torch.special.entr(share).sum(dim=1),
    ), dim=1)  # fmt: skip


def ball_mean(scene: VoxelScene, values: Tensor, radius_m: float) -> Tensor:  # (V, C)
    """Mean of `values` over the voxels within a radius."""
    total, count = torch.zeros_like(values), torch.zeros_like(values[:, :1])
    for offset in ball(radius_m, scene.voxel_size_m).to(scene.coords.device):
        other = scene.index.lookup(scene.coords + offset)
        there = (other >= 0).to(values.dtype)[:, None]
        total += there * values[other.clamp_min(0)]
        count += there
    return total / count


def connected_components(edges: Tensor, num_nodes: int) -> Tensor:  # (2, E) -> (V,) int64
    """The lowest node of each node's component."""
    label = torch.arange(num_nodes, device=edges.device)
    first, second = edges
    while True:
        least = torch.minimum(label[first], label[second])
        lower = label.scatter_reduce(0, first, least, "amin").scatter_reduce(
            0, second, least, "amin")
        # the node that carries our number may know of a lower one
        lower = lower.scatter_reduce(0, label, lower, "amin")
        lower = lower[lower]
        if torch.equal(lower, label):
            return label
        label = lower


def _from_nearest(label: Tensor, graph: NeighborGraph) -> Tensor:
    """Where it is -1: that of the nearest labelled neighbour, round after round."""
    while bool((label < 0).any()):
        candidates = torch.where(graph.mask, label[graph.index], -1)
        first = (candidates >= 0).to(torch.uint8).argmax(dim=1, keepdim=True)
        nearest = candidates.gather(1, first)[:, 0]
        filled = torch.where(label < 0, nearest, label)
        if torch.equal(filled, label):  # islands of unlabelled voxels stay segments of their own
            own = len(label) + torch.arange(len(label), device=label.device)
            return torch.where(label < 0, own, label)
        label = filled
    return label


def segment_codes(segment: Tensor) -> Tensor:  # (V,) -> (V, 32) unit norm
    """A fixed pseudo-random direction per segment."""
    generator = torch.Generator().manual_seed(20260102)
    count = int(segment.max()) + 1 if len(segment) else 0
    codes = normalize(torch.randn((count, _SEGMENT_DIM), generator=generator), dim=1)
    return torch.as_tensor(codes.to(segment.device)[segment])


def _whitened(block: Tensor) -> Tensor:
    """Each channel standardised, the whole of length about 1."""
    standard = (block - block.mean(dim=0)) / block.std(dim=0).clamp_min(1e-6)
    return standard / math.sqrt(block.shape[1])
