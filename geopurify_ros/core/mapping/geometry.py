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
_EDGES = DepthConfig()


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
        jump = _jumps(depth_m, dim, 1, config)
        edge.narrow(dim, 0, jump.shape[dim]).logical_or_(jump)
        edge.narrow(dim, 1, jump.shape[dim]).logical_or_(jump)
    return edge


def _jumps(depth_m: Tensor, dim: int, step_px: int, config: DepthConfig) -> Tensor:
    """Whether depth jumps between pixels i and i + step_px of a dimension; false beside NaN."""
    length = depth_m.shape[dim] - step_px
    near, far = depth_m.narrow(dim, 0, length), depth_m.narrow(dim, step_px, length)
    limit = (torch.minimum(near, far) * config.edge_relative).clamp_min(config.edge_min_m)
    return (far - near).abs() > step_px * limit


def normals(
    points: Tensor,  # (H, W, 3) camera frame, NaN: invalid
    step_px: int = _NORMAL_STEP_PX,
    edges: DepthConfig | None = _EDGES,
) -> Tensor:  # (H, W, 3)
    """Unit surface normals that look at the camera; zero where they cannot be known.

    Cross product of central differences over `step_px` to either side, none where an end is
    missing, is beside a depth edge or lies beyond one (`edges` None: whatever the depth). Zero is
    neutral: the map adds normals up and only the direction of the sum is read.
    """
    step = step_px
    made = torch.zeros_like(points)
    if points.shape[0] <= 2 * step or points.shape[1] <= 2 * step:
        return made
    across = points[step:-step, 2 * step :] - points[step:-step, : -2 * step]
    down = points[2 * step :, step:-step] - points[: -2 * step, step:-step]
    normal = torch.linalg.cross(down, across)  # x right, y down: this one has z < 0
    if edges is not None:
        normal[_reaches_edge(points[..., 2], step, edges)] = 0.0
    length = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    made[step:-step, step:-step] = torch.nan_to_num(normal / length, nan=0.0, posinf=0.0)
    return made


def _reaches_edge(depth_m: Tensor, step_px: int, config: DepthConfig) -> Tensor:
    """(H - 2 step, W - 2 step): an end of the differences is beside an edge or beyond one.

    The jump over the whole step counts too: where depth is missing beside an edge, no two
    neighbours show it.
    """
    beside, reaches = _beside_edge(depth_m, config), None
    for dim in (0, 1):
        length = depth_m.shape[dim] - 2 * step_px
        jump = _jumps(depth_m, dim, step_px, config)
        for part, offset in ((beside, 0), (beside, 2 * step_px), (jump, 0), (jump, step_px)):
            here = part.narrow(dim, offset, length)
            here = here.narrow(1 - dim, step_px, depth_m.shape[1 - dim] - 2 * step_px)
            reaches = here if reaches is None else reaches | here
    assert reaches is not None
    return reaches


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
