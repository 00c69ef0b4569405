"""What of the clouds depends on the map alone, kept from one publication to the next."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray

from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.ros.outputs.clouds import XYZ_RGB, MapPoints, map_points

_ROOM = 1.25  # a map that grows is copied only now and then


class MapState:
    """Which map something was made of, and at which version of it."""

    def __init__(self, voxels: VoxelMap | None = None) -> None:
        """Of a map as it is now, or of none."""
        self._map = (lambda: None) if voxels is None else weakref.ref(voxels)
        self.version = -1 if voxels is None else voxels.version

    def is_of(self, voxels: VoxelMap) -> bool:
        """Whether it is the same map, as it was or changed."""
        return self._map() is voxels

    def is_now(self, voxels: VoxelMap) -> bool:
        """Whether it is the same map, and nothing in it has changed."""
        return self.is_of(voxels) and self.version == voxels.version


class KeptPoints:
    """The packed points of a map; only voxels that changed are packed again.

    20 bytes a voxel; nothing before they are asked for.
    """

    def __init__(self) -> None:
        """Of no map yet."""
        self._state = MapState()
        self._held = _blank(0)

    def of(self, voxels: VoxelMap) -> MapPoints:
        """The V points of a map in the order of its rows; do not write, good until the next."""
        if not self._state.is_of(voxels):
            self._state, self._held = MapState(), _blank(0)
        if not self._state.is_now(voxels):
            self._pack(voxels, self._state.version)
            self._state = MapState(voxels)
        return self._held[: len(voxels)]

    def _pack(self, voxels: VoxelMap, version: int) -> None:
        """Bring the points of `version` up to date."""
        if len(voxels) > len(self._held):
            held, self._held = self._held, _blank(int(_ROOM * len(voxels)))
            self._held[: len(held)] = held
        rows = torch.nonzero(voxels.changed_at() > version).squeeze(1)
        # as VoxelMap.centers_m, of these rows
        centers = (voxels.coords()[rows].to(torch.float64) + 0.5) * voxels.voxel_size_m
        rgb = voxels.colors()[rows].round().clamp(0, 255).byte()
        self._held[rows.cpu().numpy()] = map_points(centers.cpu().numpy(), rgb.cpu().numpy())


def _blank(count: int) -> MapPoints:
    return MapPoints(np.zeros(count, XYZ_RGB), np.zeros(count, np.uint32))


def num_shown(num_voxels: int, max_points: int) -> int:
    """How many of the voxels clouds have; `max_points` 0: all."""
    return min(num_voxels, max_points) if max_points else num_voxels


def shown_rows(
    points: MapPoints,  # N
    max_points: int,
    camera_m: NDArray[np.float64] | None,  # (3,)
) -> slice | NDArray[np.int64]:
    """Ascending rows of at most so many points, the nearest to the camera; 0: all.

    Without a camera the first ones.
    """
    count = num_shown(len(points), max_points)
    if count == len(points) or camera_m is None:
        return slice(count)
    xyz = points.xyz_rgb["xyz"]
    squares = sum((xyz[:, axis] - np.float32(camera_m[axis])) ** 2 for axis in range(3))
    return np.sort(np.argpartition(squares, count)[:count])
