"""What a depth image says of every cell: distance, height, and which way the surface looks.

Of a red cupboard and a red carpet only the shape tells which is which. The channels are those of
Handa et al. 2016 (depth, height above the floor, angle with gravity), which carry over from
generated rooms to real cameras; gravity is found in the image itself (Gupta et al. 2013), so that
neither a pose nor an upright world is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from geopurify_ros.core.mapping import geometry
from geopurify_ros.core.mapping.rectify import scaled_intrinsics

NUM_CHANNELS = 8
_MIN_M, _MAX_M = 0.1, 10.0
_LEAST_SHARE = 0.25  # of the pixels of a cell that must have depth
_LIMITS_RAD = (math.pi / 4,) * 4 + (math.pi / 12,) * 4  # coarse, then fine
_NEAR, _SQUARE = math.cos(_LIMITS_RAD[-1]), math.sin(_LIMITS_RAD[-1])
_FACING = 1.25  # a floor alone is more likely than a wall alone
_STARTS_RAD = (0.0, -math.radians(40))  # of the optical axis above the horizon
_MOST_ROLL = math.sin(math.radians(20))
_LEAST_AHEAD, _MOST_AHEAD = -math.sin(math.radians(66)), math.sin(math.radians(33))
_LOWEST = 0.02  # share of the cells that may lie below the floor: noise, reflections
_HEIGHT_M = 1.5  # half a room


def depth_channels(
    depth_m: Tensor,  # (H, W) float32, NaN or 0: none
    intrinsics: Tensor,  # (3, 3) pixels of the depth image
    size: tuple[int, int],  # h, w
) -> Tensor:  # (NUM_CHANNELS, h, w) float32
    """One vector per cell, zero where there is no depth.

    Valid or not; depth; its inverse; height above the lowest point and above the camera, along the
    estimated up; how far the normal looks up and how far to the camera; normal valid or not.
    """
    cells = _cell_depth(depth_m, size)
    valid = ~cells.isnan()
    lens = scaled_intrinsics(intrinsics.cpu().numpy(), (*depth_m.shape,), size)
    points = geometry.backproject(cells, torch.from_numpy(lens))
    # a cell is many pixels, and the next one may lie far behind it
    normals = geometry.normals(points, step_px=1, edges=None) * valid[..., None]
    points = points.nan_to_num()
    has_normal = normals.abs().sum(dim=-1) > 0
    up = up_direction(normals[::2, ::2][has_normal[::2, ::2]])
    height_m = points @ up
    floor_m = _lowest(height_m[valid])
    toward = torch.tensor([0.0, 0.0, -1.0]).to(up)
    toward = toward - (toward @ up) * up
    toward = toward / toward.norm().clamp_min(1e-6)
    depth = points[..., 2]
    made = torch.stack(
        (
            torch.ones_like(depth), depth / 4, 0.5 / depth.clamp_min(_MIN_M),
            ((height_m - floor_m) / _HEIGHT_M).clamp(-1, 3), (height_m / _HEIGHT_M).clamp(-3, 3),
            normals @ up, normals @ toward, has_normal.to(depth.dtype),
        )
    )  # fmt: skip
    return made * valid


def up_direction(normals: Tensor) -> Tensor:  # (N, 3) unit, camera frame -> (3,) unit
    """The direction that most normals lie along or are square to (Gupta et al. 2013, section 3).

    A wall would do as well as the floor, so a camera is taken to be rolled by less than 20 degrees
    and to look between 66 degrees down and 33 up; what is left in doubt is decided by which
    surfaces face up. The image's own up where nothing is likely.
    """
    starts = torch.tensor([[0.0, -math.cos(p), math.sin(p)] for p in _STARTS_RAD]).to(normals)
    across = normals.T.contiguous()
    ups = _refined(starts, across)
    along = ups @ across
    floors, ceilings, walls = (along > _NEAR, along < -_NEAR, along.abs() < _SQUARE)
    facing = floors.sum(dim=1) - ceilings.sum(dim=1)
    scores = (_FACING * facing + walls.sum(dim=1)).tolist()
    best, most = torch.tensor([0.0, -1.0, 0.0]).to(normals), -math.inf
    for up, score, (aside, down, ahead) in zip(ups, scores, ups.tolist(), strict=True):
        likely = abs(aside) < _MOST_ROLL and _LEAST_AHEAD < ahead < _MOST_AHEAD and down < 0
        if likely and score > most:
            best, most = up, score
    return best


def _refined(ups: Tensor, normals: Tensor) -> Tensor:  # (S, 3), (3, N) -> (S, 3)
    """Normals near the present direction count as floors, those square to it as walls.

    The next direction is nearest to the floors and most square to the walls; from all starts at
    once, for the calls take longer than the sums. Where fewer than three count it stays.
    """
    for limit in _LIMITS_RAD:
        along = (ups @ normals).abs()
        floors, walls = along > math.cos(limit), along < math.sin(limit)
        sign = walls.to(normals.dtype) - floors.to(normals.dtype)  # (S, N)
        scatter = (sign[:, None] * normals) @ normals.T
        nearest = torch.linalg.eigh(scatter.double().cpu()).eigenvectors[..., 0].to(ups)
        nearest = torch.where((nearest * ups).sum(dim=1, keepdim=True) > 0, nearest, -nearest)
        counted = sign.abs().sum(dim=1, keepdim=True)
        ups = torch.where(counted < 3, ups, nearest)
    return ups


def _cell_depth(depth_m: Tensor, size: tuple[int, int]) -> Tensor:  # (h, w)
    """The mean depth of every cell; NaN where too few of its pixels have any."""
    usable = (depth_m > _MIN_M) & (depth_m < _MAX_M)  # false for NaN
    pair = torch.stack((usable.to(torch.float32), torch.where(usable, depth_m, 0.0)))
    share, total = adaptive_avg_pool2d(pair[None], size)[0]
    return torch.where(share >= _LEAST_SHARE, total / share, torch.nan)


def _lowest(height_m: Tensor) -> Tensor:  # (N,) -> ()
    if len(height_m) == 0:
        return height_m.new_zeros(())
    return height_m.kthvalue(1 + int(_LOWEST * (len(height_m) - 1))).values
