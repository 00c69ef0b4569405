"""Scenes on a lattice whose z axis points up.

A map's axes are those of whoever recorded it, but things stand on the floor: a network that is
shown every scene upright need not learn each of them lying on its side as well.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import relative_key
from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.core.purification.sparse_conv import index_of

_LEVEL = 0.9  # cos of 25 degrees: such a surface may be a floor, a table or a ceiling
_ALONG_AXIS = 0.996  # cos of 5 degrees: the axis itself is up, and no voxel moves


def upright_scene(scene: VoxelScene) -> tuple[VoxelScene, Tensor, Tensor]:
    """The scene turned, without features; where its V voxels are there, and which W are its own.

    Between lattices some voxels fall into one; the first of them stands for all.

    Returns:
        The scene of W voxels; (V,) int64 rows of it; (W,) int64 rows of `scene`.
    """
    turn = rotation_to_z(plumb(scene))
    to_lattice = turn.to(scene.coords.device)
    moved = (scene.coords.to(torch.float64) @ to_lattice.T).round().to(torch.int64)
    rows, owner = first_of_each(moved)
    coords = moved[rows]
    normal = scene.normal[rows] @ to_lattice.to(scene.normal).T
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    upright = replace(
        scene, index=index_of(coords), coords=coords, chunks=(scene.features[rows, :0],),
        color=scene.color[rows], normal=normal, up=up,
    )
    return upright, owner, rows


def plumb(scene: VoxelScene) -> Tensor:  # (3,) float64 unit
    """Up by what is level: the mean of cameras' up, which the map knows, is degrees off."""
    up, normal = scene.up, scene.normal.to(torch.float64).cpu()
    for _ in range(3):
        along = normal @ up
        level = along.abs() > _LEVEL
        if not bool(level.any()):
            break
        up = normalize((normal[level] * along[level].sign()[:, None]).sum(dim=0), dim=0)
    return up


def rotation_to_z(up: Tensor) -> Tensor:  # (3,) unit -> (3, 3) float64
    """The smallest rotation of `up` to z; of the axis beside it where one is near."""
    up = up.to(torch.float64).cpu()
    axis = int(up.abs().argmax())
    if up[axis].abs() > _ALONG_AXIS:
        up = torch.eye(3, dtype=torch.float64)[axis] * up[axis].sign()
    x, y, z = up.tolist()
    if z < -0.999:
        return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    cross = torch.tensor([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]], dtype=torch.float64)
    turn: Tensor = torch.eye(3, dtype=torch.float64) + cross + cross @ cross / (1.0 + z)
    return turn


def random_turn(generator: torch.Generator) -> Tensor:  # (3, 3) float32
    """One of the 8 rotations and reflections of the lattice that leave z."""
    order = torch.randperm(2, generator=generator)
    sign = torch.randint(2, (2,), generator=generator) * 2.0 - 1.0
    turn = torch.eye(3)
    turn[:2, :2] = torch.eye(2)[order] * sign
    return turn


def first_of_each(coords: Tensor) -> tuple[Tensor, Tensor]:  # (V, 3) int64
    """Rows of the distinct coordinates, ascending, and for each of the V its place among them."""
    keys, group = torch.unique(relative_key(coords), return_inverse=True)
    first = torch.full((len(keys),), len(coords), dtype=torch.int64, device=coords.device)
    rows = torch.arange(len(coords), device=coords.device)
    first.scatter_reduce_(0, group, rows, "amin")
    order = first.argsort()
    return first[order], order.argsort()[group]
