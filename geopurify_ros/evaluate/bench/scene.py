"""An analytic room for benchmarks: what a camera sees of floor and walls."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import VoxelMap


def frame(height: int, width: int) -> RgbdFrame:
    """A camera 1.4 m above the floor of a 4.5 m deep room, looking slightly down."""
    focal = 0.9 * width
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    x, y = (u - width / 2) / focal, (v - height / 2) / focal
    # planes in camera axes: back wall, right wall, floor; the nearest hit counts
    hits = [np.full_like(x, 4.5)]
    with np.errstate(divide="ignore"):
        hits.append(np.where(x > 0, 1.6 / x, np.inf))
        hits.append(np.where(y > 0, 1.4 / y, np.inf))
    depth_m = np.minimum.reduce(hits).astype(np.float32)
    rgb = np.stack((u % 256, v % 256, (u + v) % 256), axis=-1).astype(np.uint8)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    pose[:3, 3] = (2.0, 0.3, 1.4)
    return RgbdFrame(rgb, depth_m, intrinsics, pose, 0)


def feature_grid(
    feature_dim: int, rows: int, columns: int, device: torch.device
) -> Tensor:  # (D, h, w)
    """Random unit features."""
    generator = torch.Generator().manual_seed(1)
    grid = torch.randn((feature_dim, rows, columns), generator=generator)
    return torch.nn.functional.normalize(grid.to(device), dim=0)


def filled_map(
    num_voxels: int, feature_dim: int, voxel_size_m: float, device: torch.device
) -> VoxelMap:
    """A map of floors and walls with `num_voxels` voxels."""
    side = 60
    i, j = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    flat = torch.zeros_like(i)
    tile = torch.cat([
        torch.stack(axes, dim=-1).reshape(-1, 3)
        for axes in ((i, j, flat), (i, flat, j), (flat, i, j))
    ])
    copies = -(-num_voxels // len(tile)) + 1
    shifts = torch.stack((torch.arange(copies) % 4, torch.arange(copies) // 4), dim=1) * side
    shifted = tile[None] + torch.nn.functional.pad(shifts, (0, 1))[:, None]
    coords = torch.unique(shifted.reshape(-1, 3), dim=0)[:num_voxels]
    generator = torch.Generator().manual_seed(2)
    made = VoxelMap(feature_dim, voxel_size_m, device)
    for part in coords.split(10_000):
        count = len(part)
        made.integrate(
            FrameVoxels(
                part.to(device),
                FeatureBags.of(
                    torch.randn((count, feature_dim), generator=generator).to(device)
                ),
                torch.rand((count, 3), generator=generator).to(device) * 255,
                torch.randn((count, 3), generator=generator).to(device),
                torch.ones(count, device=device),
            ),
            0,
        )
    return made
