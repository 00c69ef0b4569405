"""A map as students and teachers see it, and the one input of a student (METHODS 1.13 B1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.sparse_conv import KernelMap

GEOMETRY_CHANNELS = 6  # colour and normal, beside the features
GEOMETRY_ONLY_CHANNELS = 8  # colour, normal, density, height
_MAX_HEIGHT_M = 3.0
_FLOOR_QUANTILE = 0.02  # of the heights: what lies lower is noise
_ROWS_AT_ONCE = 1024  # of the wide input: a megabyte of 256 channels


@dataclass(frozen=True)
class VoxelScene:
    """What a student or a teacher may know of a map; V voxels.

    Attributes:
        index: rows are those of the other tensors.
        coords: (V, 3) int64.
        chunks: (R, D) float16 or float32, features of the image-text encoder, of V rows together.
        color: (V, 3) float32, 0..255.
        normal: (V, 3) float32, unit or zero.
        up: (3,) float64 unit, away from the floor, in the frame of the map.
        voxel_size_m: edge of a voxel.
        floor_m: height of the floor along `up`. Given, an embedding depends on nothing but the
            voxels near it (METHODS 6.2); None: `floor_of` finds it among all voxels.
    """

    index: BlockIndex
    coords: Tensor
    chunks: tuple[Tensor, ...]
    color: Tensor
    normal: Tensor
    up: Tensor
    voxel_size_m: float
    floor_m: float | None = None

    def __len__(self) -> int:
        """Number of voxels V."""
        return len(self.coords)

    @property
    def features(self) -> Tensor:  # (V, D)
        """The chunks as one; a copy where there are several."""
        return self.chunks[0] if len(self.chunks) == 1 else torch.cat(self.chunks)

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.chunks[0].shape[1]


def scene_of_map(voxel_map: VoxelMap, up: Tensor) -> VoxelScene:
    """A map as a scene with features of one piece; `up` (3,) need not be of unit length."""
    chunks = [chunk for _, chunk in voxel_map.feature_chunks()]
    coords = voxel_map.coords()
    whole = torch.cat((_no_features(voxel_map, coords), *chunks))
    return _scene(voxel_map, voxel_map.index, coords, (whole,), up)


def _no_features(content: VoxelMap | MapSnapshot, coords: Tensor) -> Tensor:  # (0, D)
    return torch.zeros((0, content.feature_dim), dtype=torch.float16, device=coords.device)


def _scene(
    content: VoxelMap | MapSnapshot,
    index: BlockIndex,
    coords: Tensor,  # (V, 3) int64
    chunks: Sequence[Tensor],  # (R, D) float16
    up: Tensor,  # (3,)
    floor_m: float | None = None,
) -> VoxelScene:
    return VoxelScene(
        index, coords, tuple(chunks), content.colors(), content.normals(),
        normalize(up.to(torch.float64).cpu(), dim=0), content.voxel_size_m, floor_m,
    )


def floor_of(scene: VoxelScene) -> float:
    """Height of the floor along `up`, metres: as the scene says, or of its lowest voxels."""
    if scene.floor_m is not None:
        return scene.floor_m
    height = _along_up(scene, scene.coords)
    if not len(height):
        return 0.0
    return float(height.kthvalue(1 + int(_FLOOR_QUANTILE * (len(height) - 1))).values)


def height_m(scene: VoxelScene, rows: Tensor | None = None) -> Tensor:  # (V,) or (R,) float32
    """Height above the floor along `up`, 0..3 m, of all voxels or of some."""
    height = _along_up(scene, scene.coords if rows is None else scene.coords[rows])
    return (height - floor_of(scene)).clamp(0.0, _MAX_HEIGHT_M).to(torch.float32)


def _along_up(scene: VoxelScene, coords: Tensor) -> Tensor:  # (N, 3) -> (N,) float64, metres
    # axis by axis: a product of matrices rounds otherwise when it has other rows beside it
    up = (scene.up * scene.voxel_size_m).tolist()
    x, y, z = coords.to(torch.float64).unbind(dim=1)
    height: Tensor = x * up[0] + y * up[1] + z * up[2]
    return height


def geometry_channels(scene: VoxelScene, taps: KernelMap, kind: str) -> Tensor:  # (V, 6 or 8)
    """Colour (-1..1) and normal; for kind "geometry" also density and height.

    Density is the share of occupied voxels among the 26 neighbours, height is in metres.
    """
    if kind == "features":
        return _color_normal(scene.color, scene.normal)
    occupied = (taps.taps < len(scene)).sum(dim=1).to(torch.float32) - 1.0
    return _with_shape(_color_normal(scene.color, scene.normal), occupied, height_m(scene))


def _color_normal(color: Tensor, normal: Tensor) -> Tensor:  # (N, 6)
    return torch.cat((color / 127.5 - 1.0, normal), dim=1)


def _with_shape(color_normal: Tensor, occupied: Tensor, height: Tensor) -> Tensor:  # (N, 8)
    return torch.cat((color_normal, torch.stack((occupied / 26.0, height), dim=1)), dim=1)


def student_input(
    features: Tensor,  # (V, D) float16 or float32
    geometry: Tensor,  # (V, 6 or 8), of `geometry_channels`
    kind: str,
) -> Tensor:  # (V, D + 6) or (V, 8) float32
    """What a student sees, in training and in the node (METHODS 1.13 B1).

    "features": feature, colour, normal; "geometry": colour, normal, density, height.
    """
    if kind == "features":
        return torch.cat((features.to(torch.float32), geometry), dim=1)
    return geometry


def inputs_of(
    scene: VoxelScene,
    rows: Tensor,  # (N,) int64
    occupied: Tensor,  # (N,) float32, of the 26 voxels around each
    kind: str,
) -> Iterator[tuple[Tensor, Tensor]]:  # (M,) int64, (M, C) float32
    """`student_input` of some rows of a map, a few at a time: which of the N, and their input."""
    rows, order = torch.sort(rows)
    height = height_m(scene, rows) if kind == "geometry" else None
    for part, chunk, local in _parts(scene, rows, kind):
        near, which = rows[part], order[part]
        geometry = _color_normal(scene.color[near], scene.normal[near])
        if height is not None:
            geometry = _with_shape(geometry, occupied[which], height[part])
        yield which, student_input(chunk.index_select(0, local), geometry, kind)


def _parts(
    scene: VoxelScene, rows: Tensor, kind: str
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Pieces of sorted rows that lie in one chunk: which, the chunk, the rows of it."""
    chunks = scene.chunks if kind == "features" else (scene.color[:, :0],)
    starts = [0]
    for chunk in chunks:
        starts.append(starts[-1] + len(chunk))
    cuts = torch.searchsorted(rows, torch.tensor(starts, device=rows.device)).tolist()
    for number, chunk in enumerate(chunks):
        for first in range(cuts[number], cuts[number + 1], _ROWS_AT_ONCE):
            part = slice(first, min(first + _ROWS_AT_ONCE, cuts[number + 1]))
            yield part, chunk, rows[part] - starts[number]
