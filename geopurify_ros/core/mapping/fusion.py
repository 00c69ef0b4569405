"""One frame becomes one entry per voxel: mean feature, colour and normal, and a pixel count.

The plain way gathers a D-wide feature per pixel (600 MB for 640x480 and D = 512) and adds it up.
But a frame has few distinct (voxel, feature cell) pairs, so those are counted first and the
features are summed once per pair; the result is the same (test/core/mapping/test_fusion.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.mapping import geometry
from geopurify_ros.core.mapping.block_index import MAX_VOXEL_COORD
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.scatter import bag_sum, run_starts, sort_keys
from geopurify_ros.errors import InputError


def reach_m(voxel_size_m: float) -> float:
    """How far from the origin float32 coordinates are a tenth of a voxel apart at most: 2^k m."""
    last = math.floor(math.log2(voxel_size_m / 10.0 * 2.0**24))
    return min(2.0**last, (MAX_VOXEL_COORD - (1 << 20)) * voxel_size_m)


@dataclass(frozen=True)
class FeatureBags:
    """Mean features that are not added up yet: voxel i is the weighted sum of its bag of cells.

    The map adds them up a few at a time, where they are needed: (M, D) float32 at once would be
    20 MB of fresh memory per frame, and take as long to get as to fill.

    Attributes:
        cells: (h w, D) float32, the features of the grid.
        index: (P,) int64, cells of bag after bag.
        share: (P,) float32, share of the voxel's pixels in the cell; sums to 1 per bag.
        starts: (M + 1,) int64, where each bag begins in `index`, and the end.
    """

    cells: Tensor
    index: Tensor
    share: Tensor
    starts: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FeatureBags:  # (M, D)
        """Bags that hold one given feature each."""
        rows = torch.arange(len(features) + 1, device=features.device)
        ones = torch.ones(len(features), device=features.device)
        return cls(features.to(torch.float32), rows[:-1], ones, rows)

    def __len__(self) -> int:
        """Number of voxels M."""
        return len(self.starts) - 1

    def reordered(self, order: Tensor) -> FeatureBags:  # (M,) int64
        """The bags in another order."""
        size = torch.diff(self.starts)[order]
        starts = torch.nn.functional.pad(torch.cumsum(size, dim=0), (1, 0))
        shift = (self.starts[:-1][order] - starts[:-1]).repeat_interleave(size)
        pick = torch.arange(len(self.index), device=order.device) + shift
        return FeatureBags(self.cells, self.index[pick], self.share[pick], starts)

    def features(self, start: int = 0, stop: int | None = None) -> Tensor:  # (stop - start, D)
        """Mean features of voxels start .. stop - 1, float32."""
        stop = len(self) if stop is None else stop
        starts = self.starts[start:stop]
        first, last = (int(self.starts[i]) for i in (start, stop))
        pairs = slice(first, last)
        return bag_sum(self.cells, self.index[pairs], starts - first, self.share[pairs])


@dataclass(frozen=True)
class FrameVoxels:
    """What one frame says about the voxels it sees.

    Attributes:
        coords: (M, 3) int64, distinct, sorted lexicographically.
        bags: M mean features, over the pixels of the voxel.
        color: (M, 3) float32, 0..255.
        normal: (M, 3) float32, world frame, mean of unit normals (shorter than 1).
        weight: (M,) float32, number of pixels.
    """

    coords: Tensor
    bags: FeatureBags
    color: Tensor
    normal: Tensor
    weight: Tensor


@dataclass(frozen=True)
class FramePoints:
    """The believed pixels of a frame.

    Attributes:
        coords: (N, 3) int64 voxel of each point.
        color_normal: (N, 6) float32, colour 0..255 and world normal.
        pixel_index: (N,) int64, v * W + u.
    """

    coords: Tensor
    color_normal: Tensor
    pixel_index: Tensor


def frame_points(
    frame: RgbdFrame, depth_config: DepthConfig, voxel_size_m: float, device: torch.device
) -> FramePoints:
    """Back-project a frame: range and edge test, voxel, colour and normal of each pixel.

    Raises:
        InputError: no pixel is left, or the pose puts the points out of reach.
    """
    depth_m = torch.from_numpy(np.ascontiguousarray(frame.depth_m)).to(device)
    points = geometry.backproject(depth_m, torch.from_numpy(frame.intrinsics))
    pixel_index = torch.nonzero(geometry.valid_depth(depth_m, depth_config).reshape(-1)).squeeze(1)
    if len(pixel_index) == 0:
        raise InputError(
            f"no depth between {depth_config.min_m} and {depth_config.max_m} m in the image"
        )
    pose = torch.from_numpy(frame.T_world_camera)
    limit_m = reach_m(voxel_size_m) - depth_config.max_m
    if float(pose[:3, 3].abs().max()) > limit_m:
        distance_m = float(pose[:3, 3].norm())
        raise InputError(
            f"the pose is {distance_m:.0f} m from the origin of the map, whose clouds (float32) "
            f"are exact to a tenth of a {voxel_size_m:g} m voxel only up to {limit_m / 1000:.3g} "
            "km; use a local frame that begins nearby, as odom, instead of UTM or ECEF"
        )
    # index_select copies whole rows; a boolean mask or [index] is several times slower
    normals = geometry.normals(points, edges=depth_config).view(-1, 3).index_select(0, pixel_index)
    points = points.view(-1, 3).index_select(0, pixel_index)
    rgb = torch.from_numpy(np.ascontiguousarray(frame.rgb)).to(device).view(-1, 3)
    color_normal = torch.empty((len(pixel_index), 6), device=device)
    color_normal[:, :3] = rgb.index_select(0, pixel_index)
    color_normal[:, 3:] = normals @ pose[:3, :3].to(normals).T
    coords = geometry.voxel_coords_of(points, pose, voxel_size_m)
    return FramePoints(coords, color_normal, pixel_index)


def feature_cell(
    pixel_index: Tensor,  # (N,) int64, v * W + u
    image_size: tuple[int, int],  # H, W
    grid_size: tuple[int, int],  # h, w
) -> Tensor:  # (N,) int64, cell row * w + cell column
    """The cell of the feature grid that holds each pixel."""
    (height, width), (rows, columns) = image_size, grid_size
    device = pixel_index.device
    row = (torch.arange(height, device=device) * rows) // height * columns
    column = (torch.arange(width, device=device) * columns) // width
    table = (row[:, None] + column).view(-1)
    return table.index_select(0, pixel_index)


def _voxel_keys(coords: Tensor, num_cells: int) -> Tensor:  # (N, 3) int64 -> (N,) int64
    """One number per voxel, in lexicographic order, that times `num_cells` is still a number."""
    low = coords.amin(dim=0)
    extent = coords.amax(dim=0) - low + 1
    x, y, z = (coords - low).unbind(dim=1)
    if math.prod(extent.tolist()) * num_cells < 1 << 63:
        key: Tensor = (x * extent[1] + y) * extent[2] + z
        return key
    # small voxels and far depth: count the voxels there are, which takes longer
    rank: Tensor = torch.unique(coords, dim=0, return_inverse=True)[1]
    return rank


def fuse_frame(
    points: FramePoints,
    feature_grid: Tensor,  # (D, h, w) float
    image_size: tuple[int, int],  # H, W
) -> FrameVoxels:
    """Mean feature, colour, normal and pixel count of each voxel seen by a frame."""
    grid_size = (feature_grid.shape[1], feature_grid.shape[2])
    num_cells = grid_size[0] * grid_size[1]
    pixel_cell = feature_cell(points.pixel_index, image_size, grid_size)
    keys, order = sort_keys(_voxel_keys(points.coords, num_cells) * num_cells + pixel_cell)

    pair_start = run_starts(keys)
    pair_voxel_key = keys[pair_start] // num_cells
    pair_count = torch.diff(pair_start, append=pair_start.new_tensor([len(keys)]))
    first_pair = run_starts(pair_voxel_key)
    first_pixel = pair_start[first_pair]
    weight = torch.diff(first_pixel, append=pair_start.new_tensor([len(keys)])).to(torch.float32)
    share = pair_count / weight.repeat_interleave(
        torch.diff(first_pair, append=first_pair.new_tensor([len(pair_start)]))
    )
    cells = feature_grid.reshape(feature_grid.shape[0], num_cells).T.to(torch.float32)
    end = first_pair.new_tensor([len(pair_start)])
    bags = FeatureBags(
        cells.contiguous(), keys[pair_start] % num_cells, share, torch.cat((first_pair, end))
    )
    ones = torch.ones(len(order), device=order.device)
    color_normal = bag_sum(points.color_normal, order, first_pixel, ones) / weight[:, None]
    return FrameVoxels(
        coords=points.coords[order[first_pixel]],
        bags=bags,
        color=color_normal[:, :3],
        normal=color_normal[:, 3:],
        weight=weight,
    )
