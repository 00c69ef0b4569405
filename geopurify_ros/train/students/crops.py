"""Large scenes in pieces that fit a training step (METHODS 6.6): all voxels of a box and a rim.

Nothing is thinned out (METHODS 1.13 B2): inside, a piece is as dense as the map. Anchors come from
the box itself, whose neighbours are all there; the rim is context.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.core.purification.sparse_conv import (
    KernelMap,
    index_of,
    kernel_offsets,
    submanifold_map,
)


@dataclass(frozen=True)
class Crop:
    """A piece of a scene; M voxels.

    Attributes:
        rows: (M,) int64, rows of the scene.
        interior: (I,) int64, which of the M may be anchors.
        coords: (M, 3) int64.
        index: rows are 0 .. M - 1.
        taps: 3x3x3 neighbours within the piece.
    """

    rows: Tensor
    interior: Tensor
    coords: Tensor
    index: BlockIndex
    taps: KernelMap

    def __len__(self) -> int:
        """Number of voxels M."""
        return len(self.rows)


def crops_of(scene: VoxelScene, most_voxels: int, margin_m: float = 0.25) -> list[Crop]:
    """Pieces of at most `most_voxels` whose boxes cover the scene without overlap."""
    margin = max(1, round(margin_m / scene.voxel_size_m))
    low, high = scene.coords.amin(dim=0), scene.coords.amax(dim=0) + 1
    waiting, crops = [(low, high)], []
    while waiting:
        low, high = waiting.pop()
        if len(_inside(scene.coords, low, high)) == 0:
            continue
        rows = _inside(scene.coords, low - margin, high + margin)
        axis = int((high - low).argmax())
        if len(rows) > most_voxels and int((high - low)[axis]) > 2 * margin:
            inner = scene.coords[_inside(scene.coords, low, high)][:, axis]
            cut = min(max(int(inner.median()), int(low[axis]) + 1), int(high[axis]) - 1)
            waiting += [(low, _with(high, axis, cut)), (_with(low, axis, cut), high)]
            continue
        crops.append(_crop(scene, rows, _inside(scene.coords[rows], low, high)))
    return crops


def _inside(coords: Tensor, low: Tensor, high: Tensor) -> Tensor:  # (M,) int64
    return torch.nonzero(((coords >= low) & (coords < high)).all(dim=1)).squeeze(1)


def _with(corner: Tensor, axis: int, value: int) -> Tensor:
    changed = corner.clone()
    changed[axis] = value
    return changed


def _crop(scene: VoxelScene, rows: Tensor, interior: Tensor) -> Crop:
    coords = scene.coords[rows]
    index = index_of(coords)
    return Crop(rows, interior, coords, index, submanifold_map(index, coords))


def random_symmetry(generator: torch.Generator) -> Tensor:  # (3, 3) float32
    """One of the 48 rotations and reflections of the lattice."""
    order = torch.randperm(3, generator=generator)
    sign = torch.randint(2, (3,), generator=generator) * 2.0 - 1.0
    return torch.eye(3)[order] * sign


def turned(taps: KernelMap, symmetry: Tensor) -> KernelMap:
    """The taps of the same voxels after p -> symmetry @ p: the columns change places."""
    offsets = kernel_offsets(3)
    before = offsets @ symmetry.to(torch.int64)  # the inverse of each, as rows
    columns = ((before[:, 0] + 1) * 3 + before[:, 1] + 1) * 3 + before[:, 2] + 1
    columns = columns.to(taps.taps.device)
    return KernelMap(taps.taps[:, columns])
