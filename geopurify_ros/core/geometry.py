"""Depth images to points, edges and normals; shared by the node, the evaluation and training.

All functions take one image on any device. Camera axes: x right, y down, z forward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.config import DepthConfig

# Baseline of the finite differences for normals: at 1 px the depth noise of consumer cameras
# (millimetres) is as large as the distance between pixels.
_NORMAL_STEP_PX = 2


def backproject(
    depth_m: Tensor,  # (H, W) float32
    intrinsics: Tensor,  # (3, 3)
) -> Tensor:  # (H, W, 3)
    """Points in the camera frame, metres; NaN where the depth is NaN."""
    height, width = depth_m.shape
    k = intrinsics.to(depth_m)
    x = (torch.arange(width, device=depth_m.device) - k[0, 2]) / k[0, 0]
    y = (torch.arange(height, device=depth_m.device) - k[1, 2]) / k[1, 1]
    return torch.stack((x * depth_m, y[:, None] * depth_m, depth_m), dim=-1)


def valid_depth(
    depth_m: Tensor,  # (H, W) float32, NaN or Inf: invalid
    config: DepthConfig,
) -> Tensor:  # (H, W) bool
    """Pixels in range and not at a depth edge.

    A pixel beside a jump of more than max(edge_min_m, edge_relative * depth) sees two surfaces:
    its depth flies between them and its feature is a mix of both (METHODS B23).
    """
    in_range = (depth_m >= config.min_m) & (depth_m <= config.max_m)  # false for NaN
    return in_range & ~_beside_edge(depth_m, config)


def _beside_edge(depth_m: Tensor, config: DepthConfig) -> Tensor:
    edge = torch.zeros(depth_m.shape, dtype=torch.bool, device=depth_m.device)
    for dim in (0, 1):
        length = depth_m.shape[dim]
        near = depth_m.narrow(dim, 0, length - 1)
        far = depth_m.narrow(dim, 1, length - 1)
        limit = (torch.minimum(near, far) * config.edge_relative).clamp_min(config.edge_min_m)
        jump = (far - near).abs() > limit  # false beside NaN
        edge.narrow(dim, 0, length - 1).logical_or_(jump)
        edge.narrow(dim, 1, length - 1).logical_or_(jump)
    return edge


def normals(
    points: Tensor,  # (H, W, 3) camera frame, NaN: invalid
    step_px: int = _NORMAL_STEP_PX,
) -> Tensor:  # (H, W, 3)
    """Unit surface normals that look at the camera; zero where a neighbour is missing.

    Cross product of central differences over `step_px` to either side. Zero is neutral: the map
    adds normals up and only the direction of the sum is read.
    """
    step = step_px
    made = torch.zeros_like(points)
    if points.shape[0] <= 2 * step or points.shape[1] <= 2 * step:
        return made
    across = points[step:-step, 2 * step :] - points[step:-step, : -2 * step]
    down = points[2 * step :, step:-step] - points[: -2 * step, step:-step]
    normal = torch.linalg.cross(down, across)  # x right, y down: this one has z < 0
    length = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    made[step:-step, step:-step] = torch.nan_to_num(normal / length, nan=0.0, posinf=0.0)
    return made


def voxel_coords_of(
    points: Tensor,  # (N, 3) camera frame, metres
    T_world_camera: Tensor,  # (4, 4) float64
    voxel_size_m: float,
) -> Tensor:  # (N, 3) int64
    """Integer voxel of each point in the world.

    The translation is added in float64: 5 cm are lost in float32 some kilometres from the origin.
    """
    rotation = T_world_camera[:3, :3].to(points) / voxel_size_m
    shift = (T_world_camera[:3, 3] / voxel_size_m).to(points.device)
    whole = torch.floor(shift)
    rest = (shift - whole).to(points)
    rotated = torch.addmm(rest, points, rotation.T)
    return torch.floor(rotated).to(torch.int64) + whole.to(torch.int64)
