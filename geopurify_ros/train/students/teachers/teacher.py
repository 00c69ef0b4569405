"""What a teacher is, and its features on disk: made once per scene, the same every time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.data.tensor_file import read_tensors, write_tensors
from geopurify_ros.errors import InputError, expect_shape
from geopurify_ros.train.students.scenes import TrainingScene

_KIND = "geopurify_teacher_features"


class Teacher(Protocol):
    """Turns a map into features that say what belongs together.

    Deterministic, without gradients, networks in eval mode whatever happens around them.
    """

    @property
    def id(self) -> str:
        """Changes whenever the features do; names the cache."""
        ...

    def features(self, scene: VoxelScene) -> Tensor:
        """(V, T) float32, unit norm."""
        ...


def cached_features(teacher: Teacher, scene: TrainingScene, folder: Path) -> Tensor:  # (V, T)
    """The teacher's features of a scene, from `folder` where they were computed before.

    Raises:
        InputError: they are not finite; the sentence names the scene.
    """
    path = folder / f"{scene.name}.{teacher.id}.{_digest(scene.voxels)}.safetensors"
    if (known := _cached(path, len(scene.voxels))) is not None:
        return known.to(scene.voxels.coords.device, torch.float32)
    features = teacher.features(scene.voxels)
    expect_shape(features, (len(scene.voxels), None), f"teacher features of scene {scene.name}")
    if not bool(torch.isfinite(features).all()):
        raise InputError(f"scene {scene.name}: teacher {teacher.id} gives features not finite")
    folder.mkdir(parents=True, exist_ok=True)
    held = features.to(torch.float16)
    path.unlink(missing_ok=True)  # a cache: what is damaged under its name is made anew
    write_tensors(path, {"features": held.cpu().contiguous()}, _KIND, {"teacher": teacher.id})
    held = held.to(scene.voxels.coords.device)
    return held.to(torch.float32)  # the first run sees the numbers that the second will see


def _cached(path: Path, num_voxels: int) -> Tensor | None:  # (V, T)
    """What `cached_features` wrote; None where there is nothing, or something else."""
    try:
        content = read_tensors(path, _KIND)
        if content is None:
            return None
        features = content[0]["features"]
    except Exception:  # not there, or damaged: made anew, whatever the bytes make a reader raise
        return None
    whole = features.dim() == 2 and len(features) == num_voxels
    return features if whole and bool(torch.isfinite(features).all()) else None


def _digest(scene: VoxelScene) -> str:
    content = hashlib.blake2b(digest_size=8)
    for tensor in (scene.coords, scene.features, scene.color, scene.normal, scene.up):
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    content.update(str(scene.voxel_size_m).encode())
    return content.hexdigest()
