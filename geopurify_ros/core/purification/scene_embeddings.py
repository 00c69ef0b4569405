"""Embeddings of voxels in two halves: what a student learnt, and what is made by hand (1.2).

The first depends on the voxels around and is kept; the second is made of a voxel's own colour and
normal whenever it is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.core.purification.student import StudentNet
from geopurify_ros.errors import ConfigError


def scene_of(shot: MapSnapshot, up: Tensor, floor_m: float | None) -> VoxelScene:
    """All of a map; `up` (3,) and the height of the floor as they are to be seen."""
    return VoxelScene(
        shot.index, shot.coords.to(torch.int64), shot.features, shot.colors(), shot.normals(),
        up, shot.voxel_size_m, floor_m,
    )  # fmt: skip


def cut_out(
    shot: MapSnapshot,
    rows: Tensor,  # (R,) int64
    index: BlockIndex,  # of these rows alone
    features: Tensor,  # (R, D), theirs
    up: Tensor,
    floor_m: float | None,
) -> VoxelScene:
    """Some voxels of a map, as if there were no others."""
    attributes = shot.attributes[rows]
    return VoxelScene(
        index, shot.coords[rows].to(torch.int64), (features,), attributes[:, :3],
        normalize(attributes[:, 3:6], dim=1), up, shot.voxel_size_m, floor_m,
    )  # fmt: skip


def learnt_of(
    scene: VoxelScene,
    kind: str,
    student: StudentNet | None,
    rows: Tensor | None = None,  # (R,) int64
    pause: Pause = no_pause,
) -> Tensor:  # (V, E) or (R, E) unit norm
    """What the student makes of a scene, or of some of its voxels.

    Nothing (V, 0) for parameter purify.embedding "geometric".

    Raises:
        ConfigError: a student is asked for and there is none.
    """
    if kind != "student":
        count = len(scene) if rows is None else len(rows)
        return scene.color.new_zeros((count, 0))
    if student is None:
        raise ConfigError("purify.embedding is student, but no student was loaded")
    return student.learnt(scene, rows, pause)


def joined_of(
    attributes: Tensor,  # (R, 7), as a map keeps them
    learnt: Tensor,  # (R, E)
    student: StudentNet | None,
) -> Tensor:  # (R, E') float32 unit norm
    """Whole embeddings of some voxels."""
    normals, colors = normalize(attributes[:, 3:6], dim=1), attributes[:, :3]
    if student is None or not learnt.shape[1]:
        return geometric_embedding(normals, colors)
    return student.joined(learnt.to(torch.float32), normals, colors)
